"""Keep text in one line, whatever a file name or a table's cell contains."""

import unicodedata


def visible(text: str) -> str:
    r"""Text with every invisible character replaced by its Python escape.

    In a log, a line break would begin a new line, ESC would control the terminal, and direction
    marks would reorder a name. Blanks of every width stay. Visible characters stay, backslashes
    too, so applying the function twice changes nothing.

    >>> visible("a\nERROR gate passed\x1b[2J.jpg")
    'a\\nERROR gate passed\\x1b[2J.jpg'
    """
    return "".join(
        each
        if each.isprintable() or unicodedata.category(each) == "Zs"
        else each.encode("unicode_escape").decode()
        for each in text
    )
