"""The training curves of a report, as coordinates that the template draws."""

import math
from collections.abc import Sequence
from typing import Any

from tasks.records.figures import Calibration
from tasks.records.trained import Epoch, Trained

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 340, 190, 34, 24, 8  # of a chart, in its own units


def curves(trained: Trained) -> list[dict[str, Any]]:
    """For each recipe two charts, on axes that all recipes share."""
    epochs = [epoch for recipe in trained.recipes for epoch in recipe.epochs]
    losses = [epoch.loss for epoch in epochs]
    losses += [recipe.epochs[recipe.best_epoch - 1].val_loss for recipe in trained.recipes]
    # The validation loss of the first epoch can be ten times any other, and may leave the frame.
    top = 1.15 * max([loss for loss in losses if math.isfinite(loss)], default=1.0) or 1.0
    return [
        {
            "recipe": recipe,
            "charts": [
                _chart("Accuracy", "accuracy", recipe.epochs, recipe.best_epoch, 1.0),
                _chart("Loss (cross-entropy, nats)", "loss", recipe.epochs, recipe.best_epoch, top),
            ],
        }
        for recipe in trained.recipes
    ]


def _chart(
    title: str, figure: str, epochs: Sequence[Epoch], best: int, top: float
) -> dict[str, Any]:
    """One chart: lines for training and validation, ticks, and the best epoch."""
    last = max(2, len(epochs))

    def x(epoch: int) -> float:
        return round(LEFT + 6 + (WIDTH - LEFT - 14) * (epoch - 1) / (last - 1), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 1)

    def line(name: str) -> list[tuple[float, float]]:
        values = [
            (x(number), float(getattr(epoch, name))) for number, epoch in enumerate(epochs, 1)
        ]
        return [(place, y(value)) for place, value in values if math.isfinite(value)]

    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200) if last / s <= 8)
    rungs = [0, 0.25, 0.5, 0.75, 1] if figure == "accuracy" else _rungs(top)
    at_best = epochs[best - 1]
    return {
        "title": title,
        "lines": {"train": line(figure), "validation": line(f"val_{figure}")},
        "x": [(x(n), n) for n in range(step, len(epochs) + 1, step)],
        "y": [
            (y(value), f"{value:.0%}" if figure == "accuracy" else f"{value:g}") for value in rungs
        ],
        "best": (x(best), best),
        "clipped": any(getattr(epoch, f"val_{figure}") > top for epoch in epochs),
        "summary": f"At the best epoch, {best} of {len(epochs)}: training "
        f"{getattr(at_best, figure):.2f}, validation {getattr(at_best, f'val_{figure}'):.2f}.",
    }


def _rungs(top: float) -> list[float]:
    """Three to six round numbers from 0 to `top`."""
    power = 10.0 ** math.floor(math.log10(top / 2))
    step = next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= 5)
    return [step * number for number in range(int(top / step) + 1)]


SQUARE, MARGIN = 300, 36  # of the reliability chart, in its own units


def reliability_chart(calibration: Calibration) -> dict[str, Any]:
    """The reliability curve: predicted across, observed upwards, both 0 to 1."""
    span = SQUARE - MARGIN - 10

    def x(share: float) -> float:
        return round(MARGIN + span * share, 1)

    def y(share: float) -> float:
        return round(SQUARE - MARGIN - span * share, 1)

    points = [
        {
            "x": x(each.predicted),
            "y": y(each.observed.estimate or 0.0),
            "low": y(each.observed.lower),
            "high": y(each.observed.upper),
            "said": f"{each.predicted:.0%} predicted, {each.observed.successes} of "
            f"{each.observed.n} are melanoma",
        }
        for each in calibration.bins
        if each.observed.n
    ]
    return {
        "side": SQUARE,
        "points": points,
        "zero": (x(0), y(0)),
        "one": (x(1), y(1)),
        "ticks": [(x(share), y(share), f"{share:.0%}") for share in (0, 0.25, 0.5, 0.75, 1)],
    }
