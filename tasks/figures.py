"""Format numbers for people, in the same way everywhere."""

import math


def percent(share: float | None, digits: int = 0) -> str:
    """A share in per cent; 99.6 % never becomes 100 %, and 0.4 % never becomes 0 %."""
    if share is None or not math.isfinite(share):
        return "not known"
    text = f"{100 * share:.{digits}f}"
    if float(text) not in (0, 100) or 100 * share == float(text):
        return f"{text}\u00a0%"
    if digits < 2:
        return percent(share, digits + 1)
    return "< 0.01\u00a0%" if share < 0.5 else "> 99.99\u00a0%"


def plural(count: int, noun: str) -> str:
    """A count with its noun, such as "1 lesion" or "2 lesions"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def at_least(share: float, digits: int = 0) -> str:
    """A lower bound in per cent, rounded down, so that it does not claim too much."""
    return f"{math.floor(100 * share * 10**digits + 1e-9) / 10**digits:.{digits}f}\u00a0%"


def at_most(share: float, digits: int = 0) -> str:
    """An upper bound in per cent, rounded up."""
    return f"{math.ceil(100 * share * 10**digits - 1e-9) / 10**digits:.{digits}f}\u00a0%"


def down(value: float, digits: int = 3) -> str:
    """A lower bound of a figure that is not a share, rounded down."""
    return f"{math.floor(value * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def up(value: float, digits: int = 3) -> str:
    """An upper bound of a figure that is not a share, rounded up."""
    return f"{math.ceil(value * 10**digits - 1e-9) / 10**digits:.{digits}f}"


def confident(confidence: float) -> str:
    """A confidence, rounded down, with enough digits to differ from 100 %: 95 %, 99.969 %."""
    error = 1 - confidence
    digits = max(0, -math.floor(math.log10(100 * error)) + 1) if 0 < error < 1 else 0
    text = f"{math.floor(100 * confidence * 10**digits + 1e-9) / 10**digits:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def listed(names: list[str], most: int = 10) -> str:
    """Names separated by commas, and the number of further names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def duration(seconds: float) -> str:
    if seconds < 0.05:
        return "< 0.1\u00a0s"
    if seconds < 100:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes}\u00a0min {rest:02d}\u00a0s" if minutes < 100 else f"{minutes / 60:.1f}\u00a0h"
    )
