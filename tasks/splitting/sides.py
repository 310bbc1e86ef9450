"""The side of the split that each image stands on, decided once and for ever.

A keyed hash of the patient, lesion or image that an image shows decides, and nothing else: neither
the other images nor the order in which they arrived. A function of the current tables alone cannot
also hold still when a table says only later which lesion an image shows: to hold still, an image
would have to stay where it stood while its lesion was unknown, whether or not it ever was unknown,
and so each image would be hashed by itself and lesions would be torn apart (on the public
nine-class set 195 of 2,042 images would have to leave; so, 2). Therefore the store remembers, in
its ledger, the ids that each image had when it was first split; what they decided then stands.
As long as tables come with or before their images the register changes nothing, and the order of
arrival never matters. Where a table comes later, the images keep their sides, and those that turn
out to be of one lesion on two sides are settled in favour of the more protected side.

By the same argument no split that holds still, in any order of arrival, can be stratified more
closely than each class and source are by chance: the side of a group may not depend on others. The
shares within a class of n groups scatter like a binomial proportion, with a standard error of
sqrt(p (1 - p) / n): 4 points for 100 groups and a test share of 20 %. `strata_of` measures it.
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

# Part of what a "side" means: another key would be another split, and would put images that
# earlier models learned from into the test part. It never changes.
KEY = b"melanoma-retraining split, 2026"
SIDES: tuple[Side, ...] = ("train", "validation", "test")
PROTECTED: dict[Side, int] = {"test": 0, "validation": 1, "train": 2}  # the most protected first
PROOF = ("key", "image_id", *LINKS[1:], "label", "source", "group", "decided_by", "side")


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


def decided_by(frame: pd.DataFrame, register: dict[str, str]) -> pd.Series:
    """What decides the side of each image: what the register holds; else the coarsest thing known
    that it shows, its patient, else its lesion, else itself."""
    known = frame["patient_id"].fillna(frame["lesion_id"]).fillna(frame["image_id"])
    return frame["image_id"].map(register).astype("str").fillna(known)


def renamed(frame: pd.DataFrame) -> pd.Series:
    """Which images were decided by an id that their row does not hold any more."""
    own = [frame["decided_by"] == frame[name] for name in ("image_id", "lesion_id", "patient_id")]
    return ~pd.concat(own, axis=1).fillna(False).any(axis=1)


def proof_of(frame: pd.DataFrame) -> bytes:
    """A table (CSV) from which anybody can recompute that no group straddles: see `flaw_in`."""
    columns = [name for name in PROOF if name in frame]
    return to_csv(frame[columns])


def flaw_in(
    proof: pd.DataFrame,
    shares: tuple[float, float] | None,
    register: dict[str, str] | None = None,
    judged: Container[str] = (),
) -> str | None:
    """The first thing about a split that does not hold, in words; None if all of it holds.

    Args:
        proof: Columns of `proof_of`, read as text.
        shares: Of test and validation; None if the test part is a delivered one, which no hash
            decides.
        register: By what the ledger says that each image was decided at its first split; None
            where there was no ledger, and each side is to follow from the row's own ids or from
            an earlier name of them that nothing tells any more.
        judged: Ids of images that stand in the test part because a model was judged on them.
    """
    # The partition is compared, not its names: a group is named before the images leave that bridge
    # two sides, and what stays of it may no longer hold the image that gave the name, nor hang
    # together without the images that left.
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
    """How the groups of each class and of each source lie over the sides.

    Args:
        frame: Rows with ``label``, ``source``, ``group`` and ``side``.
        shares: Of test and validation; None if no hash decided.
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
    """By what each image was decided when it was first split, from the ids that it had then."""
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
    """What an entry of the ledger says of images that are split for the first time.

    Args:
        frame: Rows with ``image_id``, ``lesion_id`` and ``patient_id``.
        register: As `register_of` gives it.
        validated: The record that accepted them, so that others can tell that it did.

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
    """Entries that no record vouches for must be borne out by the run that they name: whoever
    writes them before the first split would choose the test part.

    Raises:
        Corrupt: One is not.
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
