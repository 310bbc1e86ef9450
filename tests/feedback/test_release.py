"""A reviewer releases lesions into a delivery, or deletes them; the ledger says so."""

from pathlib import Path

import pytest

from tasks.engine.deliveries import Delivery, facts_in
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, Momentary, NotFound
from tasks.feedback import release as releasing
from tasks.feedback.decided import FOLDER as LEDGER
from tasks.feedback.decided import decided_in
from tasks.feedback.kept import FOLDER, waiting_in
from tasks.feedback.release import delete, release
from tasks.intake.manifest import read_parquet
from tasks.release.sign import sign
from tests.support.deliveries import do, picture, put_lesions, run_of
from tests.support.feedback import REVIEWER, diagnosed, files, kept
from tests.support.keys import pair_in, use
from tests.support.stores import keys, on_a_directory, on_real_stores


def released(store: Store, seed: int = 1, images: int = 1, **said: object) -> str:
    """Keep a melanoma and release it; its number."""
    lesion = kept(store, seed, images, **said)
    diagnosed(store, lesion)
    release(store, [lesion], REVIEWER)
    return lesion


@on_real_stores
def test_a_release_is_a_delivery_of_the_reviewer(store: Store) -> None:
    lesion = released(store, images=2)
    names = [f"raw/feedback/melanoma/feedback_{lesion}_{n}.jpg" for n in (1, 2)]

    assert [store.read(name) for name in names] == [each.data for each in files(1, 2)]
    (delivery,) = facts_in(store)
    assert isinstance(delivery, Delivery)
    assert delivery.by == REVIEWER
    assert {*names, "raw/feedback/reading.yaml"} <= {*delivery.keys}
    ((entry, said),) = decided_in(store).released
    assert (said.kept.lesion, said.diagnosed.diagnosis, said.by) == (lesion, "melanoma", REVIEWER)
    assert said.keys == tuple(names)
    assert entry.kind == "release"
    assert keys(store, FOLDER) == []


@on_a_directory
def test_ingest_reads_diagnosis_lesion_and_source(store: Store) -> None:
    put_lesions(store, "nevus", range(4))
    lesion = released(store, images=2)
    released(store, 2)
    run = run_of(store)
    rows = read_parquet(run, do(run, "ingest").manifest)
    own = rows[rows["key"].str.startswith("raw/feedback/")]

    assert set(own["label"]) == {"melanoma"}
    assert own["lesion_id"].nunique() == 2
    assert (own["lesion_id"] == f"feedback_{lesion}").sum() == 2
    assert set(own["source"]) == {"feedback of the app"}
    assert "feedback of the app" not in set(rows.loc[~rows.index.isin(own.index), "source"])


@on_a_directory
@pytest.mark.parametrize("drawn", [True, False])
def test_what_a_model_of_drawn_lesions_was_asked_counts_as_drawn(store: Store, drawn: bool) -> None:
    released(store, synthetic=drawn)
    run = run_of(store)
    rows = read_parquet(run, do(run, "ingest").manifest)

    assert set(rows["source"]) == {"SYNTHETIC" if drawn else "feedback of the app"}


@on_a_directory
@pytest.mark.parametrize("which", ["without a diagnosis", "unknown", "deleted"])
def test_if_one_lesion_cannot_be_released_none_is(store: Store, which: str) -> None:
    good, other = kept(store, 1), kept(store, 2)
    diagnosed(store, good)
    if which == "deleted":
        delete(store, other, REVIEWER, "The patient asked.")
    with pytest.raises(BadInput):
        release(store, [good, "0" * 16 if which == "unknown" else other], REVIEWER)
    assert keys(store, "raw/") == []
    assert decided_in(store).released == []
    assert len(release(store, [good], REVIEWER)) == 1


@on_a_directory
@pytest.mark.parametrize("at", ["deliver", "enter", "remove"])
def test_a_release_that_was_killed_is_repeated(
    store: Store, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesion = kept(store, 1)
    diagnosed(store, lesion)

    def killed(*_: object, **__: object) -> None:
        raise Momentary("The store does not answer.")

    with monkeypatch.context() as fault:
        fault.setattr(releasing, at, killed)
        with pytest.raises(Momentary):
            release(store, [lesion], REVIEWER)
    assert [each.kept.lesion for each in waiting_in(store)] == [lesion]
    release(store, [lesion], REVIEWER)

    assert len(decided_in(store).released) == 1
    assert len(keys(store, "raw/feedback/melanoma/")) == 1
    assert len(keys(store, "raw/metadata/feedback/")) == 1
    assert waiting_in(store) == []
    assert release(store, [lesion, lesion], REVIEWER) == []


@on_a_directory
def test_a_large_release_is_delivered_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is delivered lies on the disk first, and a container's disk is memory."""
    lesions = [kept(store, seed, images=2) for seed in range(3)]
    for lesion in lesions:
        diagnosed(store, lesion)
    monkeypatch.setattr(releasing, "BATCH_BYTES", 1)
    assert len(release(store, lesions, REVIEWER)) == 3

    assert len(keys(store, "raw/feedback/melanoma/")) == 6
    assert len(keys(store, "raw/metadata/feedback/")) == 3
    assert [said.kept.lesion for _, said in decided_in(store).released] == lesions
    assert waiting_in(store) == []


@on_a_directory
def test_two_reviewers_release_once(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lesions = [kept(store, seed) for seed in range(3)]
    for lesion in lesions:
        diagnosed(store, lesion)

    def ask(_: int) -> object:
        try:
            return release(store, lesions, REVIEWER)
        except (BadInput, Momentary) as error:  # the other one was faster
            return error

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(2)))
    found = [said.kept.lesion for _, said in decided_in(store).released]
    assert sorted(found) == sorted(lesions)
    assert len(keys(store, "raw/feedback/melanoma/")) == 3


@on_real_stores
def test_a_deletion_needs_a_reason_and_leaves_no_image(store: Store) -> None:
    lesion = kept(store, 1, images=2)
    for empty in ("", "  ", "x" * 501):
        with pytest.raises(BadInput, match="why the images are deleted"):
            delete(store, lesion, REVIEWER, empty)
    assert len(keys(store, FOLDER)) == 3
    delete(store, lesion, REVIEWER, " The patient asked. ")

    assert keys(store, FOLDER) == []
    assert keys(store, "raw/") == []
    ((_, said),) = decided_in(store).deleted
    assert (said.lesion, said.reason, said.by) == (lesion, "The patient asked.", REVIEWER)
    with pytest.raises(NotFound):
        delete(store, lesion, REVIEWER, "Again.")


@on_a_directory
def test_what_was_released_is_not_deleted_as_if_it_waited(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesion = kept(store, 1)
    diagnosed(store, lesion)
    with monkeypatch.context() as fault:
        fault.setattr(releasing, "remove", lambda *_: None)  # killed before it
        release(store, [lesion], REVIEWER)
    with pytest.raises(BadInput, match="released meanwhile"):
        delete(store, lesion, REVIEWER, "The patient asked.")


@on_a_directory
@pytest.mark.parametrize("change", ["content", "gap"])
def test_a_changed_ledger_is_found(store: Store, change: str) -> None:
    for seed in (1, 2):
        released(store, seed)
    key = f"{LEDGER}000001.json"
    if change == "gap":
        store.delete(key)
    else:
        store.replace(key, store.read(key).replace(b"melanoma", b"nevus   "))
    with pytest.raises(Corrupt):
        decided_in(store)


@on_a_directory
def test_with_a_key_each_entry_must_be_vouched_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that got its key late is read again once a person has vouched for it."""
    released(store)
    use(monkeypatch, pair_in(tmp_path / "keys").private)
    with pytest.raises(Corrupt, match=r"ledger/feedback/000001\.json"):
        decided_in(store)
    assert sign(store, REVIEWER, "They were here before the key.").entries == 1
    assert sign(store, REVIEWER, "Again.").entries == 0
    released(store, 2)
    assert len(decided_in(store).released) == 2

    use(monkeypatch)
    with pytest.raises(BadInput, match="must be signed too"):
        released(store, 3)


@on_a_directory
def test_an_image_that_was_changed_in_review_is_not_released(store: Store) -> None:
    lesion = kept(store, 1)
    diagnosed(store, lesion)
    store.replace(f"{FOLDER}{lesion}/1.jpg", picture(1))
    with pytest.raises(Corrupt):
        release(store, [lesion], REVIEWER)
    assert keys(store, "raw/") == []
