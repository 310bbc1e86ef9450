"""Which tests `make check` leaves out, and which only `make campaign` runs."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Fixtures that start a server or train a network.
HEAVY = {"moto", "radosgw", "s3", "registered_run"}
SLOW_FILE = re.compile(r"(?m)^pytestmark = pytest\.mark\.slow\b")


def is_campaign(path: Path) -> bool:
    """Whether a file belongs to what takes hours."""
    return path.is_relative_to(ROOT / "tests" / "campaigns")


def is_slow(path: Path) -> bool:
    """Whether a file says of all its tests that they are slow, or lies under ``tests/real``."""
    if path.is_relative_to(ROOT / "tests" / "real"):
        return True
    return path.suffix == ".py" and bool(SLOW_FILE.search(path.read_text()))


def asks_for_more(item: pytest.Item) -> bool:
    """Whether a test is marked as slow, or asks for a server or a trained model."""
    asked = set(getattr(item, "fixturenames", ()))
    called = getattr(item, "callspec", None)
    parameters = set(map(str, called.params.values())) if called else set()
    return bool(
        item.get_closest_marker("slow") or HEAVY & asked or {"moto", "radosgw"} & parameters
    )
