"""Text of others in Markdown: shown as it is, never obeyed.

Names and tables of a delivery stand on Airflow's page of approval (CommonMark with GitHub's
extensions) and, as the model card, on MLflow's (showdown). Neither may draw a picture, make a link
or a heading, or end a cell of a table because a name says so.
"""

import re

from tasks.text.lines import visible

# Both pages look for addresses in the finished text too, where escapes are gone. Only a sign inside
# the address stops them: this one has no width and allows no line break.
WORD_JOINER = "\u2060"
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


def plain(text: str) -> str:
    r"""Text of others, to be put anywhere into a line of Markdown.

    >>> plain("![x](//evil.example) *a* | ISIC_0024306")
    '!\\[x\\](/\u2060/evil\\.example) \\*a\\* &#124; ISIC_0024306'
    """
    text = visible(re.sub(r"\s+", " ", text))
    text = re.sub(r"[\\`*\[\]#~]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])", r"\\\g<0>", text)
    text = re.sub(r"[&<>|]", lambda found: ENTITIES[found[0]], text)
    # What makes a list, a rule or a heading if it begins a line.
    text = re.sub(r"^( ?)([-+=])|^( ?\d{1,9})([.)])(?= |$)", r"\1\3\\\2\4", text)
    text = re.sub(r"\.(?=[^\W\d_])", r"\\.", text)  # evil.example, without http://
    text = re.sub(r"/(?=/)|www(?=\\?\.)|@", rf"\g<0>{WORD_JOINER}", text, flags=re.I)
    return text.replace("@", "&#64;")


def code(text: str) -> str:
    """Text of others as code, to be copied from a page; not inside a table."""
    text = visible(re.sub(r"\s+", " ", text))
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in text or not text.strip() else ""
    return f"{fence}{pad}{text or ' '}{pad}{fence}"
