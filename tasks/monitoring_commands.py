"""The commands that watch the app: drift, and outcomes."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.monitoring.watched import ENOUGH
from tasks.options import PANEL, AsJson, StoreUri
from tasks.records.record import Frozen
from tasks.text.lines import visible

PAGE, HISTORY = "monitoring/drift.html", "monitoring/history.html"
OUTCOMES = "monitoring/outcomes.html"
MOST_DAYS = 92


def drift_command(
    store: StoreUri,
    days: Annotated[
        int, typer.Option(min=1, max=MOST_DAYS, help="Look at the last so many days.")
    ] = 7,
    enough: Annotated[
        int,
        typer.Option(min=1, help="With so many new labelled lesions, a retraining is worth it."),
    ] = ENOUGH,
    starts_retraining: Annotated[
        bool,
        typer.Option(
            "--starts-retraining",
            help="Whoever calls starts a retraining if it is worth it: the ledger notes this.",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the page here too; a new file, page.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test whether the app is asked about other images or lesions than its model learned from.

    Three answers: drift, none, insufficient evidence. The ledger keeps each test. The store holds
    the pages monitoring/drift.html and monitoring/history.html. Drift promotes nothing.
    """
    from tasks.monitoring.history import history_in
    from tasks.monitoring.watch import watch
    from tasks.monitoring.watch_page import history_page, page
    from tasks.monitoring.watched import in_words

    _check_output(output)
    opened = open_store(store)
    found = watch(opened, days, enough=enough, starts=starts_retraining)
    history = history_in(opened)
    made = page(found.watched, found.asked, found.reference, history)
    opened.replace(PAGE, made.encode())
    opened.replace(HISTORY, history_page(history).encode())
    if output is not None:
        output.write_text(made)
    _tell(found.watched, in_words(found.watched), f"{opened.uri}/{PAGE}", as_json=as_json)


def outcomes_command(
    store: StoreUri,
    output: Annotated[
        Path | None, typer.Option(help="Write the page here too; a new file, page.html.")
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            help="Name of the request that tells people of an alarm, such as the DAG run: each "
            "alarm is told once."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Look whether the model in use keeps what it promised, by diagnoses that came later.

    Three answers: broken, kept so far, insufficient evidence. It counts the lesions that reviewers
    released. The ledger keeps each new result. The store holds the page monitoring/outcomes.html.
    An alarm promotes nothing.
    """
    from tasks.monitoring.follow_up import follow_up
    from tasks.monitoring.outcomes import in_words
    from tasks.monitoring.outcomes_page import page

    _check_output(output)
    opened = open_store(store)
    found = follow_up(opened, name)
    made = page(found)
    opened.replace(OUTCOMES, made.encode())
    if output is not None:
        output.write_text(made)
    _tell(found.outcomes, in_words(found.outcomes), f"{opened.uri}/{OUTCOMES}", as_json=as_json)


def _check_output(output: Path | None) -> None:
    if output is not None and (output.exists() or not output.parent.is_dir()):
        raise BadInput(
            "The page cannot be written.",
            expected="--output, a file that does not exist, in a folder that does",
            received=str(output),
            do="give another file",
        )


def _tell(found: Frozen, words: list[str], page: str, *, as_json: bool) -> None:
    if as_json:
        print(found.model_dump_json(indent=1))
        return
    for line in (*words, f"Page: {page}"):
        print(visible(line))


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("drift", rich_help_panel=PANEL)(drift_command)
    app.command("outcomes", rich_help_panel=PANEL)(outcomes_command)
