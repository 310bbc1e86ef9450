"""Who answers for a training that no person started: who delivered, and who set the defaults."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.config import Retraining
from tasks.engine.defaults import KEY, begin, set_defaults
from tasks.engine.deliveries import FOLDER, Defaults, Delivery, answerable_for, facts_in
from tasks.engine.ledger import entry_key
from tasks.engine.person import VARIABLE, Person
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.engine.withdrawals import withdraw
from tasks.errors import BadInput, Corrupt, Momentary
from tasks.intake.deliver import deliver
from tests.support.deliveries import picture
from tests.support.keys import pair_in, use

ANNA = Person(name="anna", how="Airflow", authenticated=True)
BERT = Person(name="bert", how="command line", authenticated=False)

Delivers = Callable[[Person, int], None]


@pytest.fixture
def delivers(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivers:
    """Delivers one more image as a person, from the folder ``clinic``."""

    def one(by: Person, number: int) -> None:
        folder = tmp_path / "clinic/nevus"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(picture(number))
        monkeypatch.setenv(VARIABLE, by.model_dump_json())
        deliver(store, tmp_path / "clinic")

    return one


def begun(store: Store, name: str) -> str:
    run = Run(store, name, begin(store, name, "{}"))
    run.delivered()
    return name


def test_who_delivered_the_newest_files_answers(store: Store, delivers: Delivers) -> None:
    delivers(ANNA, 1)
    first = begun(store, "first")
    assert answerable_for(store, first) == (ANNA,)
    delivers(BERT, 2)
    assert answerable_for(store, begun(store, "second")) == (BERT,)
    assert answerable_for(store, first) == (ANNA,)  # what came later is for another run


def test_whoever_delivers_the_same_files_again_does_not_take_them_over(
    store: Store, delivers: Delivers
) -> None:
    delivers(ANNA, 1)
    delivers(BERT, 1)
    assert facts_in(store) == [Delivery(by=ANNA, keys=("raw/clinic/nevus/1.png",))]
    assert answerable_for(store, begun(store, "first")) == (ANNA,)


def test_where_files_came_in_by_another_way_nobody_is_known(
    store: Store, delivers: Delivers
) -> None:
    delivers(ANNA, 1)
    store.create("raw/by-hand/nevus/2.png", picture(2))
    assert answerable_for(store, begun(store, "first")) == ()


def test_who_set_the_defaults_answers_too_and_unknown_defaults_are_nobodys(
    store: Store, delivers: Delivers
) -> None:
    delivers(ANNA, 1)
    set_defaults(store, '{"epochs": 3}', BERT)
    assert answerable_for(store, begun(store, "first")) == (ANNA, BERT)
    store.replace(KEY, b'{"epochs": 4}')
    assert answerable_for(store, begun(store, "second")) == ()


def test_who_withdrew_files_from_a_run_answers_too(store: Store, delivers: Delivers) -> None:
    delivers(ANNA, 1)
    delivers(ANNA, 2)
    first = begun(store, "first")
    withdraw(store, BERT, "wrong patient", files=["raw/clinic/nevus/1.png"])
    assert answerable_for(store, begun(store, "second")) == (ANNA, BERT)
    assert answerable_for(store, first) == (ANNA,)  # it began before


def test_a_withdrawn_file_is_left_out_in_every_store(store: Store, delivers: Delivers) -> None:
    delivers(ANNA, 1)
    delivers(ANNA, 2)
    run = Run(store, "first", Retraining())
    fresh, before = withdraw(store, BERT, "wrong patient", files=["clinic/nevus/1.png"])
    assert (fresh, before) == (["raw/clinic/nevus/1.png"], [])
    assert [each.key for each in run.delivered()] == ["raw/clinic/nevus/2.png"]
    assert [(each.key, each.by) for each in run.withdrawn()] == [
        ("raw/clinic/nevus/1.png", BERT.in_words)
    ]
    fresh, before = withdraw(store, ANNA, "again", delivery="clinic", files=[])
    assert (fresh, before) == (["raw/clinic/nevus/2.png"], ["raw/clinic/nevus/1.png"])


def test_a_person_without_a_name_is_nobody(store: Store, delivers: Delivers) -> None:
    delivers(Person(name="", how="event", authenticated=False), 1)
    assert answerable_for(store, begun(store, "first")) == ()


def test_a_run_that_has_not_begun_has_nobody(store: Store) -> None:
    assert answerable_for(store, "never") == ()


def test_a_ledger_that_was_changed_is_damaged(store: Store, delivers: Delivers) -> None:
    delivers(ANNA, 1)
    begun(store, "first")
    key = entry_key(1, FOLDER)
    store.replace(key, store.read(key).replace(b"anna", b"bert"))
    with pytest.raises(Corrupt, match="ledger is damaged"):
        answerable_for(store, "first")


def test_a_store_that_refuses_the_note_keeps_the_delivery_and_the_lack_is_told(
    store: Store,
    delivers: Delivers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write = store.create

    def refuses(key: str, data: bytes) -> None:
        if key.startswith(FOLDER):
            raise Momentary("forbidden")
        write(key, data)

    monkeypatch.setattr(store, "create", refuses)
    delivers(ANNA, 1)
    assert [entry.key for entry in store.list("raw/")] == ["raw/clinic/nevus/1.png"]
    assert "will count as unknown" in caplog.text


def test_defaults_that_are_not_valid_are_neither_set_nor_noted(store: Store) -> None:
    with pytest.raises(BadInput):
        set_defaults(store, '{"epochs": -1}', BERT)
    assert not list(store.list(""))
    set_defaults(store, '{"epochs": 1}', BERT)
    assert [type(each) for each in facts_in(store)] == [Defaults]


def test_defaults_are_set_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--store", str(tmp_path / "store")]
    assert main(["config", *where, "--set", '{"epochs": 3}', "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["epochs"]["default"] == 3
    assert main(["config", "--set", "{}"]) == 64


def test_with_a_key_only_what_is_signed_names_who_answers(
    store: Store, delivers: Delivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_in(tmp_path / "keys")
    use(monkeypatch, pair.private)
    delivers(ANNA, 1)
    assert answerable_for(store, begun(store, "first")) == (ANNA,)
    use(monkeypatch)
    delivers(BERT, 2)  # a deliverer without the key cannot continue a signed ledger
    use(monkeypatch, pair.private)
    assert answerable_for(store, begun(store, "second")) == ()


def test_with_a_key_an_unsigned_ledger_names_nobody(
    store: Store, delivers: Delivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivers(ANNA, 1)
    first = begun(store, "first")
    assert answerable_for(store, first) == (ANNA,)
    use(monkeypatch, pair_in(tmp_path / "keys").private)
    assert answerable_for(store, first) == ()
