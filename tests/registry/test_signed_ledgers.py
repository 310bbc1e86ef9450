"""Both ledgers, signed: nobody gains by stripping signatures, or by making the seals anew."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config import Retraining
from tasks.engine import ledger
from tasks.engine.ledger import Chain, Entry, chain_of, entry_key
from tasks.engine.run import Run
from tasks.engine.signing import NONE, signed_by
from tasks.engine.store import EVALUATIONS, Store
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256
from tasks.registry import promotions
from tasks.registry.promotions import Closing, promotions_in
from tests.support.keys import Pair, pair_in, use
from tests.support.stores import on_a_directory
from tests.support.world import explained

pytestmark = on_a_directory


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    pair = pair_in(tmp_path / "keys")
    use(monkeypatch, pair.private)
    return pair


def to_the_chain(store: Store, text: str) -> None:
    ledger.append(Run(store, "a", Retraining()), "test", lambda chain: {"text": text})


def to_the_promotions(store: Store, text: str) -> None:
    promotions.append(store, "", lambda now: Closing(question=text, why=""))


def promotions_of(store: Store) -> Chain:
    return promotions_in(store).chain


Add = Callable[[Store, str], None]
Read = Callable[[Store], Chain]
both = pytest.mark.parametrize(
    ("folder", "add", "read"),
    [
        (ledger.FOLDER, to_the_chain, chain_of),
        (promotions.FOLDER, to_the_promotions, promotions_of),
    ],
    ids=["chain", "promotions"],
)


def resealed(store: Store, folder: str, change: Callable[[Entry], Entry]) -> None:
    """What a forger without the key does: change entries, and chain and seal them anew."""
    previous = ""
    for number in range(1, len(list(store.list(folder))) + 1):
        key = entry_key(number, folder)
        entry = change(Entry.model_validate_json(store.read(key)))
        entry = entry.model_copy(update={"previous": previous}).sealed()
        store.replace(key, entry.data)
        previous = sha256(entry.data)


def stripped(entry: Entry) -> Entry:
    return entry.model_copy(update={"signature": ""})


def other_text(entry: Entry) -> Entry:
    content = json.loads(json.dumps(entry.content).replace("two", "TWO"))
    return entry.model_copy(update={"content": content})


@both
def test_each_entry_is_signed_with_a_key_and_none_without(
    store: Store, key: Pair, monkeypatch: pytest.MonkeyPatch, folder: str, add: Add, read: Read
) -> None:
    for text in ("one", "two"):
        add(store, text)
    assert [signed_by(entry.signature) for entry in read(store).entries] == [key.fingerprint] * 2
    use(monkeypatch, public=key.public)
    assert len(read(store).entries) == 2
    for name in [each.key for each in store.list(folder)]:
        store.delete(name)
    use(monkeypatch)
    add(store, "one")
    assert b"signature" not in store.read(entry_key(1, folder))


@both
def test_no_byte_of_a_signed_entry_may_be_another(
    store: Store, key: Pair, folder: str, add: Add, read: Read
) -> None:
    for text in ("one", "two"):
        add(store, text)
    last = entry_key(2, folder)
    data = store.read(last)

    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def law(place: int, change: int) -> None:
        store.replace(last, data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])
        with pytest.raises(Corrupt):
            read(store)

    law()
    store.replace(last, data)
    assert len(read(store).entries) == 2


@both
@pytest.mark.parametrize("change", [stripped, other_text], ids=["stripped", "changed"])
def test_a_consistent_forgery_is_refused_with_a_key_and_not_seen_without(
    store: Store, key: Pair, monkeypatch: pytest.MonkeyPatch,
    folder: str, add: Add, read: Read, change: Callable[[Entry], Entry],
) -> None:  # fmt: skip
    for text in ("one", "two", "three"):
        add(store, text)
    resealed(store, folder, change)
    with pytest.raises(Corrupt) as refused:
        read(store)
    assert "python -m tasks sign" in explained(refused.value)
    use(monkeypatch)
    assert len(read(store).entries) == 3


@both
def test_an_unsigned_entry_after_signed_ones_is_refused_and_cannot_be_added(
    store: Store, key: Pair, monkeypatch: pytest.MonkeyPatch, folder: str, add: Add, read: Read
) -> None:
    add(store, "one")
    use(monkeypatch)
    with pytest.raises(BadInput, match="must be signed too"):
        add(store, "two")
    use(monkeypatch, public=key.public)
    with pytest.raises(BadInput, match="cannot sign"):
        add(store, "two")
    use(monkeypatch, key.private)
    add(store, "two")
    last = Entry.model_validate_json(store.read(entry_key(2, folder)))
    store.replace(entry_key(2, folder), stripped(last).data)
    with pytest.raises(Corrupt, match=r"000002.json is not signed"):
        read(store)


@both
def test_a_ledger_from_before_the_key_is_refused_until_somebody_vouches_for_it(
    store: Store, key: Pair, monkeypatch: pytest.MonkeyPatch, folder: str, add: Add, read: Read
) -> None:
    use(monkeypatch)
    for text in ("one", "two"):
        add(store, text)
    use(monkeypatch, key.private)
    for refused in (read, lambda store: add(store, "three")):
        with pytest.raises(Corrupt, match="not signed"):
            refused(store)


def test_a_signed_entry_of_one_ledger_is_no_entry_of_the_other(store: Store, key: Pair) -> None:
    to_the_promotions(store, "one")
    store.create(entry_key(1, ledger.FOLDER), store.read(entry_key(1, promotions.FOLDER)))
    with pytest.raises(Corrupt, match="not of these bytes at this place"):
        chain_of(store)
    assert chain_of(store, keys=NONE).entries


@both
def test_an_entry_of_another_key_is_refused_and_of_an_old_one_taken(
    store: Store, key: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    folder: str, add: Add, read: Read,
) -> None:  # fmt: skip
    add(store, "one")
    new = pair_in(tmp_path / "new")
    use(monkeypatch, new.private)
    with pytest.raises(Corrupt, match=f"another key, SHA-256 {key.fingerprint}"):
        read(store)
    use(monkeypatch, new.private, key.public)
    add(store, "two")
    signers = [signed_by(entry.signature) for entry in read(store).entries]
    assert signers == [key.fingerprint, new.fingerprint]


def test_loose_entries_of_the_first_version_are_not_believed_with_a_key(
    store: Store, key: Pair
) -> None:
    store.create(f"{EVALUATIONS}a.json", b"{}")
    with pytest.raises(Corrupt, match="loose entries"):
        chain_of(store)
