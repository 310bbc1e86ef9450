"""An erased image does not stay among those that wait for a reviewer."""

from pathlib import Path

from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.erasure.erase import erase
from tasks.feedback.decided import decided_in
from tasks.feedback.kept import FOLDER, waiting_in
from tasks.feedback.release import release
from tests.support.deliveries import do, put_lesions, run_of
from tests.support.feedback import REVIEWER, diagnosed, kept
from tests.support.stores import keys

WHO = Person(name="Ada", how="command line", authenticated=False)


def erased(store: Store, lesion: str) -> None:
    do(run_of(store), "ingest")
    erase(store, "image", f"feedback_{lesion}_1", WHO, "consent withdrawn", stop_runs=True)


def test_a_released_image_is_erased_from_the_delivery_and_from_review(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "nevus", range(3))
    lesion = kept(store, 1, images=2)
    diagnosed(store, lesion)
    release(store, [lesion], REVIEWER)
    again, other = kept(store, 1, images=2, lesion="f" * 16), kept(store, 2)
    assert [each.kept.lesion for each in waiting_in(store)] == ["f" * 16, other], again

    erased(store, lesion)
    assert [each.kept.lesion for each in waiting_in(store)] == [other]
    assert keys(store, f"{FOLDER}{'f' * 16}") == []
    left = keys(store, "raw/feedback/melanoma/")
    assert left == [f"raw/feedback/melanoma/feedback_{lesion}_2.jpg"]
    assert len(decided_in(store).released) == 1  # the ledger holds no image
