"""The law of external sets: nothing that a model is judged on elsewhere is learned from."""

import pandas as pd

from tasks.validation.laws.law import Breach, Delivered, LawRow, breach_of


def belongs_to_external_set(delivered: Delivered) -> Breach:
    """Files that came under ``raw/`` after the external set to whose lesions they belong."""
    frame, apart = delivered.frame, delivered.external
    reasons = frame["key"].map(apart.belonging if apart else {}).astype("object")
    breach = breach_of(frame, reasons.notna(), reasons)
    if apart is None:
        return breach
    others = [(apart.counterparts[str(key)],) for key in breach.counted]
    told = pd.Series(others, index=breach.reasons.index, dtype="object")
    return Breach(breach.reasons, told, breach.counted)


BELONGS_TO_EXTERNAL_SET = LawRow(
    "belongs_to_external_set",
    "No file under raw/ shares an image, a lesion, a patient or a near duplicate with an external "
    "set that was delivered before. Counts files.",
    severity="warning",
    consequence="quarantined: models are judged on these lesions, and never learn from them",
    check=belongs_to_external_set,
    quarantines=True,
)
