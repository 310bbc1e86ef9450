"""check_balance: how uneven the classes of the training part are, and what would even them out."""

import logging

from tasks.contracts import Balance, Split
from tasks.figures import percent
from tasks.run import Run

log = logging.getLogger(__name__)


def check_balance(run: Run, split: Split) -> Balance:
    """Count the training images of each class and plan copies up to the dominating class."""
    counts = split.counts["train"]
    rarest = min(counts, key=lambda name: counts[name])
    dominating = max(counts, key=lambda name: counts[name])
    ratio = counts[dominating] / counts[rarest]
    plan = {name: counts[dominating] - count for name, count in counts.items()}
    total = sum(counts.values())
    most, least = percent(counts[dominating] / total), percent(counts[rarest] / total)
    finding = (
        f"{dominating} dominates the training part with {counts[dominating]} of {total} images "
        f"({most}); {rarest} has least with {counts[rarest]} ({least}): {ratio:.1f} to 1. Always "
        f"answering {dominating} would score {most} accuracy, which is why recall is judged. "
        f"{sum(plan.values())} copies would make the classes even."
    )
    log.info(finding)
    return Balance(
        counts=counts,
        rarest=rarest,
        dominating=dominating,
        imbalance_ratio=round(ratio, 4),
        plan=plan,
        finding=finding,
    )
