"""The page about released diagnoses: whether the model in use keeps its promise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.figures import at_least, at_most, percent, plural
from tasks.monitoring.follow_up import Followed
from tasks.monitoring.outcomes import (
    SELECTION,
    WHAT_TO_DO,
    OfVersion,
    State,
    explained,
    headline,
    promised,
    so_far,
)
from tasks.monitoring.watch_page import PAGES
from tasks.statistics.every_look import ERROR, lower_at_every_look, upper_at_every_look

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 240, 52, 14, 12, 38  # of the plot, its own units
POINTS = 200  # of a line
TONES: dict[State, str] = {
    "broken": "drift",
    "kept so far": "none",
    "insufficient evidence": "insufficient",
}


def page(followed: Followed) -> str:
    """The page of one look, as self-contained HTML. It names no lesion and shows no image."""
    outcomes = followed.outcomes
    environment = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "plural": plural}
    environment.filters |= {"headline": headline, "at_least": at_least, "at_most": at_most}
    environment.globals |= {"tones": TONES, "error": ERROR}
    css = "".join((PAGES / name).read_text() for name in ("watch.css", "outcomes.css"))
    own = outcomes.in_use
    return environment.get_template("outcomes.html.j2").render(
        css=css,
        outcomes=outcomes,
        own=own,
        said=[so_far(own), promised(own), *explained(own)],
        selection=SELECTION,
        what_to_do=WHAT_TO_DO,
        plot=plot_of(own, followed.found) if followed.found else None,
    )


def plot_of(own: OfVersion, found: Sequence[bool]) -> dict[str, Any]:
    """The sensitivity so far after each melanoma, with its bounds at every look and the promise.

    Args:
        own: The version in use.
        found: As `Followed.found`, at least one.

    Returns:
        What the template draws, in units of the plot.
    """
    n, sums = len(found), np.cumsum(found)
    alarm = own.alarm.melanomas if own.alarm else None
    at = sorted({*np.linspace(1, n, min(n, POINTS)).round().astype(int).tolist(), alarm or n})

    def x(melanoma: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (melanoma - 1) / max(1, n - 1), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share, 1)

    def line(shares: Sequence[float]) -> list[tuple[float, float]]:
        return [(x(each), y(share)) for each, share in zip(at, shares, strict=True)]

    upper = line([upper_at_every_look(int(sums[each - 1]), each) for each in at])
    lower = line([lower_at_every_look(int(sums[each - 1]), each) for each in at])
    promise = own.promise.sensitivity.lower if own.promise else None
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "band": [*upper, *lower[::-1]],
        "line": line([float(sums[each - 1]) / each for each in at]),
        "last": (x(n), y(sums[-1] / n)),
        "promise": None if promise is None else y(promise),
        "promise_said": "" if promise is None else at_least(promise),
        "alarm": None if alarm is None else (x(alarm), y(sums[alarm - 1] / alarm)),
        "x": [(x(each), str(each)) for each in sorted({1, (n + 1) // 2, n})],
        "y": [(y(share), percent(share)) for share in (0, 0.25, 0.5, 0.75, 1)],
        "ends": (LEFT, WIDTH - RIGHT),
        "floor": HEIGHT - BOTTOM,
        "said": _said(own, found),
    }


def _said(own: OfVersion, found: Sequence[bool]) -> str:
    alarm = f" The alarm was raised after {own.alarm.melanomas}." if own.alarm else ""
    return (
        f"Of {plural(len(found), 'melanoma')}, {sum(found)} were found. The band holds the true "
        f"sensitivity at all looks: each edge with a probability of {percent(1 - ERROR)}.{alarm}"
    )
