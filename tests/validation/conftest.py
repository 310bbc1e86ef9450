"""A delivery of three classes."""

from pathlib import Path

import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tests.support.deliveries import put_lesions


@pytest.fixture
def shelf(tmp_path: Path) -> Store:
    """A store with three sound classes."""
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 106))
    put_lesions(store, "nevus", range(200, 206))
    put_lesions(store, "dermatofibroma", range(300, 306))
    return store
