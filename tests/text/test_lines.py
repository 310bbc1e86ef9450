"""lines: no text of others begins a line of ours, steers a terminal or turns a line round."""

import io
import logging
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tasks.engine.quiet import OneLine
from tasks.errors import BadInput, Halt, Momentary
from tasks.terminal import progress_bars
from tasks.text.lines import visible

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
texts = st.text(st.characters(exclude_categories=()) | st.sampled_from("\n\r\x1b\u202e\u2028\x85"))


def format_(message: str, *args: object) -> str:
    record = logging.LogRecord("tasks", logging.WARNING, __file__, 1, message, args, None)
    return OneLine("%(levelname)s %(message)s").format(record)


@given(texts)
def test_text_made_visible_is_one_line_of_what_can_be_seen(text: str) -> None:
    shown = visible(text)

    assert not [each for each in shown if unicodedata.category(each) in UNSEEN]
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs"))))
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(texts, texts)
def test_a_message_of_the_log_is_one_line(name: str, other: str) -> None:
    for said in (
        format_("Ignored %s: %d files", name, 3),
        format_(f"Ignored {name}".replace("%", "")),
        format_("%s", ValueError(name)),
        format_("%s and %s", Momentary(name), other),
    ):
        assert len(said.splitlines()) == 1
        assert said.startswith("WARNING ")
        assert "\x1b" not in said


def test_our_own_errors_are_told_in_a_line_of_the_log_and_others_are_visible() -> None:
    error = BadInput("It is wrong.", expected="a", received="b\nc", do="d")

    assert format_("Refused: %s", error) == (
        "WARNING Refused: It is wrong. Expected: a Received: b\\nc Do: d"
    )
    assert format_("Refused: %s", ValueError("a\nb")) == "WARNING Refused: a\\nb"
    assert format_("%d of %d", 1, 2) == "WARNING 1 of 2"


def test_a_traceback_still_stands_below_its_message() -> None:
    try:
        raise ValueError("a bug")
    except ValueError:
        record = logging.LogRecord("t", logging.ERROR, __file__, 1, "it", (), sys.exc_info())
    assert OneLine("%(message)s").format(record).splitlines()[0] == "it"
    assert "ValueError: a bug" in OneLine("%(message)s").format(record)


@given(texts, texts, texts, texts)
def test_an_error_has_its_own_four_lines_whatever_it_tells(
    problem: str, expected: str, received: str, do: str
) -> None:
    error = BadInput(problem, expected=expected, received=received, do=do)
    lines = str(error).split("\n")

    for part in (error.problem, error.expected, error.received, error.do):
        assert part == visible(part)
    assert len(lines) == 4
    for line, beginning in zip(
        lines[1:], ("  Expected: ", "  Received: ", "  Do:       "), strict=True
    ):
        assert line.startswith(beginning)
        assert len(line.splitlines()) == 1


@pytest.mark.parametrize("kind", [Momentary, Halt])
@given(name=texts)
def test_any_other_error_is_one_line(kind: type[Momentary | Halt], name: str) -> None:
    assert len(str(kind(f"It failed at {name}")).splitlines()) == 1


def test_the_lines_of_a_log_stay_lines_below_an_error() -> None:
    assert str(Momentary("It ended.", log="one\ntwo\x1b[2J")) == "It ended.\none\ntwo\\x1b[2J"


def test_no_name_steers_a_terminal() -> None:
    """There a handler of another library writes the lines, above the bars of progress."""
    written = io.StringIO()
    before = logging.getLogger().handlers
    try:
        with progress_bars(Console(file=written, force_terminal=True, width=200)):
            logging.getLogger("tasks.test").warning("Ignored %s.", "a\nERROR passed\x1b[2J\x1b]0;x")
    finally:
        logging.getLogger().handlers = before

    assert "Ignored a\\nERROR passed\\x1b[2J\\x1b]0;x." in re.sub(
        r"\x1b\[[\d;]*m", "", written.getvalue()
    )
    assert "\x1b[2J" not in written.getvalue()
    assert "\x1b]0" not in written.getvalue()
