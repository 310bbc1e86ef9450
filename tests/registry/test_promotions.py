"""The ledger of promotions: one history, whoever writes at once, on every store."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import pytest

from tasks.engine.ledger import Chain, entry_key
from tasks.engine.store import Store
from tasks.errors import Corrupt
from tasks.records.record import LedgerHead
from tasks.registry.promotions import (
    FOLDER,
    Adoption,
    Closing,
    Fact,
    Model,
    Promotion,
    Promotions,
    Rollback,
    append,
    promotions_in,
)
from tests.support.approvals import PHYSICIAN


def model(version: int) -> Model:
    return Model(
        version=version, run=f"store/runs/{version}", model_sha256=f"{version:064d}",
        threshold=0.4, classes=("melanoma", "nevus"), evidence_sha256=None,
    )  # fmt: skip


def promotion(before: int | None, after: int) -> Promotion:
    earlier = model(before) if before else None
    return Promotion(question=f"about {after}", before=earlier, after=model(after), checks=())


def closing(question: str, now: Promotions) -> Closing:
    return Closing(question=question, why="")


def rolled_back(before: int, after: int) -> Rollback:
    return Rollback(
        by=PHYSICIAN, reason="harm", before=model(before), after=model(after), checks=()
    )


def test_of_promotions_at_once_one_wins_and_the_others_see_it(store: Store) -> None:
    seen: list[Model | None] = []

    def promote(number: int) -> None:
        def said(now: Promotions) -> Fact | None:
            if now.champion is not None:
                return None
            return promotion(None, number)

        seen.append(append(store, "", said).champion)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(promote, range(1, 9)))
    now = promotions_in(store)
    assert len(now.facts) == 1
    assert seen == [now.champion] * 8


def test_what_everybody_may_add_is_added_once_each_in_one_chain(store: Store) -> None:
    def close(number: int) -> None:
        append(store, "", lambda now: Closing(question=str(number), why="a test"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(close, range(24)))
    said = [each.question for each in promotions_in(store).facts if isinstance(each, Closing)]
    assert sorted(said, key=int) == [str(number) for number in range(24)]


def test_the_last_move_names_the_champion_and_the_one_before() -> None:
    def after(*facts: Fact) -> tuple[int | None, int | None, list[int]]:
        now = Promotions(Chain(), facts)
        champion, previous = now.champion, now.previous
        return (
            champion.version if champion else None,
            previous.version if previous else None,
            [each.version for each in now.earlier],
        )

    assert after() == (None, None, [])
    assert after(Adoption(after=model(3), why="")) == (3, None, [])
    assert after(promotion(None, 1), promotion(1, 2)) == (2, 1, [1])
    back = (promotion(None, 1), promotion(1, 2), promotion(2, 3), rolled_back(3, 1))
    assert after(*back) == (1, 3, [3, 2])


def test_who_was_champion_on_a_day_is_told(store: Store) -> None:
    append(store, "", lambda now: promotion(None, 1))
    now = promotions_in(store)
    at = datetime.fromisoformat(now.chain.entries[0].at)
    assert now.champion_at(at) == model(1)
    assert now.champion_at(at.replace(year=at.year - 1)) is None


@pytest.mark.parametrize("harm", ["changed", "cut", "gap", "unknown kind"])
def test_a_ledger_that_was_changed_or_cut_is_refused(store: Store, harm: str) -> None:
    for question in "123":
        append(store, "", partial(closing, question))
    now = promotions_in(store)
    heads = tuple(entry.head for entry in now.chain.entries)
    assert promotions_in(store, heads).facts == now.facts
    last = entry_key(3, FOLDER)
    if harm == "changed":
        store.replace(last, store.read(last).replace(b'"why": ""', b'"why": "x"'))
    elif harm == "cut":
        store.delete(last)
    elif harm == "gap":
        store.delete(entry_key(2, FOLDER))
    else:
        entry = now.chain.entries[-1].model_copy(update={"kind": "coronation"}).sealed()
        store.replace(last, entry.data)
        heads = ()
    with pytest.raises(Corrupt, match="ledger"):
        promotions_in(store, heads)


def test_a_head_of_another_history_is_refused(store: Store) -> None:
    append(store, "", lambda now: Closing(question="1", why=""))
    with pytest.raises(Corrupt, match="cut short or replaced"):
        promotions_in(store, (LedgerHead(number=1, sha256="0" * 64),))
