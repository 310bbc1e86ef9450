"""Rewrite the pages of Great Expectations, so that they can be read offline and fetch nothing.

The pages of the library fetch style sheets, scripts and a logo from other servers, and show little
without them. The address of the logo even holds an id of the context.
"""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("data_docs.css")
# With this policy a browser fetches nothing and runs no script, whatever the page contains.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
# Scripts, style sheets, the logo, the advertising footers and the explanatory dialogue.
FETCHED = r"<script\b.*?</script\s*>|<style\b.*?</style\s*>|<link\b[^>]*>|<img\b[^>]*>"
ADVERTISED = r"<footer\b.*?</footer\s*>|<!--.*?-->"
OUTSIDE = (
    r"\s(?:href|src|action|srcset)\s*=\s*"
    r"""(?:"\s*(?:https?:)?//[^"]*"|'\s*(?:https?:)?//[^']*')"""
)


def self_contained(page: str) -> str:
    """A page of the library with our style inside, and without anything that it would fetch."""
    page = re.sub(f"{FETCHED}|{ADVERTISED}", "", page, flags=re.DOTALL | re.IGNORECASE)
    page = re.sub(OUTSIDE, "", page, flags=re.IGNORECASE)
    return re.sub(r"<head\b[^>]*>", lambda head: head[0] + _head(), page, count=1)


def index_of(suites: Mapping[str, tuple[int, int]], pages: list[str]) -> str:
    """The index page. It replaces the library's index, which a script from outside would fill.

    Args:
        suites: For each suite, the number of expectations that held, and of all expectations.
        pages: Paths of the other pages, relative to this one.
    """
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{met} of {all_of_them} expectations hold</td>"
        f"<td>{_links(name, pages)}</td></tr>"
        for name, (met, all_of_them) in suites.items()
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{_head()}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Data Docs</title></head><body><main><h1>Data Docs</h1><p>What Great Expectations "
        "checked. <b>manifest</b> holds one row per file, <b>laws</b> one column per law of the "
        "audit with how many break it.</p>"
        f'<table class="table"><tbody>{rows}</tbody></table></main></body></html>\n'
    )


def _head() -> str:
    return f"{POLICY}<style>{STYLE.read_text()}</style>"


def _links(suite: str, pages: list[str]) -> str:
    found = [page for page in pages if suite in page.removesuffix(".html").split("/")]
    words = {"validations": "results", "expectations": "what is expected"}
    return " · ".join(
        f'<a href="{escape(page)}">{words.get(page.split("/")[0], "page")}</a>'
        for page in sorted(found, reverse=True)
    )
