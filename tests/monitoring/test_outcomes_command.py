"""``python -m tasks outcomes`` in a store with a model in use and lesions that were released."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.feedback.decided import FOLDER as FEEDBACK
from tasks.feedback.decided import Decided, Released, decided_in, enter
from tasks.intake.manifest import parquet_of
from tasks.monitoring.counting import KNOWN
from tasks.monitoring.follow_up import follow_up
from tasks.monitoring.history import history_in
from tasks.monitoring.outcomes import Outcomes
from tasks.monitoring.promise import sealed_of
from tasks.records.evaluated import Evaluated
from tasks.records.split import Split
from tasks.registry.promotions import Model, Promotion, Rollback, append, promotions_in
from tests.support.approvals import PHYSICIAN, question_about
from tests.support.moved import forget, moved
from tests.support.records import record_of
from tests.support.released import melanomas, released

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture
def store(run: Run, tmp_path: Path) -> Iterator[DirectoryStore]:
    """A copy of the run's store, whose model is in use."""
    store = moved(run.store.uri, tmp_path / "store")
    asked = question_about(Run(store, run.name, run.config))
    append(store, run.name, lambda now: asked)
    promotion = Promotion(question=asked.id, before=None, after=asked.model, checks=())
    append(store, run.name, lambda now: promotion)
    yield store
    forget()


def in_use(store: DirectoryStore) -> Model:
    found = promotions_in(store).champion
    assert found
    return found


def release(store: DirectoryStore, lesions: Iterable[Released]) -> None:
    for each in lesions:
        enter(store, partial(lacking, each))


def lacking(lesion: Released, now: Decided) -> list[Released]:
    return [] if lesion.kept.lesion in now.lesions else [lesion]


def of_model(store: DirectoryStore, found: Iterable[bool], first: int = 0) -> list[Released]:
    return melanomas(found, first, model_sha256=in_use(store).model_sha256)


def misses(store: DirectoryStore) -> int:
    """Melanomas that contradict the model's promise if it misses all of them."""
    needed = follow_up(store).outcomes.in_use.needed
    assert needed
    return needed


def looks(store: DirectoryStore) -> tuple[Outcomes, ...]:
    return history_in(store).outcomes


def test_the_promise_is_that_of_the_sealed_evidence_and_of_what_the_app_tells(
    store: DirectoryStore, run: Run
) -> None:
    own = record_of(run, Evaluated).figures.headline
    found = sealed_of(in_use(store))
    parts = parquet_of(run.fetch(record_of(run, Split).parts))

    assert found.promise.sensitivity == own.sensitivity
    assert found.promise.sensitivity.lower > 0  # else nothing here can fail
    assert set(parts["side"]) == {"train", "validation", "test"}
    assert found.pixels == set(parts["pixel_hash"])


def test_nothing_released_is_a_normal_state(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outcomes", "--store", store.uri]) == 0
    said = capsys.readouterr().out

    assert said.startswith("Insufficient evidence. Nothing that counts was released yet")
    assert "Nothing was released yet" in store.read("monitoring/outcomes.html").decode()
    assert [each.in_use.state for each in looks(store)] == ["insufficient evidence"]


def test_a_broken_promise_is_told_entered_shown_and_promotes_nothing(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = in_use(store)
    release(store, of_model(store, [False] * misses(store)))
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert main(["outcomes", "--store", store.uri, "--output", str(page)]) == 0
    said = capsys.readouterr().out

    assert said.startswith("The promise is broken. ")
    assert "by selection biased" in said
    assert page.read_text() == store.read("monitoring/outcomes.html").decode()
    assert "<h2>The promise is broken.</h2>" in page.read_text()
    last = looks(store)[-1]
    assert last.in_use.state == "broken"
    assert last.released == decided_in(store).chain.head
    assert in_use(store) == before


def test_the_same_result_is_entered_once_and_a_new_release_again(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    release(store, of_model(store, [True, True]))
    first = follow_up(store)
    assert follow_up(store) == first
    assert len(looks(store)) == 1

    release(store, of_model(store, [True], first=50))
    capsys.readouterr()
    assert main(["outcomes", "--store", store.uri, "--json"]) == 0
    said = Outcomes.model_validate(json.loads(capsys.readouterr().out))
    assert said.in_use.found.n == 3
    assert looks(store) == (first.outcomes, said)
    assert history_in(store).tests == ()  # a look is no drift test


def test_an_alarm_is_told_once_by_the_first_request_and_again_if_that_is_repeated(
    store: DirectoryStore,
) -> None:
    count = misses(store)
    assert follow_up(store, "monday").outcomes.told_by == ""  # nothing to tell
    release(store, of_model(store, [False] * count))
    by_hand = follow_up(store).outcomes

    assert (by_hand.in_use.state, by_hand.told_by) == ("broken", "")  # a look by hand tells nobody
    assert follow_up(store, "tuesday").outcomes.told_by == "tuesday"
    entered = len(looks(store))
    assert follow_up(store, "tuesday").outcomes.told_by == "tuesday"
    assert follow_up(store, "wednesday").outcomes.told_by == "tuesday"
    assert len(looks(store)) == entered


def test_an_alarm_stands_after_the_lesions_that_raised_it_stopped_to_count(
    store: DirectoryStore,
) -> None:
    lesions = of_model(store, [False] * misses(store))
    release(store, lesions)
    assert follow_up(store).outcomes.in_use.alarm
    pixels = [each.kept.images[0].pixel_hash for each in lesions]
    sha = in_use(store).model_sha256
    again = [
        released(900 + number, "not melanoma", "nevus", pixels=(each,), model_sha256=sha)
        for number, each in enumerate(pixels)
    ]
    release(store, again)
    now = follow_up(store).outcomes.in_use

    assert (now.found.n, now.alarm, now.earlier_alarm, now.state) == (0, None, True, "broken")


def test_images_that_the_model_knows_and_answers_of_others_do_not_count(
    store: DirectoryStore, run: Run
) -> None:
    parts: pd.DataFrame = parquet_of(run.fetch(record_of(run, Split).parts))
    sha = in_use(store).model_sha256
    known = [str(rows["pixel_hash"].iloc[0]) for _, rows in parts.groupby("side")]
    release(store, [released(n, pixels=(p,), model_sha256=sha) for n, p in enumerate(known)])
    release(store, [released(50, model_sha256=sha), released(51, model_sha256="f" * 64)])
    found = follow_up(store).outcomes

    assert found.in_use.left_out == {KNOWN: 3}
    assert found.in_use.found.n == 1
    assert found.never_in_use == 1


def test_an_earlier_version_is_told_below_and_evidence_that_is_gone_too(
    store: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    first = in_use(store)
    release(store, of_model(store, [True, False, True]))
    other = first.model_copy(update={"version": 2, "model_sha256": "e" * 64})
    append(store, "", lambda now: rollback(first, other))
    with pytest.raises(Corrupt, match="is of another model"):
        follow_up(store)  # evidence of one model says nothing about another

    append(store, "", lambda now: rollback(other, first))
    gone = other.model_copy(update={"evidence_sha256": None})
    append(store, "", lambda now: rollback(first, gone))
    append(store, "", lambda now: rollback(gone, first))
    release(store, melanomas([True], 70, model_sha256="e" * 64))
    found = follow_up(store).outcomes

    assert (found.in_use.version, found.in_use.found.n) == (1, 3)
    (earlier,) = found.earlier
    assert (earlier.version, earlier.promise) == (2, None)
    assert "not known what version 2 promises" in earlier.no_promise
    assert main(["outcomes", "--store", store.uri]) == 0
    assert (
        "Earlier: Insufficient evidence. Version 2 found 1 of 1 released melanoma ("
        in capsys.readouterr().out
    )


def rollback(before: Model, after: Model) -> Rollback:
    return Rollback(by=PHYSICIAN, reason="a test", before=before, after=after, checks=())


def test_a_changed_release_is_found(store: DirectoryStore) -> None:
    release(store, of_model(store, [False, True]))
    key = f"{FEEDBACK}000001.json"
    store.replace(key, store.read(key).replace(b"not melanoma", b"melanoma"))

    with pytest.raises(Corrupt, match="ledger"):
        follow_up(store)
    assert looks(store) == ()


def test_releases_that_vanish_from_the_end_are_found(store: DirectoryStore) -> None:
    release(store, of_model(store, [False, True]))
    key = f"{FEEDBACK}000002.json"
    was = store.read(key)
    store.delete(key)
    follow_up(store)  # nobody had read the second one
    store.create(key, was)
    follow_up(store)
    store.delete(key)

    with pytest.raises(Corrupt, match="cut short or replaced"):
        follow_up(store)


def test_changed_evidence_is_found(store: DirectoryStore) -> None:
    record = Path(in_use(store).run) / "evidence/evaluate/record.json"
    record.write_bytes(record.read_bytes().replace(b'"successes"', b'"successes" ', 1))
    with pytest.raises(Corrupt, match="not the one that was sealed"):
        follow_up(store)

    manifest = record.parents[1] / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(Corrupt, match="not the bundle that people approved"):
        follow_up(store)


def test_without_a_model_in_use_there_is_no_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outcomes", "--store", str(tmp_path / "empty")]) == BadInput.exit_code
    assert "no model was ever promoted" in capsys.readouterr().err


def test_a_page_that_exists_is_not_overwritten(
    store: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")

    assert main(["outcomes", "--store", store.uri, "--output", str(page)]) == BadInput.exit_code
    assert "a file that does not exist" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert looks(store) == ()
