"""The page of what people answered about the model of a run, and whether each answer counts.

Airflow shows a question again as it was first put, and says nowhere beside it why an answer did not
count. This page does. No page runs a script, so times are UTC and say so.
"""

from datetime import datetime
from html import escape

from dags.pages.contents import Folder
from dags.pages.links import link
from dags.pages.own_pages import page
from tasks.engine.run import read_record
from tasks.records.registered import Registered
from tasks.registry.promotions import (
    Answer,
    Closing,
    Promotion,
    Promotions,
    Question,
    State,
    promotions_in,
)
from tasks.release.ledger_words import rows

STATES: dict[State, str] = {
    "open": "Open: a person must answer.",
    "approved": "Approved. The checks before the promotion come next.",
    "rejected": "Rejected.",
    "closed": "Closed: it needs no answer any more.",
    "promoted": "The model went into use.",
}


def answers(folder: Folder) -> str:
    """The page, in HTML.

    Raises:
        Corrupt: The ledger of promotions is damaged.
        Momentary: The store does not answer.
    """
    now = promotions_in(folder.store)
    registered = read_record(folder.store, folder.name, "register")
    model = registered.model_sha256 if isinstance(registered, Registered) else ""
    # A challenger that was compared anew is asked about under the run of the comparison.
    about = [each for each in now.questions if each.model.model_sha256 == model]
    told = "".join(_question(each, now) for each in reversed(about))
    return page(
        f"Answers about the model of run {folder.name}",
        (told or "<p>Nobody was asked about the model of this run.</p>")
        + f'<p><a href="{escape(link(folder.name))}">All that this run has</a></p>',
    )


def _question(question: Question, now: Promotions) -> str:
    """A question, its state, and the entries of the ledger about it, the last one last."""
    lines = "".join(
        f'<tr><td style="white-space:nowrap">{_utc(at)}</td>'
        f"<td>{escape(what)}</td><td>{escape(why)}</td></tr>"
        for fact, (_, at, what, why) in zip(now.facts, rows(now), strict=True)
        if fact == question
        or (isinstance(fact, Answer | Closing | Promotion) and fact.question == question.id)
    )
    return (
        f"<h2>{escape(question.subject or question.id)}</h2>"
        f"<p><b>{STATES[now.state(question)]}</b></p>"
        '<table class="stack"><thead><tr><th>when</th><th>what</th><th>why</th></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def _utc(at: str) -> str:
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"
