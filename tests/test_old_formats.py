"""What an earlier version of the program wrote still serves."""

from pathlib import Path

from tasks.verify import verify


def test_a_bundle_of_the_first_version_still_verifies(store_of_format_1: Path) -> None:
    verified = verify(str(store_of_format_1 / "runs" / "first" / "evidence"))

    assert verified.run == "first"
    assert verified.decision == "pass"
