"""The headline figures: recomputed by verify, and not missed in older evidence."""

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Corrupt
from tasks.release.verify import verify
from tests.support.bundles import linked_records, reseal

pytestmark = pytest.mark.slow


def of_mixed(change: Any) -> Any:
    def changed(content: Any) -> None:
        change(content["figures"])

    return changed


def flatter(figures: Any) -> None:
    figures["mixed"]["lesions"] += 1


def strip(figures: Any) -> None:
    figures["mixed"] = None


@pytest.mark.parametrize("change", [flatter, strip])
def test_headline_figures_that_the_predictions_do_not_bear_are_caught(
    copied: Path, change: Any
) -> None:
    reseal(copied, linked_records(copied, {"evaluate": of_mixed(change)}))
    with pytest.raises(Corrupt, match="a figure does not follow from the predictions") as caught:
        verify(str(copied))
    assert "mixed" in caught.value.expected


def test_evidence_of_the_format_before_them_verifies_without(copied: Path) -> None:
    def older(content: Any) -> None:
        content["figures"].pop("mixed")
        content["provenance"]["format"] = 3

    reseal(copied, linked_records(copied, {"evaluate": older}))
    assert verify(str(copied)).decision == "pass"
