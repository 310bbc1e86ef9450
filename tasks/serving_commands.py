"""The commands that answer with the model in use: the web app, and a table of a folder."""

import logging
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasks.engine.storage import open_store
from tasks.options import PANEL, StoreUri

Megapixels = Annotated[
    int, typer.Option(min=1, max=500, help="Larger images are not decoded.", show_default=True)
]


def serve_command(
    store: StoreUri,
    registry: Annotated[
        str | None, typer.Option(help="Address of MLflow. Default: MLFLOW_TRACKING_URI.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8200,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", help="A name under which browsers may ask for the app. May be repeated."
        ),
    ] = None,
    users: Annotated[
        Path | None, typer.Option(help="A file with a line name:password for each user.")
    ] = None,
    person_header: Annotated[
        str, typer.Option(help="Header in which a trusted proxy names the user.")
    ] = "",
    proxy: Annotated[
        list[str] | None, typer.Option("--proxy", help="Address of the proxy. May be repeated.")
    ] = None,
    reviewer: Annotated[
        list[str] | None,
        typer.Option(
            "--reviewer",
            help="A user who is shown the challenger, and releases feedback. Repeatable.",
        ),
    ] = None,
    root_path: Annotated[str, typer.Option(help="Sub-path behind a proxy: /melanoma.")] = "",
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at the ledger.")
    ] = 10.0,
    prevalence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of melanomas among the lesions of this clinic."),
    ] = None,
    each_minute: Annotated[
        int, typer.Option(min=1, help="Most requests of one user a minute.")
    ] = 240,
    megapixels: Megapixels = 64,
    feedback: Annotated[
        bool,
        typer.Option(
            "--feedback", help="Keep images where the patient has agreed, for a later diagnosis."
        ),
    ] = False,
) -> None:
    """Answer clinicians with the model in use: a page and an API, which follow the champion.

    The app looks at the ledger of promotions and at MLflow's alias. Where both name the same
    version, the app loads that version, checks files and answers, and switches without a restart.
    Else the last good version stays in use, and the app says so. Images are not kept,
    unless --feedback is given and the patient has agreed.
    """
    _quiet_threads()
    from tasks.serving.serve import serve
    from tasks.serving.settings import Settings, users_in
    from tasks.serving.website import add_page

    if registry:
        os.environ["MLFLOW_TRACKING_URI"] = registry
    settings = Settings(
        host=host,
        port=port,
        hosts=tuple(name or ()),
        users=users_in(users) if users else {},
        person_header=person_header,
        proxies=tuple(proxy or ()),
        reviewers=tuple(reviewer or ()),
        root_path=root_path.rstrip("/"),
        seconds=every,
        prevalence=prevalence,
        megapixels=megapixels,
        each_minute=each_minute,
        feedback=feedback,
    )
    serve(open_store(store), settings, add_page)


def predict_command(
    folder: Annotated[Path, typer.Argument(help="A folder of images, at any depth.")],
    store: StoreUri,
    output: Annotated[Path, typer.Option(help="A new CSV.")],
    megapixels: Megapixels = 64,
) -> None:
    """Ask the model in use about each image of a folder, and write the answers as a table."""
    _quiet_threads()
    from tasks.serving.predict import predict

    columns = (TextColumn("answered"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("answered", total=None)
        counts = predict(
            open_store(store),
            folder,
            output,
            megapixels=megapixels,
            watch=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    told = ", ".join(f"{name} {n}" for name, n in counts.items())
    logging.getLogger("tasks").info("%s: %s.", output, told)


def _quiet_threads() -> None:
    """Keep NumPy's libraries from starting threads that wait beside those that answer. They decide
    when they are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("serve", rich_help_panel=PANEL)(serve_command)
    app.command("predict", rich_help_panel=PANEL)(predict_command)
