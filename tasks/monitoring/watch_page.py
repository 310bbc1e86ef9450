"""The pages of the drift test: one test with its plots, and the history of all tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.figures import percent, plural
from tasks.monitoring.compare import Asked, Pair, pairs_of
from tasks.monitoring.history import History
from tasks.monitoring.reference import Reference
from tasks.monitoring.watched import Watched, headline
from tasks.validation.laws.shift import SHIFT_EFFECT

Array = np.ndarray[Any, Any]

PAGES = Path(__file__).parent / "pages"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300, 150, 36, 18, 8, 22  # of a chart, in its own units
WIDE = 620  # of the chart of the history
POINTS = 60  # of a line
MOST_BARS = 6
BAR, ROW = 200, 36  # width of a whole bar; height of a name with its two bars
MOST_TESTS = 90  # on a page


def page(watched: Watched, asked: Asked, reference: Reference, history: History) -> str:
    """The page of one test, as self-contained HTML.

    Args:
        watched: The test.
        asked, reference: What was compared, for the plots.
        history: All tests.
    """
    moved = {each.figure for each in watched.figures if each.drifted}
    pairs = [pair for pair in pairs_of(asked, reference, np.random.default_rng(0)) if len(pair.new)]
    by_hour: dict[str, list[str]] = {}
    for each in sorted(watched.label_first, key=lambda one: one.hour):
        by_hour.setdefault(each.hour, []).append(each.lesion)
    return (
        _environment()
        .get_template("drift.html.j2")
        .render(
            watched=watched,
            headline=headline(watched),
            learned=len(reference.learned),
            answered=len(reference.answered),
            matters=SHIFT_EFFECT,
            charts=[_chart(pair, drifted=pair.figure in moved) for pair in pairs if pair.flat],
            by_hour=by_hour,
            **_tests(history),
        )
    )


def history_page(history: History) -> str:
    """The page of all tests, as self-contained HTML."""
    drifts = sum(each.verdict == "drift" for each in history.tests)
    drawn = sum(bool(each.synthetic) for each in history.tests)
    return (
        _environment()
        .get_template("history.html.j2")
        .render(drifts=drifts, drawn=drawn, total=len(history.tests), **_tests(history))
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "plural": plural,
        "chance": lambda chance: f"{chance:.1g}" if chance >= 0.0001 else "< 0.0001",
    }
    environment.globals["css"] = (PAGES / "watch.css").read_text()
    return environment


def _chart(pair: Pair, *, drifted: bool) -> dict[str, Any]:
    drawn = _bars(pair) if pair.old.dtype.kind == "U" else _lines(pair)
    said = pair.words(pair.old, pair.new)
    return {"title": pair.figure, "drifted": drifted, "said": f"{said}.", "lines": {}} | drawn


def _lines(pair: Pair) -> dict[str, Any]:
    """The share of lesions that have at most each value, of both samples."""
    both = np.concatenate([pair.old, pair.new])
    # The outermost hundredths would squeeze the rest.
    low, high = (float(each) for each in np.quantile(both, [0.01, 0.99]))
    high = high if high > low else low + 1

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)

    at = np.linspace(low, high, POINTS)

    def line(values: Array) -> list[tuple[float, float]]:
        shares = np.searchsorted(np.sort(values), at, side="right") / len(values)
        return [(x(float(one)), y(float(other))) for one, other in zip(at, shares, strict=True)]

    digits = 0 if high - low > 10 else 2
    return {
        "height": HEIGHT,
        "lines": {"before": line(pair.old), "now": line(pair.new)},
        "x": [(x(value), f"{value:.{digits}f}") for value in np.linspace(low, high, 5)],
        "y": [(y(share), percent(share)) for share in (0, 0.5, 1)],
    }


def _bars(pair: Pair) -> dict[str, Any]:
    """The share of each name in both samples, the most frequent first."""
    names, counts = np.unique(np.concatenate([pair.old, pair.new]), return_counts=True)
    most = names[np.argsort(-counts, kind="stable")][:MOST_BARS]
    bars = []
    for number, name in enumerate(most):
        shares = [float((each == name).mean()) for each in (pair.old, pair.new)]
        bars.append(
            {
                "name": str(name)[:48] or "none named",
                "y": 14 + ROW * number,
                "before": round(BAR * shares[0], 1),
                "now": round(BAR * shares[1], 1),
                "before_said": percent(shares[0]),
                "now_said": percent(shares[1]),
            }
        )
    return {"height": 6 + ROW * len(bars), "bars": bars}


def _tests(history: History) -> dict[str, Any]:
    rows = [(entry.at[:16].replace("T", " "), each) for entry, each in history.rows]
    shown = rows[-MOST_TESTS:]
    return {
        "rows": shown[::-1],
        "earlier": len(rows) - len(shown),
        "chart": _effects([each for _, each in shown]) if len(shown) > 1 else None,
    }


def _effects(tests: Sequence[Watched]) -> dict[str, Any]:
    largest = [max((each.effect or 0.0 for each in test.figures), default=0.0) for test in tests]

    def x(number: int) -> float:
        return round(LEFT + 6 + (WIDE - LEFT - 20) * number / (len(tests) - 1), 1)

    def y(effect: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * effect, 1)

    points = [(x(number), y(effect)) for number, effect in enumerate(largest)]
    ends = {0: tests[0].until[:10], len(tests) - 1: tests[-1].until[:10]}
    return {
        "width": WIDE,
        "height": HEIGHT,
        "points": points,
        "dots": [
            (*point, test.verdict == "drift") for point, test in zip(points, tests, strict=True)
        ],
        "x": [(min(x(number), WIDE - 34), day) for number, day in ends.items()],
        "y": [(y(effect), f"{effect:g}") for effect in (0, 0.5, 1)],
        "said": f"Of the last {plural(len(tests), 'test')}, the largest effect of a figure was "
        f"{max(largest):.2f}; red dots are drift.",
    }
