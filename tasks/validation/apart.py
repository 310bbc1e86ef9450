"""Keep external sets apart from what models learn from.

An external image that shares an image, pixels, a lesion, a patient or a near duplicate with a file
under ``raw/`` proves nothing. So the later delivery gives way: an external image leaves its set if
the other file was there first; a file that comes into ``raw/`` after the set is quarantined. The
ledger of deliveries says what came first. A file that the ledger does not name counts as there
first, so nothing that was learned from is ever judged on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from tasks.intake.cells import spelling
from tasks.intake.manifest import file_of
from tasks.intake.scopes import is_local, unlike
from tasks.lesions import image_id_from
from tasks.splitting.groups import LINKS, groups_of, with_near_duplicates

SHARED = {
    "image_id": "the same image as",
    "pixel_hash": "the same pixels as",
    "lesion_id": "the same lesion as",
    "patient_id": "the same patient as",
    "near_duplicate": "a near duplicate of",
}
SET = "set"  # column: name of the external set; missing for files under raw/
LEFT = ["key", "image_id", "reason", "counterpart"]
STRAY = "nobody is named who delivered it, enter it with python -m tasks deliver --external"
THROUGH = "through other images, of one group with"


@dataclass(frozen=True)
class Apart:
    """External sets, apart from what is learned from.

    Attributes:
        kept: The rows of each set that count.
        left: The other rows of each set: key, image_id, reason, counterpart (key under ``raw/``, or
            empty).
        belonging: Why a file under ``raw/`` belongs to an external set, by key.
        counterparts: Key of the external file that it shares something with, by key.
    """

    kept: dict[str, pd.DataFrame]
    left: dict[str, pd.DataFrame]
    belonging: dict[str, str]
    counterparts: dict[str, str]


def kept_apart(
    manifest: pd.DataFrame,
    sets: Mapping[str, pd.DataFrame],
    pairs: pd.DataFrame,
    order: Mapping[str, int],
) -> Apart:
    """Take out of each set what shares something with ``raw/``, and find what came there later.

    Args:
        manifest: Rows of the files under ``raw/``.
        sets: Rows of each external set, in the form of the manifest.
        pairs: What looks alike, of all these rows, as keys ``first`` and ``second``.
        order: As `tasks.engine.delivery_order.order_of` gives it.
    """
    if not sets:
        return Apart({}, {}, {}, {})
    outside = pd.concat([rows.assign(**{SET: name}) for name, rows in sets.items()])
    both = pd.concat([manifest, outside], ignore_index=True)
    both = with_near_duplicates(both, pairs)
    both = both.assign(**linked(both))
    both["group"] = groups_of(both)
    both["when"] = [order.get(key, 0) for key in file_of(both)]
    gone: dict[str, tuple[str, str]] = {}
    later: dict[str, tuple[str, str]] = {}
    for _, rows in both[_meet(both)].groupby("group"):
        mine = rows[rows[SET].notna()]
        theirs = rows[rows[SET].isna()]
        before = theirs[theirs["when"] < mine["when"].replace(0, np.inf).min()]
        if len(before):
            gone |= {row["key"]: _reason(row, before, "raw/") for row in mine.to_dict("records")}
            continue
        later |= {row["key"]: _reason(row, mine) for row in theirs.to_dict("records")}
        first = mine.sort_values(["when", SET], key=_unknown_last)[SET].iloc[0]
        for row in mine[mine[SET] != first].to_dict("records"):
            gone[row["key"]] = _reason(row, mine[mine[SET] == first], f"the external set {first}")
    kept, left = {}, {}
    for name in sets:
        own = both.loc[both[SET] == name, [*manifest.columns, "near_duplicate"]]
        own = own.loc[:, ~own.columns.duplicated()].assign(image_id=sets[name]["image_id"].array)
        told = sets[name][["lesion_id", "patient_id"]]
        kept[name], left[name] = _divided(own.assign(**{str(c): told[c].array for c in told}), gone)
    return Apart(
        kept,
        left,
        {
            key: f"{why}, of the external set {_set_of(both, other)}"
            for key, (why, other) in later.items()
        },
        {key: other for key, (_, other) in later.items()},
    )


def with_deliverers(apart: Apart, order: Mapping[str, int]) -> Apart:
    """The sets without images for which nobody answers: whoever can write to a store could add easy
    ones to a set.

    Args:
        apart: As `kept_apart` gives it.
        order: As `tasks.engine.delivery_order.order_of` gives it.
    """
    kept, left = dict(apart.kept), dict(apart.left)
    for name, rows in apart.kept.items():
        stray = ~file_of(rows).isin(list(order))
        told = rows.loc[stray, ["key", "image_id"]].assign(reason=STRAY, counterpart="")
        kept[name] = rows[~stray].reset_index(drop=True)
        left[name] = pd.concat([apart.left[name], told[LEFT].astype("str")], ignore_index=True)
    return replace(apart, kept=kept, left=left)


def linked(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """What of ids links rows of several deliveries: ids without the ways in which people spell
    them. A name that a camera writes, such as ``IMG_0001``, says nothing in another place."""
    found = {
        name: rows[name].map(spelling, na_action="ignore").astype("str")
        for name in ("lesion_id", "patient_id")
    }
    ids = rows["image_id"].map(spelling, na_action="ignore").astype("str")
    several = ids.duplicated(keep=False)
    hashes = rows.loc[several, "perceptual_hash"].groupby(ids[several]).agg(unlike)
    apart = {str(name) for name, different in hashes.items() if different}
    local = {name for name in ids.dropna().unique() if is_local(name, name in apart)}
    # Within its own delivery the same name is the same image.
    places = rows["key"].str.split("/").str[:2].str.join("/")
    return found | {"image_id": ids.mask(ids.isin(local), places + "/" + ids)}


def _meet(both: pd.DataFrame) -> pd.Series:
    """Whether a row's group holds external images, and rows of another set or under ``raw/``."""
    places = both[SET].fillna("").groupby(both["group"])
    return both["group"].map(places.nunique() > 1).astype(bool)


def _unknown_last(column: pd.Series) -> pd.Series:
    return column.replace(0, np.inf) if column.name == "when" else column


def _set_of(both: pd.DataFrame, key: str) -> str:
    return str(both.loc[both["key"] == key, SET].iloc[0])


def _reason(row: dict[Any, Any], others: pd.DataFrame, where: str = "") -> tuple[str, str]:
    """What a row shares with others, in words, and the key of the first of these."""
    there = f" under {where}" if where == "raw/" else f" in {where}" if where else ""
    for link in LINKS:
        same = others[others[link] == row[link]] if pd.notna(row[link]) else others.iloc[:0]
        if len(same):
            other = same.sort_values("key").iloc[0]
            return f"{SHARED[link]} {image_id_from(other['key'])}{there}", str(other["key"])
    other = others.sort_values("key").iloc[0]
    return f"{THROUGH} {image_id_from(other['key'])}{there}", str(other["key"])


def _divided(
    rows: pd.DataFrame, gone: Mapping[str, tuple[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a set that count, and those that do not."""
    told: list[tuple[str, str]] = []
    for key, law, reason in zip(rows["key"], rows["law"], rows["reason"], strict=True):
        told.append((f"{law}: {reason}", "") if pd.notna(law) else gone.get(key, ("", "")))
    out = np.array([bool(why) for why, _ in told], bool)
    left = rows.loc[out, ["key", "image_id"]].copy()
    left["reason"] = [why for why, _ in told if why]
    left["counterpart"] = [other for why, other in told if why]
    return rows[~out].reset_index(drop=True), left[LEFT].astype("str").reset_index(drop=True)


def counted(reasons: Iterable[str], counterparts: Iterable[str]) -> dict[str, int]:
    """How often each kind of reason stands, without the names in it."""
    found: dict[str, int] = {}
    for reason, other in zip(reasons, counterparts, strict=True):
        kind = reason.partition(":")[0]  # a law
        if other:
            words = next((w for w in (*SHARED.values(), THROUGH) if reason.startswith(w)), reason)
            where = "under raw/" if other.startswith("raw/") else "in another external set"
            kind = f"{words.rpartition(' ')[0]} {where}"
        found[kind] = found.get(kind, 0) + 1
    return found
