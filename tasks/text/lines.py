"""One line of text that stays one line, whatever a file name or a table's cell holds."""

import unicodedata


def visible(text: str) -> str:
    r"""Text with every character that cannot be seen written as Python writes it.

    A line break would begin a line of its own in a log, ESC steers a terminal, and marks of
    direction show a name in another order. Blanks of every width stay. What is visible already is
    left as it is, a backslash too, so that doing it twice changes nothing.

    >>> visible("a\nERROR gate passed\x1b[2J.jpg")
    'a\\nERROR gate passed\\x1b[2J.jpg'
    """
    return "".join(
        each
        if each.isprintable() or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape").decode()
        for each in text
    )
