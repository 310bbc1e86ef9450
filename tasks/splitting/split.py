"""split: put each group of images, whole, on one side for ever.

`tasks.splitting.sides` decides the side of each image. It cannot know that two images on two sides
belong to one group after all. This module settles such groups in favour of the more protected side:
the images of the group on other sides leave, each with a reason.
"""

import logging
from typing import Any

import pandas as pd

from tasks.engine.ledger import Chain, append
from tasks.engine.run import Run
from tasks.engine.spreadsheet import to_csv
from tasks.errors import BadInput
from tasks.figures import percent
from tasks.intake.manifest import read_parquet, to_parquet
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.records.split import Side, Split
from tasks.records.validated import Validated
from tasks.splitting.groups import LINKS, groups_of
from tasks.splitting.looks import check_looks_borne_out, settled_of
from tasks.splitting.sides import (
    PROTECTED,
    SIDES,
    check_unvouched,
    decided_by,
    proof_of,
    register_of,
    renamed,
    said_of_new,
    side_of,
    strata_of,
)

log = logging.getLogger(__name__)

# Warn about a class or source that chance alone would spread so unevenly once in 1,000 times. A
# weaker limit would warn without cause, because every run has about a dozen strata.
UNEVEN = 0.001
UNSEEN = (
    "What the proof cannot show: a copy that the search misses, most often one photographed from a "
    "screen, rarely one in other colours or strongly compressed, and another photograph of a "
    "lesion that no table names (docs/splitting.md)."
)
WORDS = {
    "image_id": "it is the same image as",
    "pixel_hash": "it has the same pixels as",
    "lesion_id": "it shows the same lesion as",
    "patient_id": "it shows the same patient as",
    "near_duplicate": "it is a near duplicate of",
}


def split(run: Run, validated: Validated) -> Split:
    """Give every accepted image its group and its side.

    Raises:
        BadInput: A class has no training image, or melanoma is missing from validation or test.
        Corrupt: The ledger, which holds what decided earlier sides, is damaged.
    """
    accepted = read_parquet(run, validated.accepted)
    frame, left, chain = _decide(run, validated, accepted.assign(group=groups_of(accepted)))
    counts = {side: _counts(frame[frame["side"] == side]) for side in SIDES}
    groups = {side: int(frame.loc[frame["side"] == side, "group"].nunique()) for side in SIDES}
    _check_every_part_serves(counts)
    shares = run.config.test_share, run.config.validation_share
    strata = strata_of(frame, shares if run.config.test_part == "hashed" else None)
    log.info(
        "%s. %d groups, none on two sides; %d images left out because their group reaches "
        "another side.",
        ", ".join(f"{side}: {sum(counts[side].values())} images" for side in SIDES),
        sum(groups.values()),
        len(left),
    )
    log.info(UNSEEN)
    for each in strata:
        if each.chance is not None and each.chance < UNEVEN:
            total = sum(each.groups.values())
            log.warning(
                "The %s %s is spread unevenly: %s of its %d groups are in the test part.",
                each.by, each.name, percent(each.groups["test"] / total), total,
            )  # fmt: skip
    return Split(
        parts=run.keep("parts.parquet", to_parquet(frame)),
        proof=run.keep("proof.csv", proof_of(frame)),
        left_out=run.keep("left_out.csv", to_csv(left)),
        counts=counts,
        groups=groups,
        strata=strata,
        bridging=len(left),
        renamed=_told_of_renamed(frame),
        ledger=chain.head,
    )


def _told_of_renamed(frame: pd.DataFrame) -> int:
    """Count, and log, the images whose side was decided by an id that tables no longer name."""
    stale = frame[renamed(frame)]
    if len(stale):
        log.warning(
            "%d images keep the side of an earlier lesion or patient that no table names any "
            "more, such as %s: %s.",
            len(stale), stale["image_id"].iloc[0], stale["decided_by"].iloc[0],
        )  # fmt: skip
    return len(stale)


def _decide(
    run: Run, validated: Validated, frame: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, Chain]:
    """Give each row its side, settle groups that bridge sides, and enter into the ledger the ids
    that decided."""
    decided: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def content(chain: Chain) -> dict[str, Any] | None:
        # Another run may have split images in between: then its entry stands.
        check_unvouched(run, chain)
        check_looks_borne_out(run, chain)
        register = register_of(chain)
        decided[:] = [_settle(_with_sides(run, frame, chain, register))]
        return said_of_new(decided[0][0], register, validated)

    chain = append(run, "sides", content)
    return *decided[0], chain


def _with_sides(
    run: Run, frame: pd.DataFrame, chain: Chain, register: dict[str, str]
) -> pd.DataFrame:
    shares = run.config.test_share, run.config.validation_share
    frame = frame.assign(decided_by=decided_by(frame, register))
    frame["side"] = [side_of(what, *shares) for what in frame["decided_by"]]
    if run.config.test_part == "delivered":
        frame["side"] = _as_delivered(frame)
        return frame
    # Models were judged on these images: even with a smaller test share they stay in the test part.
    judged = settled_of(chain, "hashed").images
    return frame.assign(side=frame["side"].mask(frame["image_id"].isin(list(judged)), "test"))


def _as_delivered(frame: pd.DataFrame) -> pd.Series:
    """Use the delivered test folder as test part; the hash's test images go to training."""
    delivered = frame["part"].str.casefold() == "test"
    return frame["side"].where(frame["side"] != "test", "train").mask(delivered, "test")


def _settle(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep only the most protected side of a group that stands on several sides.

    Returns:
        The rows that stay, and a table of the rows that leave: key, image_id, label, side,
        reason, counterpart.
    """
    rank = frame["side"].map(PROTECTED)
    stays = rank == rank.groupby(frame["group"]).transform("min")
    left = frame.loc[~stays, ["key", "image_id", "label", "side"]].copy()
    kept = frame[stays]
    told = [_bridge(row, kept) for _, row in frame[~stays].iterrows()]
    left["reason"] = pd.Series([reason for reason, _ in told], left.index, "str")
    left["counterpart"] = pd.Series([key for _, key in told], left.index, "str")
    return kept.reset_index(drop=True), left.reset_index(drop=True)


def _bridge(row: pd.Series, kept: pd.DataFrame) -> tuple[str, str]:
    """Why a row leaves, and the key of an image of the same group on the other side."""
    others = kept[kept["group"] == row["group"]].sort_values("key")
    for link in LINKS:
        same = others[others[link] == row[link]] if link in others else others.iloc[:0]
        if len(same):
            words = WORDS[link]
            break
    else:
        same, words = others, "it belongs, through other images, to the group of"
    other = same.iloc[0]
    return f"{words} {other['image_id']} on the {other['side']} side", str(other["key"])


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
