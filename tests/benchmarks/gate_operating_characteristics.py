"""What the gate says of models whose true sensitivity is known, by exact sums, no simulation.

    python tests/benchmarks/gate_operating_characteristics.py [PICTURE.png]

For 16 to 400 melanomas in the test part: how often a model passes, fails, or gets "insufficient
evidence", beside the gate that compares the observed share with the minimum. The decisions are
those of `tasks.evaluation.bounds` under the policy for patients; only the binomial chances are
added here.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from scipy.stats import binom, multinomial

from tasks.evaluation.bounds import proportion_rule
from tasks.evaluation.champion_rules import SensitivityAgainstChampion
from tasks.evaluation.policy import parse_policy, policy_bytes
from tasks.evaluation.rules import Sensitivity
from tasks.statistics.pairs import noninferiority_p
from tasks.statistics.proportions import proportion

MELANOMAS = (16, 50, 88, 200, 400)
TRUE = np.arange(0.70, 0.9801, 0.005)
SHOWN = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.98)
DISCORDANT = 0.10  # of the melanomas, found by one of two models and not by the other
DECISIONS = ("pass", "insufficient evidence", "fail")
COLOURS = {"pass": "#2f7d5b", "insufficient evidence": "#e6c477", "fail": "#b9544c"}
INK, SOFT = "#16202c", "#51606f"


def asked() -> tuple[float, float]:
    """Least sensitivity, and margin to the champion, of the policy for patients."""
    rules = parse_policy(policy_bytes("melanoma"), "melanoma").rules
    (least,) = (rule.at_least for rule in rules if isinstance(rule, Sensitivity))
    (margin,) = (rule.margin for rule in rules if isinstance(rule, SensitivityAgainstChampion))
    return least, margin


def by_bound(minimum: float) -> Callable[[int, int], str]:
    return lambda found, n: proportion_rule("", proportion(found, n), minimum, "").decision


def by_point(minimum: float) -> Callable[[int, int], str]:
    return lambda found, n: "pass" if found >= minimum * n else "fail"


def chances(decide: Callable[[int, int], str], n: int) -> dict[str, np.ndarray]:
    """Of each decision, for each true sensitivity of `TRUE`."""
    decided = np.array([decide(found, n) for found in range(n + 1)])
    weights = binom.pmf(np.arange(n + 1), n, TRUE[:, None])
    return {each: weights[:, decided == each].sum(axis=1) for each in DECISIONS}


def chance_beside_champion(n: int, worse_by: float, margin: float) -> float:
    """That a model passes the paired rule whose true sensitivity is lower by `worse_by`."""
    lost_share = (DISCORDANT + worse_by) / 2
    shares = [DISCORDANT - lost_share, lost_share, 1 - DISCORDANT]
    total, gained = 0.0, 0
    for lost in range(n + 1):  # the more are lost, the more must be gained
        while gained + lost <= n and noninferiority_p(gained, lost, n, margin) > 0.05:
            gained += 1
        if gained + lost > n or binom.sf(lost - 1, n, lost_share) < 1e-9:
            break
        enough = np.arange(gained, n - lost + 1)
        table = np.stack([enough, np.full_like(enough, lost), n - lost - enough], axis=1)
        total += float(multinomial.pmf(table, n, shares).sum())
    return total


def draw(path: Path, minimum: float) -> None:
    plt.rcParams |= {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": INK}
    figure, axes = plt.subplots(1, len(MELANOMAS), figsize=(11.5, 3.9), sharey=True)
    for axis, n in zip(axes, MELANOMAS, strict=True):
        ours, theirs = chances(by_bound(minimum), n), chances(by_point(minimum), n)["pass"]
        axis.stackplot(
            TRUE, *(ours[each] for each in DECISIONS), colors=[COLOURS[e] for e in DECISIONS]
        )
        axis.plot(TRUE, theirs, color=INK, lw=1.8, ls=(0, (4, 2)))
        axis.axvline(minimum, color="white", lw=1.2)
        at = int(np.argmin(np.abs(TRUE - minimum)))
        axis.set_title(f"{n} melanomas", fontsize=11, fontweight="bold", color=INK, pad=20)
        told = f"true {minimum:.0%}: {ours['pass'][at]:.0%} pass (dashed: {theirs[at]:.0%})"
        place = {"transform": axis.transAxes, "ha": "center", "fontsize": 8.5}
        axis.text(0.5, 1.025, told, color=SOFT, **place)
        axis.set(xlim=(TRUE[0], TRUE[-1]), ylim=(0, 1), xticks=(0.7, 0.8, 0.9))
        axis.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, 0))
        axis.tick_params(colors=SOFT, length=3)
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[0].yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1, 0))
    axes[0].set_ylabel("chance of the verdict", color=SOFT)
    figure.supxlabel("true sensitivity of the model for melanoma", color=SOFT, fontsize=10, y=0.115)
    handles: list[Artist] = [Rectangle((0, 0), 1, 1, color=COLOURS[each]) for each in DECISIONS]
    handles.append(Line2D([], [], color=INK, lw=1.8, ls=(0, (4, 2))))
    labels = [*DECISIONS, f"passes if the observed share is compared with {minimum:.0%}"]
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False, fontsize=9.5)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.84, bottom=0.24, wspace=0.09)
    figure.savefig(path, dpi=150)


def main() -> None:
    minimum, margin = asked()
    print(f"Chance to pass, by true sensitivity; {minimum:.0%} is asked (bound | observed share)\n")
    print("| melanomas |" + "".join(f" {true:.0%} |" for true in SHOWN) + " insufficient at 90% |")
    print("|---|" + "---|" * (len(SHOWN) + 1))
    places = [int(np.argmin(np.abs(TRUE - true))) for true in SHOWN]
    for n in MELANOMAS:
        ours, theirs = chances(by_bound(minimum), n), chances(by_point(minimum), n)
        cells = [f" {ours['pass'][at]:.1%} \\| {theirs['pass'][at]:.1%} |" for at in places]
        open_ = ours["insufficient evidence"][int(np.argmin(np.abs(TRUE - 0.90)))]
        print(f"| {n} |{''.join(cells)} {open_:.1%} |")
    print(
        f"\nAgainst the champion, margin {margin:g}, {DISCORDANT:.0%} discordant: chance to pass\n"
    )
    print("| melanomas | equally good | worse by half the margin | worse by the margin |")
    print("|---|---|---|---|")
    for n in MELANOMAS[:-1]:
        shares = [chance_beside_champion(n, worse, margin) for worse in (0, margin / 2, margin)]
        print(f"| {n} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    if len(sys.argv) > 1:
        draw(Path(sys.argv[1]), minimum)


if __name__ == "__main__":
    main()
