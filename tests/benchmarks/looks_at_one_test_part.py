"""The chance that any of k models passes that are each just below the floor, judged one by one.

    python tests/benchmarks/looks_at_one_test_part.py [PICTURE.png]

Each model finds each melanoma with a chance of exactly the sensitivity that is asked, so that none
should pass. Beside the policy's spending stands the gate that gives each look its full 5 % again,
as version 1 of the policy did. Models trained on much the same data miss much the same melanomas:
two of them find or miss a lesion together by a Gaussian copula of correlation `rho`. Independent
models by exact sums; correlated ones by simulation.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from scipy.stats import binom, norm

from tasks.evaluation.bounds import proportion_rule
from tasks.evaluation.policy import Policy, parse_policy, policy_bytes
from tasks.statistics.confidence import looks_until
from tasks.statistics.proportions import proportion

Array = np.ndarray[Any, Any]

LOOKS = 100  # two years of a weekly schedule
MELANOMAS = (81, 300)  # of the public nine-class set's test part; of a larger one
CORRELATIONS = (0.0, 0.5, 0.9, 0.99)
REPETITIONS = 20_000
SEED = 20
SHOWN = (1, 2, 5, 10, 20, 52, 100)
INK, SOFT, OURS, THEIRS = "#16202c", "#51606f", "#2f7d5b", "#b9544c"


def policy_of(version: int) -> Policy:
    return parse_policy(policy_bytes("melanoma", version), "melanoma")


def floor_of(policy: Policy) -> float:
    return next(rule.at_least for rule in policy.rules if rule.rule == "sensitivity")


def needed(policy: Policy, n: int) -> Array:
    """Fewest of n melanomas that a model must find to pass at each look; n + 1 if none will do.

    The decisions are those of `tasks.evaluation.bounds`.
    """
    floor = floor_of(policy)
    found: list[int] = []
    for look in range(1, LOOKS + 1):
        least = found[-1] if found else 0
        while least <= n and _decision(least, n, floor, policy.confidence(look)) != "pass":
            least += 1
        found.append(least)
    return np.array(found)


def _decision(found: int, n: int, floor: float, confidence: float) -> str:
    return proportion_rule("", proportion(found, n), floor, "", confidence).decision


def exact(policy: Policy, n: int) -> Array:
    """For k = 1 to LOOKS independent models: the chance that any passes."""
    each = binom.sf(needed(policy, n) - 1, n, floor_of(policy))
    return np.asarray(1 - np.cumprod(1 - each))


def simulated(policy: Policy, n: int, rho: float, repetitions: int = REPETITIONS) -> Array:
    """The same for models of which any two agree by a copula of correlation `rho`, 0 to 1."""
    least, random = needed(policy, n), np.random.default_rng(SEED)
    cut = norm.ppf(floor_of(policy))
    passed = np.zeros(LOOKS)
    for _ in range(repetitions // 100):
        lesion = random.standard_normal((100, n), np.float32) * np.sqrt(np.float32(rho))
        ever = np.zeros(100, bool)
        for look in range(LOOKS):
            own = random.standard_normal((100, n), np.float32) * np.sqrt(np.float32(1 - rho))
            ever |= (lesion + own < cut).sum(axis=1) >= least[look]
            passed[look] += ever.sum()
    return passed / (repetitions // 100 * 100)


def curves(version: int, n: int) -> dict[float, Array]:
    policy = policy_of(version)
    return {
        rho: exact(policy, n) if rho == 0 else simulated(policy, n, rho) for rho in CORRELATIONS
    }


def draw(path: Path, told: dict[tuple[int, int], dict[float, Array]]) -> None:
    plt.rcParams |= {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK}
    figure, axes = plt.subplots(1, len(MELANOMAS), figsize=(9, 4), sharey=True)
    looks = np.arange(1, LOOKS + 1)
    for axis, n in zip(axes, MELANOMAS, strict=True):
        for version, colour in ((1, THEIRS), (2, OURS)):
            for rho, chance in told[version, n].items():
                axis.plot(looks, chance, color=colour, lw=1.6, alpha=1 - 0.65 * rho)
        axis.axhline(0.05, color=SOFT, lw=1, ls=(0, (3, 3)))
        axis.set_title(f"{n} melanomas", fontsize=11, fontweight="bold", color=INK)
        axis.set(xlim=(1, LOOKS), ylim=(0, 1), xticks=(1, 20, 40, 60, 80, 100))
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, 0))
        axis.tick_params(colors=SOFT, length=3)
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[0].set_ylabel("chance that any has passed", color=SOFT)
    figure.supxlabel("models judged, each just below the floor", color=SOFT, fontsize=10, y=0.1)
    handles = [Line2D([], [], color=colour, lw=2) for colour in (THEIRS, OURS)]
    handles.append(Line2D([], [], color=SOFT, lw=1, ls=(0, (3, 3))))
    names = ["95 % at every look (version 1)", "spending (version 2)", "5 %"]
    figure.legend(handles, names, loc="lower center", ncols=3, frameon=False)
    figure.text(0.985, 0.9, "paler: more alike", ha="right", fontsize=8.5, color=SOFT)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.22, wspace=0.08)
    figure.savefig(path, dpi=150)


def main() -> None:
    told = {(version, n): curves(version, n) for version in (1, 2) for n in MELANOMAS}
    print(f"Chance that any of k models passes; {REPETITIONS:,} repetitions where correlated\n")
    print("| policy | melanomas | correlation |" + "".join(f" k = {k} |" for k in SHOWN))
    print("|---|---|---|" + "---|" * len(SHOWN))
    for (version, n), by in told.items():
        for rho, chance in by.items():
            cells = "".join(f" {chance[k - 1]:.1%} |" for k in SHOWN)
            print(f"| version {version} | {n} | {rho:g} |{cells}")
    policy = policy_of(2)
    assert policy.spending
    for n in MELANOMAS:
        error, floor = policy.spending.error, floor_of(policy)
        spent = {share: looks_until(share, n, floor, error) for share in (1.0, 0.975, 0.95, 0.925)}
        words = ", ".join(f"{share:.1%} of them {look:,}" for share, look in spent.items())
        print(f"\nOf {n} melanomas the last look at which a model passes that finds {words}.")
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]), told)


if __name__ == "__main__":
    main()
