"""Aliases and tags in MLflow follow what they are told, however often they are told."""

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tasks.registry.aliases import PREVIOUS, follow, mark
from tasks.registry.versions import CHALLENGER, CHAMPION, mlflow_client

pytestmark = pytest.mark.slow

NAME = "classifier"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    return DirectoryStore(tmp_path_factory.mktemp("aliases"))


@pytest.fixture
def client(place: DirectoryStore) -> Iterator[Any]:
    """MLflow with three versions of a model, of which the third is the challenger."""
    with mlflow_client(place) as found:
        found.create_registered_model(NAME)
        for _ in range(3):
            found.create_model_version(NAME, "file:nowhere")
        found.set_registered_model_alias(NAME, CHALLENGER, "3")
        yield found
        found.delete_registered_model(NAME)


def aliases(client: Any) -> dict[str, int]:
    return {name: int(n) for name, n in client.get_registered_model(NAME).aliases.items()}


@pytest.mark.parametrize(
    "told", [[(1, None)], [(1, None), (2, 1)], [(2, 1), (1, 2)], [(2, 1), (None, 2)], [(3, 3)]]
)
def test_the_aliases_are_on_exactly_the_versions_that_were_told(
    client: Any, told: list[tuple[int | None, int | None]]
) -> None:
    for champion, previous in told:
        for _ in range(2):
            follow(client, NAME, champion=champion, previous=previous)
            wanted = {CHAMPION: champion, PREVIOUS: previous, CHALLENGER: 3}
            assert aliases(client) == {name: n for name, n in wanted.items() if n}


def test_an_alias_that_is_right_already_is_not_set_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(client, NAME, champion=2, previous=1)

    def forbidden(*told: Any) -> None:
        raise AssertionError(told)

    for name in ("set_registered_model_alias", "delete_registered_model_alias"):
        monkeypatch.setattr(type(client), name, forbidden)
    follow(client, NAME, champion=2, previous=1)


def test_without_a_model_there_is_no_alias_to_remove_and_none_to_set(
    place: DirectoryStore,
) -> None:
    with mlflow_client(place) as client:
        follow(client, "nothing", champion=None, previous=None)
    with pytest.raises(BadInput, match="MLflow does not hold"), mlflow_client(place) as client:
        follow(client, "nothing", champion=1, previous=None)


def test_a_version_that_does_not_exist_gets_no_alias(place: DirectoryStore, client: Any) -> None:
    with pytest.raises(BadInput, match="MLflow does not hold"), mlflow_client(place) as again:
        follow(again, NAME, champion=9, previous=None)
    assert CHAMPION not in aliases(client)


def test_a_version_tells_its_last_standing_and_why(place: DirectoryStore, client: Any) -> None:
    mark(client, NAME, 2, "challenger", "the gate let it pass")
    mark(client, NAME, 2, "rejected", "too few melanomas: <b>A. Person</b>")

    tags = client.get_model_version(NAME, "2").tags
    assert (tags["status"], tags["status_reason"]) == (
        "rejected",
        "too few melanomas: <b>A. Person</b>",
    )
    assert client.get_model_version(NAME, "1").tags == {}
    with pytest.raises(BadInput, match="MLflow does not hold"), mlflow_client(place) as again:
        mark(again, NAME, 9, "rejected", "")
