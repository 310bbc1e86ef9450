"""check_balance: measure how uneven the training classes are, and plan copies to balance them."""

import logging
from statistics import median

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.figures import percent
from tasks.lesions import Diagnosis
from tasks.records.balance import Balance
from tasks.records.split import Split

log = logging.getLogger(__name__)


def check_balance(run: Run, split: Split) -> Balance:
    """Count the training images of each class and plan copies by the configured policy."""
    counts = split.counts["train"]
    rarest = min(counts, key=lambda name: counts[name])
    dominating = max(counts, key=lambda name: counts[name])
    target = _target(counts, run.config)
    plan, capped = _plan(counts, target, run.config.copies_per_image)
    finding = _finding(counts, rarest, dominating) + _outlook(plan, target, capped, run.config)
    log.info(finding)
    return Balance(
        counts=counts,
        rarest=rarest,
        dominating=dominating,
        imbalance_ratio=round(counts[dominating] / counts[rarest], 4),
        target=target,
        plan=plan,
        capped=capped,
        finding=finding,
    )


def _target(counts: dict[Diagnosis, int], config: Retraining) -> int:
    targets = {
        "max": max(counts.values()),
        "median": round(median(counts.values())),
        "fixed": config.balance_target,
        "none": 0,
    }
    return targets[config.balance_policy]


def _plan(
    counts: dict[Diagnosis, int], target: int, copies_per_image: int
) -> tuple[dict[Diagnosis, int], tuple[Diagnosis, ...]]:
    wanted = {name: max(0, target - count) for name, count in counts.items()}
    plan = {name: min(wanted[name], copies_per_image * counts[name]) for name in counts}
    return plan, tuple(name for name in counts if plan[name] < wanted[name])


def _finding(counts: dict[Diagnosis, int], rarest: Diagnosis, dominating: Diagnosis) -> str:
    total = sum(counts.values())
    most, least = percent(counts[dominating] / total), percent(counts[rarest] / total)
    return (
        f"{dominating} dominates the training part with {counts[dominating]} of {total} images "
        f"({most}); {rarest} has least with {counts[rarest]} ({least}): "
        f"{counts[dominating] / counts[rarest]:.1f} to 1. Always answering {dominating} would "
        f"score {most} accuracy, which is why recall is judged. "
    )


def _outlook(
    plan: dict[Diagnosis, int], target: int, capped: tuple[Diagnosis, ...], config: Retraining
) -> str:
    copies = sum(plan.values())
    if config.balance_policy == "none":
        return "No copies are wanted."
    if not copies:
        return f"Every class has {target} images or more: balance suffices, no copies are needed."
    capped_at = (
        f", except {', '.join(capped)}, whose images are copied {config.copies_per_image} times at "
        "most"
        if capped
        else ""
    )
    return f"{copies} copies bring every class to {target} images{capped_at}."
