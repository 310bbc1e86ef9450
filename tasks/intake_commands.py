"""The commands about deliveries: inspect, deliver, withdraw."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.engine.person import person_here
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.figures import plural
from tasks.options import AsJson, StoreUri
from tasks.text.lines import visible

if TYPE_CHECKING:
    from tasks.intake.inspect import Inspection

BESIDE = "Beside the pipeline"
MOST = 20  # rows of a list on the terminal
Images = Annotated[Path, typer.Option(help="Folder with class folders.")]
Metadata = Annotated[Path | None, typer.Option(help="Folder with tables.")]
ReadingFile = Annotated[
    Path | None, typer.Option("--reading", help="A reading.yaml that lies elsewhere.")
]
AcceptUnread = Annotated[
    bool, typer.Option("--accept-unread", help="Go on without what is not understood.")
]


def inspect_command(
    images: Images,
    metadata: Metadata = None,
    reading: ReadingFile = None,
    write: Annotated[bool, typer.Option("--write", help="Draft a reading.yaml there.")] = False,
    accept_unread: AcceptUnread = False,
    as_json: AsJson = False,
) -> None:
    """Say what the folders and tables of a delivery mean. Nothing is copied."""
    from tasks.intake import inspect
    from tasks.intake.guide import NAME

    told = inspect.inspected_folders(images, metadata, reading)
    if as_json:
        print(inspect.as_json(told))
    else:
        _show(told)
    if write:
        to = (metadata or images) / NAME
        _write(to, inspect.draft(told))
        logging.getLogger("tasks").info("Drafted %s. Correct each line of it.", to)
    if not accept_unread:
        told.check()


def _write(to: Path, text: str) -> None:
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(
            "The draft cannot be written.",
            expected="a folder that may be written, without such a file",
            received=f"{error.strerror}: {str(to)!a}",
            do="move the file that is there, or copy the delivery to a folder of your own",
        ) from error


def _show(told: "Inspection") -> None:
    console = Console()
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("folder", "images", "means"):
        grid.add_column(column)
    for name, (count, meaning) in list(told.folders.items())[:MOST]:
        grid.add_row(escape(visible(name)), str(count), escape(meaning))
    console.print(grid)
    if len(told.folders) > MOST:
        console.print(f"and {len(told.folders) - MOST} more folders")
    for each in told.joined.tables:
        console.print(
            f"\n[b]{escape(visible(each.key))}[/]: {each.rows} rows, "
            f"{each.matched} of delivered images"
        )
        held: dict[str, list[str]] = {}
        for name, of in each.columns.items():
            held.setdefault(of or "kept unchanged", []).append(name)
        taken = "; ".join(f"{of}: {', '.join(names)}" for of, names in held.items())
        console.print(escape(visible(f"  {taken}")))
    console.print()
    for sentence in told.in_short:
        console.print(escape(visible(sentence)))


def deliver_command(
    store: StoreUri,
    images: Annotated[Path | None, typer.Option(help="Folder with class folders.")] = None,
    metadata: Metadata = None,
    reading: ReadingFile = None,
    accept_unread: AcceptUnread = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Files of other content take the place of those of their name, which are "
            "withdrawn.",
        ),
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Files that were withdrawn come back.")
    ] = False,
    external: Annotated[
        str | None,
        typer.Option(
            "--external",
            help="Name of an external set: models are judged on its images, and never learn from "
            "them.",
        ),
    ] = None,
) -> None:
    """Copy images and tables, unchanged, into raw/ of a store, or into an external set."""
    from tasks.intake.deliver import deliver

    deliver(
        open_store(store),
        images,
        metadata,
        reading=reading,
        accept_unread=accept_unread,
        replace=replace,
        restore=restore,
        external=external,
    )


def withdraw_command(
    store: StoreUri,
    reason: Annotated[str, typer.Option(help="Why, such as a consent that was withdrawn.")],
    delivery: Annotated[
        str | None, typer.Option(help="All files of a delivery: its folder under raw/.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(help="A file, by its key under raw/. Several: again."),
    ] = None,
) -> None:
    """Withdraw delivered files: runs that begin later leave them out. Their bytes stay."""
    from tasks.engine.withdrawals import withdraw

    opened = open_store(store)
    fresh, before = withdraw(
        opened, person_here(), reason, delivery=delivery, files=list(file or ())
    )
    log = logging.getLogger("tasks")
    if before:
        log.info("%s withdrawn already, such as %s.", plural(len(before), "file"), before[0])
    if fresh:
        log.info(
            "%s withdrawn, such as %s. Runs that begin later leave them out.",
            plural(len(fresh), "file"),
            fresh[0],
        )


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("inspect", rich_help_panel=BESIDE)(inspect_command)
    app.command("deliver", rich_help_panel=BESIDE)(deliver_command)
    app.command("withdraw", rich_help_panel=BESIDE)(withdraw_command)
