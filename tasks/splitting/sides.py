"""Decide the side of the split for each image, once and for ever.

A keyed hash of the image's patient, else of its lesion, else of its own id decides the side. The
ledger remembers these ids from the first split, so no later table can move an image to another
side. docs/splitting.md explains why the split needs this register and why it cannot be stratified.
"""

import hashlib
from collections.abc import Container
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from tasks.engine.ledger import Chain, Entry
from tasks.engine.run import Run, read_record
from tasks.engine.spreadsheet import to_csv
from tasks.errors import BadInput, Corrupt
from tasks.intake.manifest import read_parquet
from tasks.records.split import Side, Stratum
from tasks.records.validated import Validated
from tasks.splitting.groups import LINKS, groups_of

# The key never changes: another key would make another split, and put images that earlier models
# learned from into the test part.
KEY = b"melanoma-retraining split, 2026"
SIDES: tuple[Side, ...] = ("train", "validation", "test")
PROTECTED: dict[Side, int] = {"test": 0, "validation": 1, "train": 2}  # the most protected first
PROOF = ("key", "image_id", *LINKS[1:], "label", "source", "group", "decided_by", "side")


def side_of(what: str, test_share: float, validation_share: float) -> Side:
    """The side of a patient, lesion or image, by a keyed hash of the id `what`.

    The first 64 bits of BLAKE2b, keyed, give a number in [0, 1). Numbers below `test_share` go to
    test, the next to validation, the rest to training. So a larger test share only adds to the test
    part.
    """
    digest = hashlib.blake2b(what.encode(), key=KEY, digest_size=8).digest()
    position = int.from_bytes(digest) / 2**64
    if position < test_share:
        return "test"
    return "validation" if position < test_share + validation_share else "train"


def decided_by(frame: pd.DataFrame, register: dict[str, str]) -> pd.Series:
    """The id that decides the side of each image: the id in the register, else the image's patient,
    else its lesion, else the image's own id."""
    known = frame["patient_id"].fillna(frame["lesion_id"]).fillna(frame["image_id"])
    return frame["image_id"].map(register).astype("str").fillna(known)


def renamed(frame: pd.DataFrame) -> pd.Series:
    """Which images were decided by an id that their row no longer holds."""
    own = [frame["decided_by"] == frame[name] for name in ("image_id", "lesion_id", "patient_id")]
    return ~pd.concat(own, axis=1).fillna(False).any(axis=1)


def proof_of(frame: pd.DataFrame) -> bytes:
    """A table (CSV) from which anybody can recompute that no group stands on two sides."""
    columns = [name for name in PROOF if name in frame]
    return to_csv(frame[columns])


def flaw_in(
    proof: pd.DataFrame,
    shares: tuple[float, float] | None,
    register: dict[str, str] | None = None,
    judged: Container[str] = (),
) -> str | None:
    """The first flaw of a split, in words; None if the split has no flaw.

    Args:
        proof: Columns of `proof_of`, read as text.
        shares: Shares of test and validation; None for a delivered test part, which no hash
            decides.
        register: Id that decided each image at its first split, by the ledger. None where there
            was no ledger; then `decided_by` is not checked against the ids of an image.
        judged: Ids of images that stand in the test part because a model was judged on them.
    """
    # Compare the partition, not the names of groups. A group is named before the images that bridge
    # two sides leave. The rest may lack the image that gave the name, and may not hang together.
    named = proof.groupby(groups_of(proof))["group"].nunique(dropna=False)
    if (named > 1).any():
        return f"what hangs together with {named[named > 1].index[0]} stands in several groups"
    if proof["group"].isna().any():
        return f"{proof.loc[proof['group'].isna(), 'key'].iloc[0]} is in no group"
    sides = proof.groupby("group")["side"].nunique(dropna=False)
    if (sides > 1).any():
        return f"the group {sides[sides > 1].index[0]} stands on several sides"
    if register is not None:
        wrong = proof[decided_by(proof, register) != proof["decided_by"]]
        if len(wrong):
            first = wrong.iloc[0]
            return f"{first['key']} is decided by {first['decided_by']}, which it never showed"
    if shares is not None:
        for row in proof.itertuples():
            side = "test" if row.image_id in judged else side_of(str(row.decided_by), *shares)
            if side != row.side:
                return f"{row.key} is not on the side that {row.decided_by} decides"
    return None


def strata_of(frame: pd.DataFrame, shares: tuple[float, float] | None) -> tuple[Stratum, ...]:
    """How the groups of each class and of each source are spread over the sides.

    Args:
        frame: Rows with ``label``, ``source``, ``group`` and ``side``.
        shares: Shares of test and validation; None if no hash decided.
    """
    return tuple(
        _stratum(by, str(name), rows.drop_duplicates("group")["side"], shares)
        for by, column in (("class", "label"), ("source", "source"))
        for name, rows in frame.groupby(column)
    )


def _stratum(by: str, name: str, sides: pd.Series, shares: tuple[float, float] | None) -> Stratum:
    counts = {side: int((sides == side).sum()) for side in SIDES}
    chance = None
    if shares is not None:
        both = (counts["test"], shares[0]), (counts["validation"], shares[1])
        tests = [binomtest(count, len(sides), share).pvalue for count, share in both]
        chance = min(1.0, 2 * float(min(tests)))  # Bonferroni over the two sides
    return Stratum(
        by="class" if by == "class" else "source", name=name, groups=counts, chance=chance
    )


# The register -----------------------------------------------------------------------------------


def register_of(chain: Chain) -> dict[str, str]:
    """The id that decided the side of each image at its first split, by image id."""
    register: dict[str, str] = {}
    for entry in chain.of("adoption"):
        register |= dict(entry.content["decided"])
    for entry in chain.of("sides"):
        for image, lesion, patient in entry.content["images"]:
            register.setdefault(image, patient or lesion or image)
    return register


def said_of_new(
    frame: pd.DataFrame, register: dict[str, str], validated: Validated
) -> dict[str, Any] | None:
    """The content of a ledger entry about images that are split for the first time.

    Args:
        frame: Rows with ``image_id``, ``lesion_id`` and ``patient_id``.
        register: As `register_of` gives it.
        validated: The record that accepted the images; its hash lets others check the entry.

    Returns:
        None if there is no such image.
    """
    new = frame[~frame["image_id"].isin(list(register))].drop_duplicates("image_id")
    if new.empty:
        return None
    return {"images": _ids(new), "validated": validated.content_hash}


def _ids(frame: pd.DataFrame) -> list[list[str | None]]:
    columns = frame[["image_id", "lesion_id", "patient_id"]].astype(object).sort_values("image_id")
    return columns.where(columns.notna(), None).to_numpy().tolist()


def check_unvouched(run: Run, chain: Chain) -> None:
    """Check entries that no record vouches for against the run that each names.

    Otherwise anybody could choose the test part by writing entries before the first split.

    Raises:
        Corrupt: The run did not accept the images of an entry.
    """
    for entry in chain.unvouched:
        if entry.kind == "sides" and not _borne_out(run, entry):
            raise Corrupt(
                "The ledger decides about images that its run did not accept.",
                expected=f"entry {entry.number} to name images as the record of validate of run "
                f"{entry.run} accepted them",
                received="no such record, or other images, lesions or patients",
                do="find out who wrote this entry; restore the folder ledger/ from a backup, or, "
                "if no run of this store was ever split, remove it",
            )


def _borne_out(run: Run, entry: Entry) -> bool:
    try:
        validated = read_record(run.store, entry.run, "validate")
        if not isinstance(validated, Validated):
            return False
        if validated.content_hash != entry.content["validated"]:
            return False
        accepted = {tuple(ids) for ids in _ids(read_parquet(run, validated.accepted))}
        return {tuple(ids) for ids in entry.content["images"]} <= accepted
    except (BadInput, KeyError, TypeError):
        return False
