"""A folder of images."""

from pathlib import Path

import pytest

from tests.support.deliveries import picture


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes with two images each."""
    for number, name in enumerate(("melanoma", "nevus") * 2):
        file = tmp_path / "clinic" / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return tmp_path / "clinic"
