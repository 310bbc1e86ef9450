"""What this machine lacks: one reason, one line at the end, whatever number of tests needs it."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

from tests.support.paths import CASES, DATA


def lacking(thing: str, *, install: str) -> NoReturn:
    """End a test that needs what this machine lacks. Under CI, which installs it, the test fails.

    Args:
        thing: What is missing, as "no Docker engine answers".
        install: What would bring it.
    """
    reason = f"{thing}: {install}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need_root(purpose: str) -> None:
    """Skip a test that only root can do. CI may run as anybody."""
    if os.geteuid() != 0:
        pytest.skip(f"not root: run as root to {purpose}")


def need_public_sets(*names: str) -> None:
    """Skip a test of public images that are not ours to ship."""
    absent = [name for name in names if not (DATA / name).is_dir()]
    if absent:
        pytest.skip(f"public images are absent: put {', '.join(absent)} into ../shared/data")


def need_cases() -> None:
    """Skip a test of small inputs that went wrong before, which are not ours to ship."""
    if not CASES.is_dir():
        pytest.skip("small inputs that went wrong are absent: put them into ../shared/cases")


def lines_of(reasons: Iterable[str]) -> list[str]:
    """One line for each reason why tests were skipped, with their number; the commonest first."""
    counted = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    return [
        f"{count} skipped, {reason}"
        for reason, count in sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    ]
