"""Whether a model is worse on a set, and whether the set differs: said in words, or not at all."""

import numpy as np
import pandas as pd
import pytest

from tasks.lesions import MELANOMA, OTHER
from tasks.monitoring.drift import drift
from tasks.monitoring.drop import DropVerdict, drops
from tests.support.judged import figures_of

OWN = figures_of(79, 81, 120, 160)

# The drop against the own test part ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "melanomas", "verdict", "words"),
    [
        (74, 100, "drop",
         "finds fewer melanomas here: 74\u00a0% against 98\u00a0%, a drop of 24 points (95 % "
         "interval 13 to 34)"),
        (390, 400, "no drop", "no drop of sensitivity shown: 98\u00a0% against 98\u00a0%, a "),
        (19, 20, "too few to tell",
         "sensitivity: too few melanomas to tell (20 here, 81 in its test part): 95\u00a0% "),
        (2, 9, "too few to tell",
         "sensitivity: too few melanomas to tell (9 here, 81 in its test part): 22\u00a0% "),
        (0, 0, "too few to tell", "sensitivity: cannot be compared, for lack of melanomas"),
    ],
)  # fmt: skip
def test_a_drop_of_sensitivity_is_said_where_it_is_shown_and_only_there(
    found: int, melanomas: int, verdict: DropVerdict, words: str
) -> None:
    made = drops(figures_of(found, melanomas, 60, 80), OWN)[0]
    assert (made.figure, made.verdict) == ("sensitivity", verdict)
    assert made.words.startswith(words)


def test_a_gain_is_the_opposite_of_a_drop() -> None:
    worse, better = figures_of(50, 80, 60, 160), figures_of(79, 80, 150, 160)
    for one, other in zip(drops(worse, better), drops(better, worse), strict=True):
        assert (one.verdict, other.verdict) == ("drop", "gain")
        assert one.drop.value == pytest.approx(-(other.drop.value or 0))
        size = one.words.rpartition("a drop of ")[2]
        assert other.words.endswith(f"a gain of {size}")


def test_the_opposite_of_each_is_said_of_what_it_counts() -> None:
    worse = drops(figures_of(78, 80, 60, 160), OWN)[1]
    assert worse.words.startswith(
        "calls more other lesions melanoma here: specificity 38\u00a0% against 75\u00a0%, a drop of"
    )
    better = drops(figures_of(78, 80, 155, 160), OWN)[1]
    assert better.words.startswith("calls fewer other lesions melanoma here: specificity 97")


def test_a_model_is_not_worse_than_itself() -> None:
    same = drops(OWN, OWN)
    assert not {each.verdict for each in same} & {"drop", "gain"}
    assert [each.drop.value for each in same] == [0, 0, 0]


def test_at_another_threshold_the_area_alone_is_compared() -> None:
    (only,) = drops(figures_of(10, 80, 60, 160), OWN, by_area_alone=True)
    assert only.figure == "auc"
    assert only.words.startswith("ranks melanomas worse here: area 0.")


# Drift --------------------------------------------------------------------------------------------


def lesions(n: int, seed: int, **changes: object) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image_id": [f"{seed}-{k}" for k in range(n)],
            "lesion_id": None,
            "label": rng.choice([MELANOMA, "nevus"], n, p=[0.3, 0.7]),
            "source": "clinic",
            "sex": rng.choice(["female", "male"], n),
            "width": 600,
            "red": rng.normal(150, 10, n),
            "age_years": rng.integers(20, 80, n).astype(float),
        }
        | changes
    )


def figures_that_drift(scored: pd.DataFrame, learned: pd.DataFrame) -> list[str]:
    return [each.figure for each in drift(scored, learned) or ()]


def test_a_drift_is_told_with_the_figures_of_both_and_none_without_one() -> None:
    learned, scored = lesions(400, 1), lesions(200, 2)
    assert drift(scored, learned) == ()
    told = drift(lesions(200, 2, source="elsewhere", width=900), learned)
    assert told is not None
    assert [each.words for each in told] == [
        "sources: elsewhere 100\u00a0% here, 0\u00a0% in what it learned from",
        "width in pixels: median 900 here, 600 in what it learned from",
    ]


def test_few_lesions_are_not_compared_nor_many_images_of_one() -> None:
    learned, other = lesions(400, 1), {"source": "elsewhere"}
    assert drift(lesions(29, 2, **other), learned) is None
    assert drift(lesions(300, 2, **other, lesion_id="L1"), learned) is None
    assert figures_that_drift(lesions(30, 2, **other), learned) == ["source"]


def test_labels_coarser_than_the_classes_are_compared_by_melanoma_or_not() -> None:
    learned, scored = lesions(400, 1), lesions(300, 2)
    binary = scored.assign(label=scored["label"].where(scored["label"] == MELANOMA, OTHER))
    assert figures_that_drift(binary, learned) == []
    rare = binary.assign(label=OTHER)
    assert figures_that_drift(rare, learned) == ["melanoma"]
    assert figures_that_drift(scored.assign(label="nevus"), learned) == ["label"]


def test_what_the_evidence_no_longer_tells_is_not_compared() -> None:
    learned = lesions(400, 1).drop(columns=["red", "width"])
    assert figures_that_drift(lesions(200, 2, red=0.0, width=9), learned) == []
