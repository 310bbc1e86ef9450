"""statistics and gate: bounds, not points; three answers; no model fools it by one figure."""

import pytest
from deliveries import run_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from tasks.contracts import Artifact, Evaluated, Verdict
from tasks.gate import gate, judge
from tasks.statistics import cases_needed, lower_bound, proportion, upper_bound
from tasks.storage import open_store

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_bounds_are_those_of_clopper_and_pearson(pair: tuple[int, int]) -> None:
    """Their closed form by quantiles of the beta distribution."""
    k, n = pair
    lower = beta.ppf(0.05, k, n - k + 1) if k else 0.0
    upper = beta.ppf(0.95, k + 1, n - k) if k < n else 1.0
    assert lower_bound(k, n) == pytest.approx(lower, abs=1e-6)
    assert upper_bound(k, n) == pytest.approx(upper, abs=1e-6)
    both = proportion(k, n)
    assert both.lower <= k / n <= both.upper
    assert both.lower <= lower_bound(k, n)


@given(counts)
def test_at_the_bound_so_many_successes_have_a_chance_of_five_percent(
    pair: tuple[int, int],
) -> None:
    k, n = pair
    if k:
        assert binom.sf(k - 1, n, lower_bound(k, n)) == pytest.approx(0.05, abs=1e-4)


def test_nothing_seen_says_nothing() -> None:
    nothing = proportion(0, 0)
    assert (nothing.lower, nothing.upper, nothing.estimate) == (0, 1, None)
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0, 1)


@pytest.mark.parametrize(
    ("found", "n", "minimum", "decision"),
    [
        (14, 14, 0.80, "pass"),  # 0.8 ** 14 is 4.4 %
        (13, 13, 0.80, "insufficient evidence"),  # 0.8 ** 13 is 5.5 %
        (84, 88, 0.80, "pass"),
        (70, 88, 0.80, "insufficient evidence"),
        (50, 88, 0.80, "fail"),
        (0, 0, 0.80, "insufficient evidence"),
        (0, 5, 0.80, "fail"),
        (0, 0, 0.0, "pass"),
    ],
)
def test_a_rule_has_three_answers(found: int, n: int, minimum: float, decision: str) -> None:
    assert judge("melanoma recall", proportion(found, n), minimum).decision == decision


@given(counts, st.floats(0.01, 0.99))
def test_a_rule_passes_only_on_its_bound(pair: tuple[int, int], minimum: float) -> None:
    rule = judge("melanoma recall", proportion(*pair), minimum)
    assert (rule.decision == "pass") == (rule.lower >= minimum)
    assert (rule.decision == "fail") == (rule.upper < minimum)


def test_insufficient_evidence_says_how_many_more_lesions_would_do() -> None:
    assert cases_needed(13, 13, 0.80) == 14
    assert cases_needed(0, 0, 0.80) == 14
    assert cases_needed(8, 10, 0.80) is None
    needed = cases_needed(15, 16, 0.80)
    assert needed is not None
    assert lower_bound(int(needed * 15 / 16), needed) >= 0.80
    assert lower_bound(int((needed - 1) * 15 / 16), needed - 1) < 0.80
    assert "1 more lesion " in judge("melanoma recall", proportion(13, 13), 0.80).reason


def evaluated(found: int, melanomas: int, spared: int, others: int) -> Evaluated:
    artifact = Artifact(key="k", sha256="0" * 64, size_bytes=0)
    return Evaluated(
        recipe="baseline",
        model=artifact,
        classes=("melanoma", "nevus"),
        threshold=0.5,
        validation_sensitivity=proportion(9, 10),
        validation_balanced_accuracy={"baseline": 0.5},
        test_images=melanomas + others,
        accuracy=proportion(1, 2),
        balanced_accuracy=0.5,
        recall={},
        confusion=(),
        sensitivity=proportion(found, melanomas),
        specificity=proportion(spared, others),
        auc=None,
        missed=(),
        predictions=artifact,
    )


def verdict(tmp_path: object, *figures: int) -> Verdict:
    return gate(run_of(open_store(str(tmp_path))), evaluated(*figures))


def test_a_good_model_passes(tmp_path: object) -> None:
    assert verdict(tmp_path, 95, 100, 250, 300).decision == "pass"


def test_a_model_that_calls_everything_melanoma_fails(tmp_path: object) -> None:
    said = verdict(tmp_path, 100, 100, 0, 300)
    assert said.decision == "fail"
    assert "specificity" in said.reason
    assert "recall" not in said.reason


def test_a_model_that_calls_nothing_melanoma_fails(tmp_path: object) -> None:
    assert verdict(tmp_path, 0, 100, 300, 300).decision == "fail"


def test_a_perfect_score_on_too_few_melanomas_is_insufficient(tmp_path: object) -> None:
    said = verdict(tmp_path, 10, 10, 290, 300)
    assert said.decision == "insufficient evidence"
    assert "4 more lesions" in said.reason


def test_a_failing_rule_outweighs_a_lack_of_evidence(tmp_path: object) -> None:
    assert verdict(tmp_path, 10, 10, 0, 300).decision == "fail"
