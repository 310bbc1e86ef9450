"""Models that were judged: predictions with given counts, and the records made of them."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.policy import parse_policy, policy_bytes
from tasks.evaluation.rules import Case
from tasks.evaluation.scoring import figures
from tasks.lesions import MELANOMA, Diagnosis
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Figures
from tasks.records.record import Artifact
from tasks.statistics.proportions import proportion

NOTHING = Artifact(key="k", sha256="0" * 64, size_bytes=0)
THRESHOLD = 0.5
MELANOMA_POLICY = parse_policy(policy_bytes("melanoma"), "melanoma")


def predictions(
    found: int,
    melanomas: int,
    spared: int,
    others: int,
    classes: tuple[Diagnosis, ...] = ("melanoma", "nevus"),
    source: str = "ISIC, not HAM10000",
) -> pd.DataFrame:
    """One image of one lesion each, with so many melanomas found and others left alone."""
    rest = [name for name in classes if name != MELANOMA]
    labels = [MELANOMA] * melanomas + [rest[n % len(rest)] for n in range(others)]
    called = [n < found for n in range(melanomas)] + [n >= spared for n in range(others)]
    spread = np.random.default_rng(5).uniform(0, 0.2, len(labels))
    score = np.where(called, 0.95 - spread, 0.05 + spread)
    rows: dict[str, Any] = {
        "image_id": [f"ISIC_{n:07d}" for n in range(len(labels))],
        "lesion": [f"L{n}" for n in range(len(labels))],
        "group": [f"L{n}" for n in range(len(labels))],
        "label": labels,
        "source": source,
        "age_years": [30.0 + n % 60 for n in range(len(labels))],
        "sex": ["female" if n % 2 else "male" for n in range(len(labels))],
        "site": "back",
        "skin_tone": "light",
        "sharpness": "middle third",
        MELANOMA: score,
    }
    for name in rest:  # what is not melanoma goes to the true class, or to the first other one
        own = [(label if label in rest else rest[0]) == name for label in labels]
        rows[name] = np.where(own, 1 - score, 0.0)
    return pd.DataFrame(rows)


@cache
def figures_of(
    found: int,
    melanomas: int,
    spared: int,
    others: int,
    classes: tuple[Diagnosis, ...] = ("melanoma", "nevus"),
) -> Figures:
    table = predictions(found, melanomas, spared, others, classes)
    return figures(table, classes, THRESHOLD, {MELANOMA: 0.05})


def evaluated_of(measured: Figures, **changes: Any) -> Evaluated:
    """The record of an evaluation with these figures and no champion."""
    return Evaluated(
        **{
            "recipe": "baseline",
            "model": NOTHING,
            "classes": measured.classes,
            "threshold": measured.threshold,
            "validation_sensitivity": proportion(9, 10),
            "validation_balanced_accuracy": {"baseline": 0.5},
            "test_part": "0" * 64,
            "figures": measured,
            "missed": (),
            "champion": None,
            "predictions": NOTHING,
        }
        | changes
    )


def case_of(evaluated: Evaluated, **changes: Any) -> Case:
    """What the rules judge, with nothing wrong but the figures."""
    usual = {"leaks": 0, "same_test_part": True, "earlier_evaluations": 0, "synthetic": False}
    return Case(evaluated=evaluated, **(usual | changes))
