"""Release lesions into a delivery, or delete them: what a reviewer decides.

A release goes through `deliver`, like any delivery of a person: images to
``raw/feedback/<class>/``, a table of lesions and diagnoses to ``raw/metadata/feedback/``. The
ledger of deliveries names the reviewer, who then counts among those who trained on the images.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from tasks.engine.person import Person
from tasks.engine.spreadsheet import to_csv
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.feedback.decided import Deleted, Released, decided_in, enter
from tasks.feedback.kept import FOLDER, Waiting, check_proof, image_of, remove, waiting
from tasks.figures import listed, plural
from tasks.intake.deliver import deliver
from tasks.intake.guide import NAME as GUIDE
from tasks.lesions import SYNTHETIC_PREFIX
from tasks.records.record import sha256

log = logging.getLogger(__name__)

DELIVERY = "feedback"
# What clinicians send back is no draw from those whom they see, so it is a source of its own.
SOURCE = "sources: {feedback: feedback of the app}\n"
LONGEST_REASON = 500
BATCH_BYTES = 2**27  # of images in one delivery


def release(store: Store, lesions: Sequence[str], by: Person) -> list[Released]:
    """Release lesions into a delivery, and remove them from review.

    A release that was killed can be repeated: what was delivered is not delivered again.

    Args:
        store: The store.
        lesions: Numbers of lesions that are kept and have a diagnosis.
        by: The reviewer.

    Returns:
        What was entered into the ledger of feedback.

    Raises:
        BadInput: A lesion is not kept, has no diagnosis, or was deleted; nothing is released.
        Corrupt: A file of a lesion was changed; nothing is released.
        Momentary: The store does not answer.
    """
    chosen = tuple(dict.fromkeys(lesions))
    now = decided_in(store)
    done = {fact.kept.lesion for _, fact in now.released}
    fresh = [waiting(store, lesion) for lesion in chosen if lesion not in done]
    _check(fresh, now.lesions)
    entered: list[Released] = []
    for batch in _batches(store, fresh):
        with tempfile.TemporaryDirectory() as folder:
            told = _deliver(store, batch, Path(folder), by)
        entered += _entered(store, told)
    for lesion in chosen:
        remove(store, lesion)
    log.info("%s released into the delivery %s.", plural(len(entered), "lesion"), DELIVERY)
    return entered


def delete(store: Store, lesion: str, by: Person, reason: str) -> Deleted:
    """Delete the images of a lesion, for example because the patient takes the consent back.

    Args:
        store: The store.
        lesion: Number of a lesion that is kept.
        by: The reviewer.
        reason: Why, 1 to 500 characters.

    Returns:
        What was entered into the ledger of feedback.

    Raises:
        BadInput: No reason is given, or the lesion was released: `erase --image` then removes it.
        NotFound: The lesion is not kept.
    """
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise BadInput(
            "It is not said why the images are deleted.",
            expected=f"a reason of 1 to {LONGEST_REASON} characters",
            received=f"{len(reason.strip())} characters",
            do="say why",
        )
    waiting(store, lesion)
    said = Deleted(lesion=lesion, by=by, reason=reason.strip())
    entered = enter(store, lambda at: [] if lesion in at.lesions else [said])
    if not entered and lesion in {fact.kept.lesion for _, fact in decided_in(store).released}:
        raise BadInput(
            "This lesion was released meanwhile.",
            expected="a lesion that waits",
            received=lesion,
            do="withdraw or erase its images: python -m tasks erase --image",
        )
    remove(store, lesion)
    return said


def _check(chosen: Sequence[Waiting], decided: set[str]) -> None:
    open_ = [each.kept.lesion for each in chosen if each.diagnosed is None]
    gone = [each.kept.lesion for each in chosen if each.kept.lesion in decided]
    if open_ or gone:
        why = "a diagnosis is missing" if open_ else "a reviewer deleted the lesion"
        raise BadInput(
            "Nothing was released.",
            expected="lesions that wait, each with its diagnosis",
            received=f"{why}: {listed(open_ or gone, 5)}",
            do="enter the diagnosis, or leave these lesions out",
        )
    for each in chosen:
        assert each.diagnosed
        check_proof(each.diagnosed.diagnosis, each.diagnosed.proof)


def _told(found: Waiting, by: Person) -> Released:
    assert found.diagnosed
    kept, prefix = found.kept, f"raw/{DELIVERY}/{found.diagnosed.diagnosis}/"
    names = [_name(found, each.name) for each in kept.images]
    keys = tuple(prefix + name for name in names)
    return Released(kept=kept, diagnosed=found.diagnosed, by=by, keys=keys)


def _name(found: Waiting, image: str) -> str:
    """The name of an image in the delivery: drawn lesions are known by their names."""
    mark = SYNTHETIC_PREFIX if found.kept.synthetic else f"{DELIVERY}_"
    return f"{mark}{found.kept.lesion}_{image}"


def _batches(store: Store, chosen: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """The lesions in groups: a delivery must lie on the disk, which may be memory."""
    batch: list[Waiting] = []
    size = 0
    for each in chosen:
        own = sum(entry.size_bytes for entry in store.list(f"{FOLDER}{each.kept.lesion}/"))
        if batch and size + own > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += own
    if batch:
        yield batch


def _entered(store: Store, told: Sequence[Released]) -> list[Released]:
    """What the ledger did not say yet, and says now."""
    facts = enter(store, lambda at: (each for each in told if each.kept.lesion not in at.lesions))
    return [each for each in facts if isinstance(each, Released)]


def _deliver(store: Store, chosen: Sequence[Waiting], folder: Path, by: Person) -> list[Released]:
    """Deliver images and their table, which must lie in a folder for it."""
    images, tables = folder / DELIVERY, folder / "tables" / DELIVERY
    told, rows = [_told(each, by) for each in chosen], []
    for found, release_of in zip(chosen, told, strict=True):
        own = images / release_of.diagnosed.diagnosis
        own.mkdir(parents=True, exist_ok=True)
        for image in found.kept.images:
            name = _name(found, image.name)
            (own / name).write_bytes(image_of(store, found, image.name))
            rows.append(_row(found, name, release_of))
    (images / GUIDE).write_text(SOURCE)
    tables.mkdir(parents=True)
    _write_table(tables, rows)
    deliver(store, images, tables.parent, by=by)
    return told


def _row(found: Waiting, name: str, said: Released) -> dict[str, str]:
    mark = SYNTHETIC_PREFIX if found.kept.synthetic else ""
    return {
        "image_id": name.rpartition(".")[0],
        "lesion_id": f"{mark}{DELIVERY}_{found.kept.lesion}",
        "diagnosis": said.diagnosed.diagnosis,
        "diagnosis_confirm_type": said.diagnosed.proof,
    }


def _write_table(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the table under the hash of its bytes: a repeated release writes the same one."""
    data = to_csv(pd.DataFrame(rows))
    (folder / f"{sha256(data)[:16]}.csv").write_bytes(data)
