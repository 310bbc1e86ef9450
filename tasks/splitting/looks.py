"""Looks at the test part: which models were judged on which images, and what that leaves.

Whoever tries many models on one test part finds one that passes by chance. So each evaluation
leaves an entry in the ledger before the test part is looked at, and each look makes the bounds of
the gate wider (see `tasks.evaluation.policy.Spending`). An image that a model was judged on is
*settled*: what it was judged as stands until a named person supersedes it, and it stays in the test
part, so that nobody rids a model of the melanoma that it misses by delivering something that
contradicts it.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from tasks.engine.judged import DIGITS, Judged, as_lists, from_lists, judged_of
from tasks.engine.ledger import Chain, Entry, append, chain_of
from tasks.engine.run import Run, read_record
from tasks.errors import BadInput, Corrupt
from tasks.intake.manifest import read_parquet
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis, diagnosis_from
from tasks.records.record import LedgerHead, sha256
from tasks.records.split import Split

log = logging.getLogger(__name__)

# A test part grows with each delivery: it is the same one as long as half of it is.
SAME_TEST_PART = 0.5

By = Literal["evaluate", "score"]


@dataclass(frozen=True)
class Supersession:
    """A named person replaced the label that a lesion was judged under."""

    lesion: str
    label: Diagnosis
    by: str
    reason: str


@dataclass(frozen=True)
class Settled:
    """What stands of the images that models were judged on, by image id.

    Attributes:
        images: As they were when a model was first judged on them.
        superseded: By lesion; the last word stands.
    """

    images: dict[str, Judged]
    superseded: dict[str, Supersession]

    def label_of(self, image: Judged) -> str:
        """The label that an image has now."""
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
    also: Iterable[LedgerHead] = (),
) -> Chain:
    """Write down that a model is about to be judged on these images.

    The same model on the same images by the same threshold is the same look, and is entered once.

    Args:
        run: Whose store; its configuration says what kind of test part this is.
        test: Rows as for `judged_of`.
        model_sha256: Of the model's file.
        test_part: Its hash, if these images are a part of it only.
        threshold: Melanoma probability at or above which it calls a lesion melanoma.
        by: What looks: only what `evaluate` looked at is settled.
        also: Heads of the ledger that are recorded outside of the store.
    """
    look = {
        "model_sha256": model_sha256,
        "test_part": test_part or hash_of_test_part(test),
        "threshold": repr(threshold),
        "mode": run.config.test_part,
        "by": by,
        "images": as_lists(judged_of(test)),
    }

    def content(chain: Chain) -> dict[str, Any] | None:
        known = any(entry.content == look for entry in chain.of("evaluation"))
        return None if known else look

    return append(run, "evaluation", content, also)


def supersede(run: Run, image_id: str, label: str, by: str, reason: str) -> tuple[str, str, str]:
    """Replace, in a person's name, the label that a lesion was judged under.

    Returns:
        The lesion, the label that it was judged under, and the new one.

    Raises:
        BadInput: No model was judged on this image, or it has this label; it is no diagnosis; or a
            name or reason is missing.
    """
    if not by.strip() or not reason.strip():
        raise BadInput(
            "A label is superseded in somebody's name and for a reason.",
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
    """One evaluation, as the ledger holds it."""

    model_sha256: str
    test_part: str
    threshold: str
    mode: str
    by: str
    images: tuple[Judged, ...]

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same look as another: nothing new can be learned from it."""
        # Of an adopted one only the first digits of the test part's hash are known.
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
        )
    except (KeyError, TypeError) as error:
        raise Corrupt(
            "The ledger holds an evaluation that cannot be read.",
            expected="a model, a test part, a threshold and images",
            received=f"{type(error).__name__}: {error}",
            do="use the version of the program that wrote it",
        ) from error


def looks_before(chain: Chain, test: pd.DataFrame, own: tuple[str, str, str]) -> int:
    """How many other looks were taken at these images before this one.

    A look counts if it was at no less than half of these images, or of the melanomas among them:
    pieces of one test part that a model was scored on count together.

    Args:
        chain: The ledger.
        test: Rows with ``pixel_hash`` and ``label``.
        own: As `Look.identity`: its own entry and what comes after it do not count.
    """
    images = {str(digest)[:DIGITS] for digest in test["pixel_hash"]}
    melanomas = {
        str(digest)[:DIGITS] for digest in test.loc[test["label"] == MELANOMA, "pixel_hash"]
    }
    seen: dict[tuple[str, str, str], set[str]] = {}
    for look in looks_of(chain):
        if _same(look.identity, own):
            break
        seen.setdefault(look.identity, set()).update(each.pixels for each in look.images)
    return sum(
        any(
            part and len(part & pixels) >= SAME_TEST_PART * len(part)
            for part in (images, melanomas)
        )
        for pixels in seen.values()
    )


def _same(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    """Of an adopted look the threshold is not known."""
    return one[:2] == other[:2] and (one[2] == other[2] or not one[2])


def identity_of(model_sha256: str, test_part: str, threshold: float) -> tuple[str, str, str]:
    return model_sha256, test_part[:16], repr(threshold)


def settled_of(chain: Chain, mode: str) -> Settled:
    """What models were judged on, in test parts of this mode ("hashed" or "delivered")."""
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
    """Looks that no record vouches for must be at the test part of the run that they name: whoever
    writes them beforehand would choose the test part.

    Raises:
        Corrupt: One is not.
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
    """What is settled, as far as reuse is concerned: SHA-256 over it; empty if nothing is."""
    settled = settled_of(chain_of(run.store), run.config.test_part)
    if not settled.images:
        return ""
    rows = [repr((image, settled.label_of(image))) for _, image in sorted(settled.images.items())]
    return sha256("\n".join(rows).encode())
