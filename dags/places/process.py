"""Run a command as a process on Airflow's own machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg

from dags import signing
from dags.command_line import command_line
from dags.exit_codes import raise_for
from dags.levels import lines_of, relay
from dags.person import variable
from dags.places.mapping import SECONDS_TO_END, Operator, one_or_mapped


def task_of(command: str, *options: str, parts: XComArg | None = None, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` as a process on Airflow's own machine.

    Args:
        command: A step or another command of ``python -m tasks``; also the name of the task.
        options: The rest of the argv, each a Jinja template.
        parts: Names of parts, known only when the DAG runs. Each part gets a task, with ``--part
            NAME`` at the end of its argv. The mapped task is named after the command, with
            ``_part``.
        settings: Further settings of an Airflow task.
    """
    python = os.environ.get("MELANOMA_PYTHON", sys.executable)
    settings |= {"argv": [python, "-m", "tasks", command, *options], "step": command}
    return one_or_mapped(Process, command, "argv", parts, settings)


class Process(BaseOperator):
    """Runs an argv without a shell; its output becomes the task's log.

    The exit code decides: 0 success, 99 skipped, 64 failed without a retry, anything else failed.
    Assets in the task's outlets carry the run's address in the ``extra`` of their event.

    Args:
        argv: The command to run, each word a Jinja template.
        step: Name of the step or command, by which it gets its key, see `dags.signing`.
        part: The part that a mapped task does, for the templates of its argv.

    Attributes:
        command_line: Line that repeats the task by hand, once the templates are rendered.
    """

    # What Airflow shows. What runs is the argv, without a shell.
    template_fields: Sequence[str] = ("command_line",)

    def __init__(
        self, *, argv: Sequence[str], step: str = "", part: str = "", **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.argv, self.step, self.part, self.command_line = argv, step, part, ""
        self._process: subprocess.Popen[bytes] | None = None

    # Airflow's own hook for rendering, which mapped tasks use too.
    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: Any
    ) -> None:
        super()._do_render_template_fields(parent, ("argv",), context, jinja_env, seen_oids)
        self.command_line = command_line(self.argv)

    def execute(self, context: Context) -> None:
        # The process stays in the process group that Airflow makes for each task. Airflow signals
        # the whole group, so even a task that is killed with SIGKILL leaves nothing behind.
        fixed = {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        with signing.for_a_process(self.step) as keys:
            self._process = subprocess.Popen(
                self.argv,
                env=os.environ | variable(context) | keys | fixed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            last_line = relay(lines_of(self._process.stdout or ()), self.log)
            exit_code = self._process.wait()
        raise_for(exit_code, last_line)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"run": self._option("--run")}

    def on_kill(self) -> None:
        """End the process and all that it started. Airflow calls this when it stops a task."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        self.log.info("Airflow stops this task: ending process %d.", process.pid)
        if os.getpgrp() == os.getpid():  # the group is this task's own
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)
        else:
            process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()

    def _option(self, name: str) -> str:
        return self.argv[list(self.argv).index(name) + 1]
