"""Figures hold among the archives that hold both kinds of lesions, and not by other archives."""

import pandas as pd

from tasks.evaluation.decision import judge
from tasks.evaluation.scoring import figures
from tasks.records.verdict import Rule
from tests.support.judged import MELANOMA_POLICY, THRESHOLD, case_of, evaluated_of, predictions

CLASSES = ("melanoma", "nevus")


def judged(*tables: pd.DataFrame) -> dict[str, Rule]:
    rows = pd.concat(
        [
            each.assign(image_id=f"{n}" + each["image_id"], lesion=f"{n}" + each["lesion"])
            for n, each in enumerate(tables)
        ],
        ignore_index=True,
    )
    made = figures(rows, CLASSES, THRESHOLD, {})  # type: ignore[arg-type]  # diagnoses
    return {rule.name: rule for rule in judge(MELANOMA_POLICY, case_of(evaluated_of(made)))}


def test_an_archive_without_a_melanoma_lifts_no_specificity() -> None:
    both = predictions(96, 100, 10, 100, source="clinic")
    others = predictions(0, 0, 400, 400, source="museum")
    rules = judged(both, others)
    assert rules["melanoma specificity"].decision == "pass"
    assert rules["melanoma specificity, archives of both kinds of lesions"].decision == "fail"


def test_an_archive_of_melanomas_alone_lifts_no_sensitivity() -> None:
    both = predictions(30, 60, 90, 100, source="clinic")
    alone = predictions(400, 400, 0, 0, source="museum")
    rules = judged(both, alone)
    assert rules["melanoma sensitivity"].decision == "pass"
    assert rules["melanoma sensitivity, archives of both kinds of lesions"].decision == "fail"


def test_without_such_an_archive_nothing_is_shown() -> None:
    rules = judged(predictions(100, 100, 0, 0, source="a"), predictions(0, 0, 300, 300, source="b"))
    assert rules["archives of both kinds of lesions"].decision == "insufficient evidence"


def test_one_archive_of_both_is_judged_as_a_whole() -> None:
    rules = judged(predictions(96, 100, 280, 300))
    among = rules["melanoma specificity, archives of both kinds of lesions"]
    assert (among.decision, among.n) == ("pass", rules["melanoma specificity"].n)
