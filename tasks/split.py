"""split: each group of images, whole, on one side, for ever.

The side of an image is decided by a keyed hash of the patient, lesion or image that it shows,
and by nothing else: neither the other images nor the order in which they arrived. So adding data
never moves anything. What a hash cannot know, that two of them are the same after all, is settled
in favour of the frozen parts: the training images of such a group leave training.
"""

import hashlib
import logging

import pandas as pd

from tasks.contracts import Side, Split, Validated
from tasks.errors import BadInput
from tasks.groups import groups_of
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.manifest import read_parquet, to_parquet
from tasks.run import Run

log = logging.getLogger(__name__)

# Part of what a "side" means: another key would be another split, and would put images that
# earlier models learned from into the test part. It never changes.
KEY = b"melanoma-retraining split, 2026"
SIDES: tuple[Side, ...] = ("train", "validation", "test")


def split(run: Run, validated: Validated) -> Split:
    """Give every accepted image its group and its side.

    Raises:
        BadInput: A class has no training image, or melanoma is missing from validation or test.
    """
    frame = read_parquet(run, validated.accepted)
    frame["group"] = groups_of(frame)
    shares = run.config.test_share, run.config.validation_share
    frame["side"] = [side_of(what, *shares) for what in _decided_by(frame)]
    if run.config.test_part == "delivered":
        frame["side"] = _as_delivered(frame)
    frame, bridging = _settle(frame)
    counts = {side: _counts(frame[frame["side"] == side]) for side in SIDES}
    groups = {side: int(frame.loc[frame["side"] == side, "group"].nunique()) for side in SIDES}
    _check_every_part_serves(counts)
    log.info(
        "%s. %d groups, none on two sides; %d images left out because their group reaches "
        "another side.",
        ", ".join(f"{side}: {sum(counts[side].values())} images" for side in SIDES),
        sum(groups.values()),
        bridging,
    )
    return Split(
        parts=run.keep("parts.parquet", to_parquet(frame)),
        counts=counts,
        groups=groups,
        bridging=bridging,
    )


def side_of(what: str, test_share: float, validation_share: float) -> Side:
    """The side of whatever `what` names, uniformly at random but always the same.

    The first 64 bits of BLAKE2b, keyed, as a number in [0, 1): test below `test_share`, then
    validation, then training. So a larger test share only adds to the test part.
    """
    digest = hashlib.blake2b(what.encode(), key=KEY, digest_size=8).digest()
    position = int.from_bytes(digest) / 2**64
    if position < test_share:
        return "test"
    return "validation" if position < test_share + validation_share else "train"


def _decided_by(frame: pd.DataFrame) -> pd.Series:
    """The coarsest thing known that an image shows: its patient, else its lesion, else itself."""
    return frame["patient_id"].fillna(frame["lesion_id"]).fillna(frame["image_id"])


def _as_delivered(frame: pd.DataFrame) -> pd.Series:
    """The delivered test folder is the test part; what the hash would test is trained on."""
    delivered = frame["part"].str.casefold() == "test"
    return frame["side"].where(frame["side"] != "test", "train").mask(delivered, "test")


def _settle(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Where a group stands on several sides, keep only its most protected side."""
    rank = frame["side"].map({"test": 0, "validation": 1, "train": 2})
    stays = rank == rank.groupby(frame["group"]).transform("min")
    return frame[stays].reset_index(drop=True), int((~stays).sum())


def _counts(frame: pd.DataFrame) -> dict[Diagnosis, int]:
    labels = frame["label"].value_counts()
    return {name: int(labels[name]) for name in DIAGNOSES if name in labels}


def _check_every_part_serves(counts: dict[Side, dict[Diagnosis, int]]) -> None:
    classes = {name for part in counts.values() for name in part}
    untaught = sorted(classes - set(counts["train"]))
    blind = [side for side in ("validation", "test") if MELANOMA not in counts[side]]
    if not untaught and not blind:
        return
    raise BadInput(
        "The parts cannot serve.",
        expected="every class in training, and melanoma in validation and test too",
        received="; ".join(
            [f"no training image of {name}" for name in untaught]
            + [f"no melanoma in {side}" for side in blind]
        ),
        do="deliver more lesions of these classes, or change test_share and validation_share",
    )
