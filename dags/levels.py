"""Log each line that a step prints to Airflow, at the line's own level."""

import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Lines of `tasks` begin with a level. A library's "WARNING:tensorflow:" or "W0000" does not count.
OURS = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) ")


def relay(lines: Iterable[str], log: Any) -> str:
    """Log each line at its own level, without the word for the level; returns the last line.

    A line that begins with a blank has the level of the line before: "  Received: ..." belongs to
    an error. Any other line without a level, such as a library's, is INFO.

    Args:
        lines: Without their ends.
        log: A task's logger.
    """
    level, text = logging.INFO, ""
    for line in lines:
        text = line.rstrip()
        if found := OURS.match(text):
            level, text = logging.getLevelNamesMapping()[found[1]], text[found.end() :]
        elif not line.startswith(" "):
            level = logging.INFO
        log.log(level, "%s", text)
    return text.strip()


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of an output that arrives in pieces.

    Only a line feed ends a line: a carriage return in a name must not begin one.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="backslashreplace") for line in whole)
    if rest:
        yield rest.decode(errors="backslashreplace")
