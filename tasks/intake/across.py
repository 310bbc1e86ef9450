"""Lesions and patients that the tables of another place name: of an external image in a table under
``raw/``, or of an image under ``raw/`` in a table of an external set.

They link both images, so that nothing that was learned from is judged on.
"""

from typing import Any

import pandas as pd

from tasks.intake.cells import spelling
from tasks.intake.scopes import LOCAL
from tasks.intake.understood import Understood

NAMES = ("lesion_id", "patient_id")


def linked_across(
    raw: Understood, sets: dict[str, Understood]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """The manifests of what lies under ``raw/``, and of each set, with what the tables of the other
    place name. Where both places have a name for one lesion or patient, the set takes that of
    ``raw/``.

    Args:
        raw: What was delivered under ``raw/``.
        sets: What was delivered of each external set, by its name.
    """
    own, others = raw.manifest.copy(), {}
    for name, each in sets.items():
        there = each.manifest.copy()
        for link in NAMES:
            said = _said(there, raw.elsewhere, link)
            there[link] = _renamed(there[link], there[link], said).fillna(said)
            said = _said(own, each.elsewhere, link)
            there[link] = _renamed(there[link], said, own[link])
            own[link] = own[link].fillna(said)
        others[name] = there
    return own, others


def _said(manifest: pd.DataFrame, told: dict[str, dict[str, Any]], link: str) -> pd.Series:
    """What a table of another place says of each image. A name that a camera writes means another
    image there."""
    named = {spelling(name): facts[link] for name, facts in told.items() if not _is_local(name)}
    ids = manifest["image_id"].map(spelling, na_action="ignore")
    return ids.map({name: said for name, said in named.items() if isinstance(said, str)}).astype(
        "str"
    )


def _is_local(name: str) -> bool:
    return bool(LOCAL.fullmatch(spelling(name)))


def _renamed(cells: pd.Series, names: pd.Series, others: pd.Series) -> pd.Series:
    """Cells of a manifest; the names of what also has another name, by this one."""
    both = names.notna() & others.notna()
    known = dict(zip(names[both].map(spelling), others[both], strict=True))
    found = cells.map(spelling, na_action="ignore").map(known)
    return found.where(found.notna(), cells).astype("str")
