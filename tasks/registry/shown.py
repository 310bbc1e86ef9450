"""What people see of a version in MLflow beside its weights: test figures, tags, card, report.

MLflow's page that compares versions shows the parameters and metrics of the MLflow runs from which
the versions came. So the figures of the test part are metrics of the training's run.
"""

from typing import Any

from tasks.figures import at_least, down, up
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Estimate, Proportion
from tasks.records.verdict import Verdict
from tasks.registry.versions import mlflow_module

FOLDER = "release"  # of the artifacts of an MLflow run


def metrics_of(evaluated: Evaluated) -> dict[str, float]:
    """Figures of the test part and of external sets and their 95 % bounds, by the name of a metric.

    Each version has the same confidence, unlike the bounds that the gate judges by, which widen
    with each look at the test part. A figure that cannot be measured is left out.
    """
    figures = evaluated.figures
    shown: dict[str, Proportion | Estimate] = {
        "sensitivity": figures.sensitivity,
        "specificity": figures.specificity,
        "auc": figures.auc,
        "balanced_accuracy": figures.balanced_accuracy,
    }
    names = {f"test/{name}": figure for name, figure in shown.items()}
    for each in evaluated.external:
        if each.figures:
            there: dict[str, Proportion | Estimate] = {
                "sensitivity": each.figures.sensitivity,
                "specificity": each.figures.specificity,
                "auc": each.figures.auc,
            }
            names |= {f"external/{each.name}/{name}": what for name, what in there.items()}
    found: dict[str, float | None] = {}
    for name, figure in names.items():
        measured = figure.estimate if isinstance(figure, Proportion) else figure.value
        found[name] = measured
        if measured is not None:
            found |= {f"{name}_lower": figure.lower, f"{name}_upper": figure.upper}
    return {name: value for name, value in found.items() if value is not None}


def figures_in_words(evaluated: Evaluated, verdict: Verdict, *, synthetic: bool) -> dict[str, str]:
    """Tags of a version that a person can read.

    Args:
        evaluated: The figures; bounds are those of two-sided 95 % intervals.
        verdict: The verdict on them.
        synthetic: Whether any image was drawn.
    """
    figures = evaluated.figures
    told = {
        "sensitivity": _counted(figures.sensitivity),
        "specificity": _counted(figures.specificity),
        "auc": measured(figures.auc),
        "balanced_accuracy": measured(figures.balanced_accuracy),
        "policy": f"{verdict.policy.name}, version {verdict.policy.version}",
        "elsewhere": "; ".join(
            f"{each.name}: sensitivity {_counted(each.figures.sensitivity)}"
            for each in evaluated.external
            if each.figures
        )
        or "judged on its own archive only",
    }
    return told | ({"data": "SYNTHETIC: drawn lesions, no patients"} if synthetic else {})


def _counted(figure: Proportion) -> str:
    if not figure.n:
        return "none in the test part"
    return f"{figure.successes} of {figure.n}, at least {at_least(figure.lower, 1)}"


def measured(figure: Estimate) -> str:
    """A figure with its interval, for a person."""
    if figure.value is None:
        return "cannot be measured here"
    if figure.lower is None or figure.upper is None:
        return f"{figure.value:.3f}, no interval: too few lesions"
    return f"{figure.value:.3f} ({down(figure.lower)} to {up(figure.upper)})"


def log_test_metrics(client: Any, run_id: str, evaluated: Evaluated, at_ms: int) -> None:
    """Log `metrics_of` to an MLflow run, once for one time.

    Args:
        client: MLflow's client.
        run_id: The MLflow run.
        evaluated: The figures.
        at_ms: When they were measured, in milliseconds since 1970. MLflow keeps a metric of the
            same time and value once.
    """
    metric = mlflow_module("mlflow.entities").Metric
    found = metrics_of(evaluated)
    client.log_batch(
        run_id, metrics=[metric(name, value, at_ms, 0) for name, value in found.items()]
    )


def attach(client: Any, run_id: str, name: str, text: str) -> None:
    """Put a page among the artifacts of an MLflow run, over an earlier one."""
    client.log_text(run_id, text, f"{FOLDER}/{name}")
