"""What a reference holds of the answers on the test part; the rest is in `test_drift_command`."""

import pandas as pd
import pytest

from tasks.evaluation.refusals import REFUSED
from tasks.monitoring.reference import _drawn, _judged, _refused
from tasks.records.figures import Proportion
from tasks.records.refusals import Answered, Refusals
from tasks.statistics.proportions import proportion
from tests.support.judged import NOTHING, evaluated_of, figures_of

PREDICTIONS = pd.DataFrame({"lesion": ["a", "a", "b", "c"], "melanoma": [0.1, 0.2, 0.3, 0.4]})


@pytest.mark.parametrize("empty", ["", None])
def test_a_lesion_with_a_refused_image_is_no_answer(empty: str | None) -> None:
    table = PREDICTIONS.copy()
    table[REFUSED] = [empty, "blurred", empty, empty]

    assert list(_judged(table)["lesion"]) == ["b", "c"]


def test_of_a_model_without_a_judge_of_images_every_lesion_is_an_answer() -> None:
    assert _judged(PREDICTIONS).equals(PREDICTIONS)


def test_the_share_that_is_refused_is_that_of_the_own_test_part() -> None:
    measured = figures_of(96, 100, 280, 300)

    def lesions(name: str, refused: Proportion) -> Answered:
        some = proportion(9, 10)
        return Answered(
            name=name,
            refused=refused,
            melanomas_refused=some,
            sensitivity=some,
            specificity=some,
        )

    own, other = proportion(12, 400), proportion(90, 100)
    refusals = Refusals(
        judge=NOTHING,
        learned_from=100,
        fit_kinds=(),
        allowed=0.05,
        validation=own,
        lesions=(lesions("", own), lesions("ph2", other)),
        kinds=(),
        not_measured=(),
    )

    assert _refused(evaluated_of(measured, refusals=refusals)) == (12, 400)
    assert _refused(evaluated_of(measured, refusals=None)) is None


def test_a_model_learned_from_drawn_lesions_only_if_all_are() -> None:
    drawn, real = (
        pd.DataFrame({"image_id": ["SYNTHETIC_1"]}),
        pd.DataFrame({"image_id": ["ISIC_1"]}),
    )

    assert _drawn(drawn)
    assert not _drawn(real)
    assert not _drawn(pd.concat([drawn, real]))
