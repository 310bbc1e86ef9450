"""The side of the split that each image stands on, decided once and for ever.

A keyed hash of the patient, lesion or image that an image shows decides, and nothing else: neither
the other images nor the order in which they arrived. A function of the current tables alone cannot
also hold still when a table says only later which lesion an image shows: to hold still, an image
would have to stay where it stood while its lesion was unknown, whether or not it ever was unknown,
and so each image would be hashed by itself and lesions would be torn apart (on the public
nine-class set 195 of 2,042 images would have to leave; so, 2). Therefore the store remembers, in
an append-only register, by what each image was decided when it was first split, and that stands.
As long as tables come with or before their images the register changes nothing, and the order of
arrival never matters. Where a table comes later, the images keep their sides, and those that turn
out to be of one lesion on two sides are settled in favour of the more protected side.

By the same argument no split that holds still, in any order of arrival, can be stratified more
closely than each class and source are by chance: the side of a group may not depend on others. The
shares within a class of n groups scatter like a binomial proportion, with a standard error of
sqrt(p (1 - p) / n): 4 points for 100 groups and a test share of 20 %. `strata_of` measures it.
"""

import hashlib
import io
from collections.abc import Iterator

import pandas as pd
from scipy.stats import binomtest

from tasks.contracts import Side, Stratum
from tasks.errors import AlreadyExists, Corrupt
from tasks.groups import LINKS, groups_of
from tasks.spreadsheet import to_csv
from tasks.storage import Store, read_many

# Part of what a "side" means: another key would be another split, and would put images that
# earlier models learned from into the test part. It never changes.
KEY = b"melanoma-retraining split, 2026"
SIDES: tuple[Side, ...] = ("train", "validation", "test")
PROTECTED: dict[Side, int] = {"test": 0, "validation": 1, "train": 2}  # the most protected first
REGISTER = "ledger/sides/"
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


def proof_of(frame: pd.DataFrame) -> bytes:
    """A table (CSV) from which anybody can recompute that no group straddles: see `flaw_in`."""
    columns = [name for name in PROOF if name in frame]
    return to_csv(frame[columns])


def flaw_in(proof: pd.DataFrame, shares: tuple[float, float] | None) -> str | None:
    """The first thing about a split that does not hold, in words; None if all of it holds.

    Args:
        proof: Columns of `proof_of`, read as text.
        shares: Of test and validation; None if the test part is a delivered one, which no hash
            decides.
    """
    again = groups_of(proof)
    wrong = proof[again != proof["group"].astype("str")]
    if len(wrong):
        return f"{wrong['key'].iloc[0]} is not in the group that its row names"
    sides = proof.groupby(again)["side"].nunique()
    if (sides > 1).any():
        return f"the group {sides[sides > 1].index[0]} stands on several sides"
    if shares is not None:
        for row in proof.itertuples():
            if side_of(str(row.decided_by), *shares) != row.side:
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


def read_register(store: Store) -> tuple[dict[str, str], int]:
    """By what each image was decided when it was first split, and how many entries say so.

    Raises:
        Corrupt: An entry is missing or cannot be read. Splitting without it could put images that
            earlier models learned from into the test part.
    """
    keys = [entry.key for entry in store.list(REGISTER)]
    if keys != [entry_key(number) for number in range(1, len(keys) + 1)]:
        raise _damaged(f"entries {', '.join(keys)}")
    register: dict[str, str] = {}
    for key, rows in zip(keys, _entries(store, keys), strict=True):
        if {"image_id", "decided_by"} - set(rows.columns):
            raise _damaged(f"the columns {', '.join(rows.columns)} in {key}")
        named = zip(rows["image_id"], rows["decided_by"], strict=True)
        register = dict(named) | register  # the first word stands
    return register, len(keys)


def entry_key(number: int) -> str:
    return f"{REGISTER}{number:06d}.parquet"


def append_to_register(store: Store, decided: pd.Series, number: int) -> bool:
    """Add an entry: image ids (the index) and what decided them.

    Returns:
        False if another run was faster: it may have noted the same images.
    """
    rows = decided[~decided.index.duplicated()].rename("decided_by").rename_axis("image_id")
    buffer = io.BytesIO()
    rows.sort_index().reset_index().to_parquet(buffer, index=False, compression="zstd")
    try:
        store.create(entry_key(number), buffer.getvalue())
    except AlreadyExists:
        return False
    return True


def _entries(store: Store, keys: list[str]) -> Iterator[pd.DataFrame]:
    for key, data in zip(keys, read_many(store, keys), strict=True):
        try:
            yield pd.read_parquet(io.BytesIO(data))
        except (ValueError, OSError) as error:  # pyarrow's own errors are of these
            raise _damaged(f"{key}, which cannot be read ({error})") from error


def _damaged(received: str) -> Corrupt:
    return Corrupt(
        "The register of the sides is damaged.",
        expected=f"every entry under {REGISTER}, from 000001.parquet on, as it was written",
        received=received,
        do="restore the entries from a backup of the store: without them images that earlier "
        "models learned from could come to judge the next one",
    )
