"""Stores from which something is erased."""

from collections.abc import Iterator

import pytest

from tests.support.moved import forget


@pytest.fixture(autouse=True, scope="module")
def forgotten() -> Iterator[None]:
    """No other test finds the artifacts of a copy where it looks for those of the store."""
    yield
    forget()
