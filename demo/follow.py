"""Watch a run until it ends: a live table on a terminal, plain lines elsewhere."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from demo.airflow_api import RETRAINING, Airflow, Task
from tasks.engine.run import Progress
from tasks.engine.store import Store
from tasks.errors import Momentary, NotFound
from tasks.pipeline import PIPELINE

ENDED = ("success", "failed")
TASKS = (*(step.name for step in PIPELINE), "report")
WAYS = {"success": "green", "running": "cyan", "failed": "red", "upstream_failed": "red"}
SECONDS_BETWEEN_LOOKS = 1.0
LOOKS_WITHOUT_ANSWER = 20


@dataclass(frozen=True)
class Look:
    """A run at one moment: its state, its tasks, and the progress of each running step."""

    state: str
    tasks: dict[str, Task]
    progress: dict[str, Progress]

    @property
    def names(self) -> list[str]:
        """The tasks in the order of the table of steps, the parts of each step before the step. A
        waiting part has only a number, no name yet, and is left out."""
        named = sorted(name for name in self.tasks if not name.rpartition("/")[2].isdecimal())
        parts = {step: [name for name in named if name.startswith(f"{step}/")] for step in TASKS}
        return [name for step in TASKS for name in (*parts[step], step)]


def follow(airflow: Airflow, store: Store, run_id: str, name: str, console: Console) -> Look:
    """Show a run until it has ended; returns its last state.

    Args:
        airflow: The Airflow of the run.
        store: The store to which steps write their progress.
        run_id: Airflow's id of the run.
        name: The run's name in the store.
        console: Where to show it.

    Raises:
        Momentary: Airflow stopped answering.
    """
    looks = _looks(airflow, store, run_id, name)
    return _live(looks, console) if console.is_terminal else _lines(looks, console)


def _live(looks: Iterator[Look], console: Console) -> Look:
    with Live(console=console, refresh_per_second=4) as live:
        for look in looks:
            live.update(_table(look))
    return look


def _lines(looks: Iterator[Look], console: Console) -> Look:
    said: dict[str, str | None] = {}
    for look in looks:
        for name in look.names:
            task = look.tasks.get(name)
            state = task.state if task else None
            if task and state in (*WAYS, "skipped", "up_for_retry") and said.get(name) != state:
                said[name] = state
                seconds = f" after {task.seconds:.1f} s" if state != "running" else ""
                console.print(f"{name}: {state}{seconds if task.seconds else ''}")
            progress = look.progress.get(name)
            if progress and said.get(f"{name}'s progress") != progress.text:
                said[f"{name}'s progress"] = progress.text
                console.print(f"{name}: {progress.text}", soft_wrap=True)
    return look


def _looks(airflow: Airflow, store: Store, run_id: str, name: str) -> Iterator[Look]:
    unanswered = 0
    while True:
        try:
            state = airflow.state(RETRAINING, run_id)
            tasks = airflow.tasks(RETRAINING, run_id)
            unanswered = 0
        except Momentary:
            # A busy server may be late once; a dead one stays silent.
            unanswered += 1
            if unanswered > LOOKS_WITHOUT_ANSWER:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        running = [task for task in tasks.values() if task.state == "running"]
        found = {task.name: _progress(store, name, task.name) for task in running}
        yield Look(state, tasks, {step: progress for step, progress in found.items() if progress})
        if state in ENDED:
            return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _progress(store: Store, run: str, step: str) -> Progress | None:
    try:
        return Progress(**json.loads(store.read(f"runs/{run}/{step}/progress.json")))
    except (NotFound, Momentary, ValueError, TypeError):
        return None


def _table(look: Look) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("step", "state", "seconds", "", ""):
        table.add_column(title, justify="right" if title == "seconds" else "left")
    for name in look.names:
        task = look.tasks.get(name)
        state = (task.state if task else None) or "waiting"
        progress = look.progress.get(name)
        table.add_row(
            name,
            f"[{WAYS.get(state, 'dim')}]{state.replace('_', ' ')}[/]",
            f"{task.seconds:.1f}" if task and task.seconds else "",
            ProgressBar(progress.total, progress.done, width=24) if progress else "",
            progress.text if progress else "",
        )
    return table
