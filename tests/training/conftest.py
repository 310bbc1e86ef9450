"""A training that nothing breaks, and a place for checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.engine.directory import DirectoryStore

if TYPE_CHECKING:
    from tasks.training.fitting import Fitted


@pytest.fixture(scope="module")
def unbroken() -> "tuple[Fitted, bytes]":
    # Here, for Keras takes seconds to import, and most tests of this folder do without.
    from tasks.model_file import to_bytes
    from tasks.training.fitting import fit
    from tests.support.fitted import PLAN, TRAINING, VALIDATION, network

    model = network()
    return fit(model, TRAINING, VALIDATION, PLAN), to_bytes(model)


@pytest.fixture
def place(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)
