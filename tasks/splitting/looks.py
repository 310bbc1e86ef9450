"""Looks at the test part: count the models judged on it, and settle the images that judged them.

Whoever tries many models on one test part finds one that passes by chance. So each evaluation
enters a look into the ledger before it reads the test part, and each look widens the bounds of the
gate (see `tasks.evaluation.policy.Spending`). An image that a model was judged on is *settled*. It
keeps its label until a named person supersedes the label, and it stays in the test part. So nobody
can remove a missed melanoma by delivering data that contradict it.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from tasks.engine.judged import Judged, as_lists, from_lists, judged_of
from tasks.engine.ledger import Chain, Entry, append, chain_of
from tasks.engine.run import Run, read_record
from tasks.errors import BadInput, Corrupt
from tasks.intake.manifest import read_parquet
from tasks.lesions import DIAGNOSES, Diagnosis, diagnosis_from
from tasks.records.record import LedgerHead, sha256
from tasks.records.split import Split

log = logging.getLogger(__name__)

# A test part grows with each delivery. It counts as the same while half of it is the same.
SAME_TEST_PART = 0.5

By = Literal["evaluate", "score", "external"]


@dataclass(frozen=True)
class Supersession:
    """The replacement of a judged lesion's label by a named person."""

    lesion: str
    label: Diagnosis
    by: str
    reason: str


@dataclass(frozen=True)
class Settled:
    """The facts about judged images that stand.

    Attributes:
        images: Each image as it was when a model was first judged on it, by image id.
        superseded: The last supersession of each lesion, by lesion.
    """

    images: dict[str, Judged]
    superseded: dict[str, Supersession]

    def label_of(self, image: Judged) -> str:
        """The label of an image now, after supersessions."""
        later = self.superseded.get(image.lesion)
        return later.label if later else image.label


def hash_of_test_part(test: pd.DataFrame) -> str:
    """SHA-256 over the images of a test part and their labels, in any order.

    Args:
        test: Rows with ``image_id``, ``pixel_hash`` and ``label``.
    """
    rows = test[["image_id", "pixel_hash", "label"]].astype(str).agg("\t".join, axis=1)
    return sha256("\n".join(sorted(rows)).encode())


def enter_look(
    run: Run,
    test: pd.DataFrame,
    model_sha256: str,
    *,
    test_part: str = "",
    threshold: float,
    by: By = "evaluate",
    of_set: str = "",
    also: Iterable[LedgerHead] = (),
) -> Chain:
    """Enter into the ledger that a model is about to be judged on these images.

    The same model on the same images with the same threshold is the same look, entered once.

    Args:
        run: Names the store; its configuration states the kind of test part.
        test: Rows as for `judged_of`.
        model_sha256: SHA-256 of the model's file.
        test_part: Hash of the whole test part, if these images are only a piece of it.
        threshold: Melanoma probability at or above which the model calls a lesion melanoma.
        by: The command that looks. Only images that `evaluate` looked at are settled.
        of_set: Name of the external set that these images are of.
        also: Heads of the ledger that are recorded outside the store.
    """
    look = {
        "model_sha256": model_sha256,
        "test_part": test_part or hash_of_test_part(test),
        "threshold": repr(threshold),
        "mode": run.config.test_part,
        "by": by,
        "images": as_lists(judged_of(test, by_likeness=by == "external")),
    }
    look |= {"set": of_set} if of_set else {}

    def content(chain: Chain) -> dict[str, Any] | None:
        known = any(entry.content == look for entry in chain.of("evaluation"))
        return None if known else look

    return append(run, "evaluation", content, also)


def supersede(run: Run, image_id: str, label: str, by: str, reason: str) -> tuple[str, str, str]:
    """Replace the label of a judged lesion, in a person's name.

    Returns:
        The lesion, the label under which it was judged, and the new label.

    Raises:
        BadInput: No model was judged on this image; or the image already has this label; or the
            label is not a diagnosis; or the name or the reason is missing.
    """
    if not by.strip() or not reason.strip():
        raise BadInput(
            "To supersede a label, give a name and a reason.",
            expected="--by NAME and --reason TEXT, neither of them empty",
            received=f"--by {by!r} --reason {reason!r}",
            do="say who decided this, and why",
        )
    named = diagnosis_from(label)
    if named is None:
        raise BadInput(
            "This diagnosis is not known.",
            expected=", ".join(DIAGNOSES),
            received=repr(label),
            do="name one of these",
        )
    settled = settled_of(chain_of(run.store), run.config.test_part)
    image = settled.images.get(image_id)
    now = settled.label_of(image) if image else ""
    if image is None or now == named:
        raise BadInput(
            "There is no judged label to supersede.",
            expected="an image that a model was judged on, and another label than it has",
            received=f"{image_id}, {f'which is {now} already' if image else 'not judged on yet'}",
            do="correct the label where the image is delivered, if nothing was judged on it",
        )
    said = {"lesion": image.lesion, "label": named, "by": by.strip(), "reason": reason.strip()}
    append(run, "supersession", lambda chain: said)
    return image.lesion, now, named


# Reading the ledger ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """One look at the test part, from an entry of the ledger."""

    model_sha256: str
    test_part: str
    threshold: str
    mode: str
    by: str
    images: tuple[Judged, ...]
    of_set: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """Model, test part and threshold. Two looks of one identity count once: the second adds no
        information."""
        # An adopted look holds only the first digits of the test part's hash.
        return self.model_sha256, self.test_part[:16], self.threshold


def looks_of(chain: Chain) -> Iterator[Look]:
    """Every evaluation, in the order in which they were entered."""
    for entry in chain.entries:
        if entry.kind == "adoption":
            for loose in entry.content["evaluations"]:
                yield _look(loose | {"threshold": "", "mode": "hashed", "by": "evaluate"})
        elif entry.kind == "evaluation":
            yield _look(entry.content)


def _look(content: dict[str, Any]) -> Look:
    try:
        return Look(
            model_sha256=str(content["model_sha256"]),
            test_part=str(content["test_part"]),
            threshold=str(content["threshold"]),
            mode=str(content["mode"]),
            by=str(content["by"]),
            images=tuple(from_lists(content["images"])),
            of_set=str(content.get("set", "")),
        )
    except (KeyError, TypeError) as error:
        raise Corrupt(
            "The ledger holds an evaluation that cannot be read.",
            expected="a model, a test part, a threshold and images",
            received=f"{type(error).__name__}: {error}",
            do="use the version of the program that wrote it",
        ) from error


def identity_of(model_sha256: str, test_part: str, threshold: float) -> tuple[str, str, str]:
    return model_sha256, test_part[:16], repr(threshold)


def settled_of(chain: Chain, mode: str) -> Settled:
    """The settled images of test parts of this mode ("hashed" or "delivered")."""
    images: dict[str, Judged] = {}
    for look in looks_of(chain):
        if look.by == "evaluate" and look.mode == mode:
            for image in look.images:
                if image.image_id:
                    images.setdefault(image.image_id, image)
    superseded = {
        str(entry.content["lesion"]): Supersession(**entry.content)
        for entry in chain.of("supersession")
    }
    return Settled(images, superseded)


def check_looks_borne_out(run: Run, chain: Chain) -> None:
    """Check looks that no record vouches for against the test part of the run that each names.

    Otherwise anybody could choose the test part by writing looks beforehand.

    Raises:
        Corrupt: A look names images outside the run's test part.
    """
    for entry in chain.unvouched:
        settles = entry.kind == "evaluation" and entry.content.get("by") == "evaluate"
        if settles and not _borne_out(run, entry):
            raise Corrupt(
                "The ledger tells of an evaluation that its run did not make.",
                expected=f"entry {entry.number} to name the test part of run {entry.run}",
                received="no such run, or another test part",
                do="find out who wrote this entry; restore the folder ledger/ from a backup",
            )


def _borne_out(run: Run, entry: Entry) -> bool:
    try:
        split = read_record(run.store, entry.run, "split")
        if not isinstance(split, Split):
            return False
        rows = read_parquet(run, split.parts)
    except BadInput:
        return False
    return hash_of_test_part(rows[rows["side"] == "test"]) == entry.content.get("test_part")


def outside_state(run: Run) -> str:
    """State that decides about reuse: SHA-256 over what is settled; empty if nothing is."""
    settled = settled_of(chain_of(run.store), run.config.test_part)
    if not settled.images:
        return ""
    rows = [repr((image, settled.label_of(image))) for _, image in sorted(settled.images.items())]
    return sha256("\n".join(rows).encode())
