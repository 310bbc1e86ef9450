"""The progress of a command in a terminal, and its summary at the end."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from tasks.engine.quiet import OneLine
from tasks.engine.run import Progress, Run
from tasks.pipeline import Step


@contextmanager
def progress_bars(console: Console) -> Iterator[Bars]:
    """Bars of progress on a terminal; nothing elsewhere."""
    columns = (
        TextColumn("{task.fields[step]:<14}"),
        BarColumn(30),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    if console.is_terminal:  # so that lines of the log stand above the bars
        handler = RichHandler(console=console, show_path=False)
        handler.setFormatter(OneLine("%(message)s"))
        logging.getLogger().handlers = [handler]
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


def watcher(bars: Bars, step: Step) -> Callable[[Progress], None]:
    """A function that shows the progress of a step in a new bar."""
    row = bars.add_task("", step=step.name, total=None)
    return lambda now: bars.update(row, completed=now.done, total=now.total, description=now.text)


def summary(run: Run, states: dict[str, str]) -> dict[str, Any]:
    """Summary for a program: state and record of each step, and the address of the report."""
    records = {name: run.record(name) for name in states}
    return {
        "run": run.uri,
        "report": f"{run.uri}/report.html",
        "states": states,
        "seconds": {
            name: record.provenance.seconds_in_all
            for name, record in records.items()
            if record and record.provenance
        },
        "records": {
            name: record.model_dump(mode="json") if record else None
            for name, record in records.items()
        },
    }


def closing_table(run: Run, states: dict[str, str]) -> Table:
    table = Table(title=f"Run {run.name}", caption=f"report: {run.uri}/report.html")
    for heading in ("step", "seconds", "state"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for name, state in states.items():
        record = run.record(name)
        seconds = record.provenance.seconds_in_all if record and record.provenance else None
        table.add_row(name, "" if seconds is None else f"{seconds:.1f}", state)
    return table
