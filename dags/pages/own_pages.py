"""The pages that the server writes itself: what a run has, its evidence, and why a page is absent.

Names and messages come from the store and from addresses, so all of them are escaped.
"""

import shlex
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

import tasks
from dags.pages.contents import EVIDENCE, Folder
from dags.pages.links import (
    ANSWERS,
    DATA_DOCS,
    MODEL_CARD,
    PACKED_EVIDENCE,
    QUARANTINE,
    REPORT,
    RETRAINING,
    link,
)

# What a run has: the page, its name, what it is, and the task that writes it.
PAGES = (
    (REPORT, "Report", "All that was found about the data and the model.", "report"),
    (QUARANTINE, "Quarantined images", "Each file that no model learned from, and why.", "report"),
    (DATA_DOCS, "Data Docs", "What Great Expectations checked in the data.", "validate"),
    (MODEL_CARD, "Model card", "What the model is for, and what it cannot do.", "register"),
    (EVIDENCE, "Evidence", "The sealed files on which a decision rests.", "register"),
    (ANSWERS, "Answers", "Who decided what about the model, and why.", "register"),
)


@cache
def _style() -> str:
    return (Path(tasks.__file__).parent / "reporting/pages/style.css").read_text()


def page(title: str, body: str) -> str:
    """A page of HTML around a body of HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{_style()}</style></head><body>"
        f'<header class="top"><h1>{escape(title)}</h1></header><main>{body}</main></body></html>\n'
    )


def list_of_pages(folder: Folder, present: Mapping[str, object]) -> str:
    """The page of what a run has.

    Args:
        present: The paths inside the folder of the run.
    """
    rows = ""
    for file, name, what, task in PAGES:
        there = {
            DATA_DOCS: "validate/record.json",
            EVIDENCE: f"{EVIDENCE}manifest.json",
            ANSWERS: "register/record.json",
        }.get(file, file)
        head = escape(name)
        if there in present:
            head = f'<a href="{escape(link(folder.name, file))}">{head}</a>'
        else:
            what = f"{what} Not there yet. {_written_by(task)}"
        rows += f"<tr><th>{head}</th><td>{escape(what)}</td></tr>"
    return page(
        f"Run {folder.name}", f'<table class="stack"><tbody>{rows}</tbody></table>{_place(folder)}'
    )


def list_of_evidence(folder: Folder, sizes: Mapping[str, int], manifest_sha256: str) -> str:
    """The page of the evidence of a run.

    Args:
        sizes: Length in bytes of each file, by its path inside the bundle.
    """
    name = f"evidence-{folder.name}"
    verify = shlex.join(["python", "-m", "tasks", "verify", "--evidence", name])
    rows = "".join(
        f'<tr><td class="fixed"><a href="{escape(link(folder.name, EVIDENCE + path))}">'
        f"{escape(path)}</a></td>"
        f'<td class="n">{_size(size)}</td></tr>'
        for path, size in sizes.items()
    )
    zipped = escape(link(folder.name, PACKED_EVIDENCE))
    return page(
        f"Evidence of run {folder.name}",
        f'<nav><a href="{zipped}">Download all (zip)</a>'
        f'<a href="{escape(link(folder.name))}">All that this run has</a></nav>'
        f"<p>{len(sizes)} files. A file is shown only if it is the one that was sealed. To check "
        f'the whole, unpack the download and type:</p><p class="fixed">{escape(verify)}</p>'
        "<p>The SHA-256 of the manifest follows. A registered model has the same in MLflow, as the "
        "tag <b>evidence_sha256</b> of its version. If the two differ, the bundle was forged.</p>"
        f'<p class="fixed">{manifest_sha256}</p>'
        f"<table><tbody>{rows}</tbody></table>{_place(folder)}",
    )


def absent(folder: Folder, file: str) -> str:
    """The page that says why a page of a run is not there, and what to do."""
    known = _row_of(file)
    if known is None:
        title, what = "There is no such page", "The list of all that the run has shows its pages."
    else:
        title, what = f"{known[1]}: not there", _written_by(known[3])
    typed = ""
    if known and known[3] == "report":
        line = shlex.join(["python", "-m", "tasks", "report", "--run", folder.uri])
        typed = f'<p>To write it now, type:</p><p class="fixed">{escape(line)}</p>'
    return page(
        title,
        f"<p>{escape(what)}</p>{typed}"
        f'<p><a href="{escape(link(folder.name))}">All that this run has</a></p>{_place(folder)}',
    )


def no_run(folder: Folder) -> str:
    """The page that says that a run has left nothing in the store."""
    return page(
        "This run has no pages",
        f"<p>Only runs of {RETRAINING} have pages, from their first step on. A question "
        "about a model names the run that made the model, and links its pages.</p>"
        f"{_place(folder)}",
    )


def problem(title: str, lines: str) -> str:
    """The page of an error: a title, and lines of text."""
    told = "".join(f"<p>{escape(line)}</p>" for line in lines.splitlines() if line.strip())
    return page(title, told)


def _row_of(file: str) -> tuple[str, str, str, str] | None:
    """The row of PAGES that a path belongs to."""
    if file == DATA_DOCS or "/data_docs/" in file:
        file = DATA_DOCS
    elif (file != MODEL_CARD and file.startswith(("evidence/", "evidence."))) or file == "evidence":
        file = EVIDENCE
    return next((row for row in PAGES if row[0] == file), None)


def _written_by(task: str) -> str:
    return {
        "report": "The task report writes it, after the last step. A run that stopped earlier has "
        "none yet.",
        "validate": "The task validate writes it, once the data were checked.",
        "register": "The task register writes it, after the verdict and whatever the verdict.",
    }[task]


def _place(folder: Folder) -> str:
    return f'<footer>In the store: <span class="fixed">{escape(folder.uri)}</span></footer>'


def _size(size_bytes: int) -> str:
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.1f} kB"
    return f"{size_bytes / 1e6:.1f} MB"
