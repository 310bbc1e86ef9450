"""The commands that take something out of a store: erase, prune."""

from typing import Annotated

import typer

from tasks.engine.erasures import Asked
from tasks.engine.person import person_here
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.options import AsJson, Reason, StoreUri
from tasks.text.lines import visible

BESIDE = "Beside the pipeline"


def erase_command(
    store: StoreUri,
    reason: Reason,
    image: Annotated[
        str | None, typer.Option(help="Id of an image, as it stands in the manifest.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(help="Id of a patient, as it stands in the manifest or in a DICOM."),
    ] = None,
    stop_runs: Annotated[
        bool, typer.Option("--stop-runs", help="Let unfinished runs that hold it end here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Erase an image, or all images of a patient, from a store and from MLflow, for good.

    The ledger of erasures keeps your name and reason. Evidence still verifies, with a recorded gap.
    A command that was killed is completed by the same command.
    """
    from tasks.erasure import erase as erasing

    if (image is None) == (patient is None):
        raise BadInput(
            "It is not clear what to erase.",
            expected="--image ID or --patient ID",
            received="both" if image is not None else "neither",
            do="name one of them",
        )
    asked: Asked = "image" if image is not None else "patient"
    name = image if image is not None else patient
    outcome = erasing.erase(
        open_store(store), asked, name or "", person_here(), reason, stop_runs=stop_runs
    )
    if as_json:
        print(erasing.as_json(outcome))
        return
    for line in erasing.in_words(outcome, asked):
        print(visible(line))


def prune_command(
    store: StoreUri,
    days: Annotated[
        float, typer.Option(min=1, help="Keep every run that is younger than so many days.")
    ] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Default: only say what.")] = False,
) -> None:
    """Say what nothing needs any more, and why each kept run is kept; with --yes, remove it.

    Needed are the champion, earlier champions, open questions, the standing challenger, unfinished
    runs, and the last runs. Ledgers, deliveries, records and evidence always stay.
    """
    from tasks.erasure.prune import in_words, planned, prune

    opened = open_store(store)
    plan = planned(opened, days)
    if yes:
        prune(opened, plan)
    for line in in_words(plan, done=yes):
        print(visible(line))


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("erase", rich_help_panel=BESIDE)(erase_command)
    app.command("prune", rich_help_panel=BESIDE)(prune_command)
