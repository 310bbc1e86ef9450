"""Act on breaches of laws: take the archive's label where it resolves one, else quarantine rows."""

from dataclasses import replace
from typing import Any

import pandas as pd

from tasks.config import Retraining
from tasks.figures import plural
from tasks.records.validated import Finding
from tasks.terms import archive_says, exact_class
from tasks.validation.changes import OTHERS
from tasks.validation.laws.all_laws import LAWS
from tasks.validation.laws.law import Breach, Delivered, LawRow
from tasks.validation.standing import Standing

EXAMPLES = 10  # enough to look into a finding; the quarantine table holds all rows


def apply_laws(
    delivered: Delivered, config: Retraining
) -> tuple[tuple[Finding, ...], pd.DataFrame, pd.DataFrame, int]:
    """Apply all laws. Returns the findings, the rows that remain, the quarantined rows, and the
    number of changed labels."""
    # From the last: an early law waits for Great Expectations, which works meanwhile.
    breaches = {law.name: law.check(delivered) for law in reversed(LAWS) if not law.on_accepted}
    assert delivered.standing
    resolved, relabelled = _resolved(delivered.standing, breaches, config)
    remaining, quarantined, later = _taken_out(replace(delivered, frame=resolved), config)
    findings = tuple(_finding(law, (breaches | later)[law.name], remaining, config) for law in LAWS)
    return findings, remaining, quarantined, relabelled


def _resolved(
    stands: Standing, breaches: dict[Any, Breach], config: Retraining
) -> tuple[pd.DataFrame, int]:
    """The manifest with the archive's label where that resolves a breach, and the number of
    changed labels. The label of a judged image never changes here.
    """
    manifest = stands.frame
    labels = manifest["label"].copy()
    for name in config.laws_that_resolve:
        for index in breaches[name].reasons.index.difference(list(stands.held)):
            told = manifest.at[index, "archive_diagnosis"]
            said = archive_says(told) if isinstance(told, tuple) else None
            exact = exact_class(said)
            if exact:
                labels[index] = exact
    changed = int((labels.fillna("") != manifest["label"].fillna("")).sum())
    return manifest.assign(label=labels), changed


def _taken_out(
    delivered: Delivered, config: Retraining
) -> tuple[pd.DataFrame, pd.DataFrame, dict[Any, Breach]]:
    """Apply the quarantining laws one after the other.

    Returns:
        The rows that remain, the table of quarantined rows, and the breaches of the laws that are
        checked on the rows that remain.
    """
    remaining, out, later = delivered.frame, [], {}
    for law in LAWS:
        if not law.quarantines and not law.on_accepted:
            continue
        breach = law.check(replace(delivered, frame=remaining))
        if law.on_accepted:
            later[law.name] = breach
        if not law.quarantines:
            continue
        reasons = breach.reasons
        if config.test_part == "delivered" and law.spared_in_delivered_test:
            parts = remaining.loc[reasons.index, "part"].str.casefold()
            reasons = reasons[parts != "test"]
        rows = remaining.loc[reasons.index, ["key", "image_id", "label"]].copy()
        rows["law"], rows["reason"] = law.name, reasons
        against = breach.counterparts.reindex(reasons.index)
        told = [each if isinstance(each, tuple) else () for each in against]
        rows["counterpart"] = ["".join(each[:1]) for each in told]
        rows[OTHERS] = ["; ".join(each[1:]) for each in told]  # for people only
        out.append(rows)
        remaining = remaining.drop(index=reasons.index)
    return remaining, pd.concat(out), later


def _finding(law: LawRow, breach: Breach, remaining: pd.DataFrame, config: Retraining) -> Finding:
    count = len(breach.counted) if breach.count is None else breach.count
    return Finding(
        law=law.name,
        description=law.description,
        count=count,
        severity=law.severity if count else "information",
        consequence=law.consequence + _kept(law, breach, remaining, config)
        if count
        else "none: the law holds",
        remark=breach.remark,
        examples=tuple(breach.counted[:EXAMPLES]),
        beside=breach.beside,
    )


def _kept(law: LawRow, breach: Breach, remaining: pd.DataFrame, config: Retraining) -> str:
    """The number, in words, of files that broke a quarantining law as delivered but are accepted.

    Either the archive or a judged image settled the breach, or another law quarantined the files
    that they contradicted.
    """
    files = breach.reasons.index
    kept = len(files.intersection(remaining.index)) if law.quarantines else 0
    spared = config.test_part == "delivered" and law.spared_in_delivered_test
    why = "what is accepted no longer contradicts them"
    if spared:
        why = f"{why}, or they are in the delivered test part"
    return f", but for {kept} of {plural(len(files), 'file')}: {why}" if kept else ""
