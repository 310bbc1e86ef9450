"""Escape text of a delivery in Markdown, so that it is shown literally.

Names and tables of a delivery appear on Airflow's approval page (CommonMark with GitHub's
extensions) and, in the model card, on MLflow's page (showdown). A name must not make a picture, a
link or a heading there, or end a cell of a table.
"""

import re

from tasks.text.lines import visible

# Both pages also look for addresses in the finished text, after escapes are removed. Only a
# character inside the address prevents a link: this one has no width and allows no line break.
WORD_JOINER = "\u2060"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


def plain(text: str) -> str:
    r"""Text of a delivery, escaped for any place in a line of Markdown.

    >>> plain("![x](//evil.example) *a* | ISIC_0024306")
    '!\\[x\\](/\u2060/evil\\.example) \\*a\\* &#124; ISIC_0024306'
    """
    text = visible(re.sub(r"\s+", " ", text))
    text = re.sub(r"[\\`*\[\]#~]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])", r"\\\g<0>", text)
    text = re.sub(r"[&<>|]", lambda found: ENTITIES[found[0]], text)
    # Characters that make a list, a rule or a heading at the beginning of a line.
    text = re.sub(r"^( ?)([-+=])|^( ?\d{1,9})([.)])(?= |$)", r"\1\3\\\2\4", text)
    text = re.sub(r"\.(?=[^\W\d_])", r"\\.", text)  # evil.example, without http://
    text = re.sub(r"/(?=/)|www(?=\\?\.)|@", rf"\g<0>{WORD_JOINER}", text, flags=re.I)
    return text.replace("@", "&#64;")


def code(text: str) -> str:
    """Text of a delivery as code, to copy from a page; not for use inside a table."""
    text = visible(re.sub(r"\s+", " ", text))
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in text or not text.strip() else ""
    return f"{fence}{pad}{text or ' '}{pad}{fence}"
