"""The defaults of a store: what a run takes from ``config.json``, and when."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.__main__ import main
from tasks.config import Retraining
from tasks.engine.defaults import MOST_BYTES, begin, config_of, defaults_of
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, NotFound
from tests.support.deliveries import put_lesions


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def put(store: Store, **fields: Any) -> None:
    store.replace("config.json", json.dumps(fields).encode())


def test_a_given_field_goes_before_the_stores_and_the_stores_before_the_products(
    store: Store,
) -> None:
    put(store, epochs=7, seed=3, prevalence={"melanoma": 0.1})
    config = config_of(store, "a", '{"epochs": 9}')

    assert (config.epochs, config.seed, config.prevalence) == (9, 3, {"melanoma": 0.1})
    assert config.batch_size == Retraining().batch_size


def test_a_store_without_the_file_has_the_products_defaults(store: Store) -> None:
    assert defaults_of(store) == "{}"
    assert config_of(store, "a", "") == begin(store, "a", "{}") == Retraining()


def test_a_run_keeps_the_defaults_with_which_it_began(store: Store) -> None:
    put(store, epochs=7)
    assert begin(store, "old", "{}").epochs == 7
    put(store, epochs=8, minimum_groups=3)

    assert config_of(store, "old", '{"seed": 1}') == Retraining(epochs=7, seed=1)
    assert begin(store, "old", "{}") == Retraining(epochs=7)
    assert begin(store, "new", "{}") == Retraining(epochs=8, minimum_groups=3)


def test_a_run_that_began_without_defaults_keeps_to_that(store: Store) -> None:
    begin(store, "old", "{}")
    put(store, epochs=8)

    assert config_of(store, "old", "{}") == Retraining()
    assert config_of(store, "new", "{}").epochs == 8


def test_of_two_parts_that_begin_at_once_both_take_the_same_defaults(store: Store) -> None:
    put(store, epochs=7)
    other = open_store(store.uri)

    class Raced:
        """A store in which the other part writes between this part's look and its write."""

        uri = store.uri

        def read(self, key: str) -> bytes:
            return store.read(key)

        def create(self, key: str, data: bytes) -> None:
            begin(other, "a", "{}")
            put(store, epochs=9)
            store.create(key, data)

    first: Any = Raced()
    assert begin(first, "a", "{}").epochs == begin(other, "a", "{}").epochs == 7


@pytest.mark.parametrize(
    ("defaults", "given", "means"),
    [
        ({"best_epochs": 3}, {}, {"residual_epochs": 3}),
        ({"best_epochs": 3}, {"residual_epochs": 4}, {"residual_epochs": 4}),
        ({"residual_epochs": 3}, {"best_epochs": 4}, {"residual_epochs": 4}),
        ({"recipes": ["best"]}, {"seed": 1}, {"recipes": ("residual",), "seed": 1}),
    ],
)
def test_former_names_are_read_in_both(
    store: Store, defaults: dict[str, Any], given: dict[str, Any], means: dict[str, Any]
) -> None:
    put(store, **defaults)
    assert config_of(store, "a", json.dumps(given)) == Retraining(**means)


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"epoch": 3}',
        b'{"epochs": 0}',
        b'{"image_size": 96, "packed_size": 64}',
        b"epochs: 3",
        b"[1]",
        b"\xff\xfe{}",
        b" " * (MOST_BYTES + 1),
        b"[" * 50_000,
    ],
    ids=lambda wrong: repr(wrong[:20]),
)
def test_wrong_defaults_stop_a_run_before_it_leaves_a_trace(store: Store, wrong: bytes) -> None:
    store.replace("config.json", wrong)
    with pytest.raises(BadInput, match="defaults of the store are not valid"):
        begin(store, "a", '{"epochs": 3, "image_size": 64}')
    assert [entry.key for entry in store.list("")] == ["config.json"]


def test_fields_that_contradict_the_stores_defaults_are_told_with_both(store: Store) -> None:
    put(store, image_size=48, packed_size=64)
    with pytest.raises(BadInput, match="image_size must be at most packed_size") as told:
        begin(store, "a", '{"image_size": 96}')
    assert "over the store's defaults" in told.value.received
    assert '"packed_size": 64' in told.value.received
    assert not list(store.list("runs/"))


# The command line ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_record_says_with_which_configuration_the_step_ran(store: Store) -> None:
    put_lesions(store, "melanoma", range(3))
    put(store, packed_size=48, image_size=32, epochs=7)
    config = json.dumps({"epochs": 2})
    assert main(["ingest", "--run", f"{store.uri}/runs/a", "--config", config]) == 0
    record = read_record(store, "a", "ingest")

    assert record
    assert record.provenance
    assert record.provenance.config == Retraining(packed_size=48, image_size=32, epochs=2)


@pytest.mark.parametrize("command", ["ingest", "run"])
def test_wrong_defaults_end_a_command_with_64_and_what_to_do(
    store: Store, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    put(store, epoch=3)
    where = ["--store", store.uri] if command == "run" else ["--run", f"{store.uri}/runs/a"]
    until = ["--until", "split"] if command == "run" else []

    assert main([command, *where, *until]) == 64
    said = capfd.readouterr().err
    assert "did you mean epochs" in said
    assert "correct config.json" in said
    with pytest.raises(NotFound):
        store.read("runs/a/config.json")


def test_the_defaults_of_a_store_can_be_looked_at(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    put(store, epochs=7)
    assert main(["config", "--json", "--store", store.uri]) == 0
    fields = json.loads(capfd.readouterr().out)["properties"]

    assert fields["epochs"]["default"] == 7
    assert fields["seed"]["default"] == Retraining().seed
