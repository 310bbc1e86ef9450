from collections.abc import Iterator

import pytest

from tests.support.postgres import PostgreSQL, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    with running() as server:
        yield server
