"""Where a command runs: one small function for each kind of place.

Every place runs the same argv, ``python -m tasks COMMAND --run ADDRESS ...``, and reads the same
exit codes (``tasks.errors``). The argv is a Jinja template; Airflow's "Rendered Templates" page
shows one line to type that repeats the task by hand. The templates need ``MACROS``, which a DAG
takes as ``user_defined_macros``.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.command_line import command_line
from dags.levels import lines_of, relay
from tasks.errors import BadInput, Halt
from tasks.pipeline import row_of

Operator = BaseOperator | MappedOperator

# The address of the run that a DAG run does, and its configuration, as options of a command.
RUN = ("--run", "{{ address(run_id) }}")
CONFIG = ("--config", "{{ params | tojson }}")
# The part that a mapped task does, as the operator's own attribute holds it.
PART = ("--part", "{{ task.part }}")

# A step that lost its orchestrator gets this long to end by itself before it is killed.
SECONDS_TO_END = 20


def address(run_id: str) -> str:
    """The address of the run that belongs to a DAG run.

    Args:
        run_id: Airflow's id of the DAG run. It holds ':' and '+', which a run's name may not.

    Returns:
        ``STORE/runs/NAME``, with the store of MELANOMA_STORE.

    Raises:
        AirflowFailException: MELANOMA_STORE is not set.
    """
    store = os.environ.get("MELANOMA_STORE", "").rstrip("/")
    if not store:
        raise AirflowFailException(
            "Airflow does not know the store.\n"
            "  Expected: MELANOMA_STORE=s3://bucket/prefix, or a directory, where tasks run\n"
            "  Received: no such variable in the environment\n"
            "  Do:       set it for Airflow's scheduler and workers, and start them again"
        )
    name = re.sub(r"[^A-Za-z0-9._-]", "-", run_id)[:200]
    return f"{store}/runs/{name if name[0].isalnum() else f'run{name}'[:200]}"


MACROS = {"address": address}


def runner() -> Callable[..., Operator]:
    """The function for the place that MELANOMA_RUNNER names: ``process``, its default, or
    ``docker``.

    Raises:
        BadInput: It names another.
    """
    places: dict[str, Callable[..., Operator]] = {"process": process, "docker": docker}
    name = os.environ.get("MELANOMA_RUNNER") or "process"
    if name not in places:
        raise BadInput(
            "There is no such place to run a step in.",
            expected=" or ".join(places),
            received=f"MELANOMA_RUNNER={name}",
            do="set it to one of these for Airflow's processes, and start them again",
        )
    return places[name]


def process(command: str, *options: str, parts: XComArg | None = None, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` as a process on Airflow's own machine.

    Args:
        command: A step or another command of ``python -m tasks``; also the name of the task.
        options: The rest of the argv, each a Jinja template.
        parts: Names of parts, which are known only when the DAG runs: a task for each, with
            ``--part NAME`` at the end of its argv. The mapped task's name is the command's and
            ``_part``.
        settings: Whatever else an Airflow task may have.
    """
    python = os.environ.get("MELANOMA_PYTHON", sys.executable)
    settings["argv"] = [python, "-m", "tasks", command, *options]
    return _task(Process, command, "argv", parts, settings)


def docker(command: str, *options: str, parts: XComArg | None = None, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` in a container on a Docker engine.

    Takes the same as `process`. The environment of Airflow's processes may hold

    - DOCKER_HOST: the engine; without it, the one of this machine
    - MELANOMA_IMAGES: name of the images, with ``{image}`` where ``data``, ``train`` or
      ``train-gpu`` goes
    - MELANOMA_REGISTRY_CONNECTION: id of an Airflow connection (host, login, password) to log in
      with where they must be pulled
    - MELANOMA_NETWORK: the engine's network from which the store and MLflow can be reached
    - MELANOMA_GPUS: how many GPUs a step gets whose machine is ``gpu``, ``all`` or a number; its
      image is ``train-gpu`` then, and of its parts one runs at a time
    - where credentials come from: see `dags.credentials`
    """
    # Airflow's Docker provider takes a second to import, which only those pay who use it.
    from dags.container import Container

    row = row_of(command)
    images = os.environ.get("MELANOMA_IMAGES") or "melanoma-retraining/{image}:latest"
    gpus = os.environ.get("MELANOMA_GPUS", "") if row.machine == "gpu" else ""
    settings |= {
        "image": images.replace("{image}", "train-gpu" if gpus else row.image),
        "command": [command, *options],
        "step": row.name,
        "memory_mb": row.memory_mb,
        "cores": row.cpus,
        "spools": row.spools,
        "gpus": gpus,
        # The engine gives each container the same GPUs, and JAX takes most of their memory.
        "max_active_tis_per_dag": 1 if gpus else None,
        "registry": os.environ.get("MELANOMA_REGISTRY_CONNECTION", ""),
        "network_mode": os.environ.get("MELANOMA_NETWORK") or "bridge",
    }
    return _task(Container, command, "command", parts, settings)


def _task(
    operator: type[BaseOperator],
    command: str,
    argv: str,
    parts: XComArg | None,
    settings: dict[str, Any],
) -> Operator:
    """A task of an operator, or one mapped over parts; `argv` names the setting that holds it."""
    if parts is None:
        return operator(task_id=command, **settings)
    settings[argv] = [*settings[argv], *PART]
    return operator.partial(
        task_id=f"{command}_part", map_index_template="{{ task.part }}", **settings
    ).expand(part=parts)


class Process(BaseOperator):
    """Runs an argv without a shell; its output becomes the task's log.

    The exit code decides: 0 success, 99 skipped, 64 failed without a retry, anything else failed.
    Assets in the task's outlets carry the run's address in the ``extra`` of their event.

    Args:
        argv: What to run, each a Jinja template.
        part: The part that a mapped task does, for the templates of its argv.

    Attributes:
        command_line: What to type to do the same by hand, once the templates are rendered.
    """

    # What Airflow shows. What runs is the argv, without a shell.
    template_fields: Sequence[str] = ("command_line",)

    def __init__(self, *, argv: Sequence[str], part: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self.argv, self.part, self.command_line = argv, part, ""
        self._process: subprocess.Popen[bytes] | None = None

    # Airflow's own hook for this: also what renders a mapped task.
    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: Any
    ) -> None:
        super()._do_render_template_fields(parent, ("argv",), context, jinja_env, seen_oids)
        self.command_line = command_line(self.argv)

    def execute(self, context: Context) -> None:
        # The process stays in the process group that Airflow makes for each task, and signals as
        # a whole: even a task that is killed with SIGKILL leaves nothing behind.
        self._process = subprocess.Popen(
            self.argv,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        last_line = relay(lines_of(self._process.stdout or ()), self.log)
        judge(self._process.wait(), last_line)
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


def judge(exit_code: int, last_line: str) -> None:
    """Tell Airflow what an exit code means."""
    if exit_code == Halt.exit_code:
        raise AirflowSkipException(last_line or "The step decided that the rest must not run.")
    if exit_code == BadInput.exit_code:
        raise AirflowFailException(
            "The input is wrong, see above; a person must change something, so there is no retry."
        )
    if exit_code < 0:
        raise AirflowException(f"The process was ended by {signal.Signals(-exit_code).name}.")
    if exit_code:
        raise AirflowException(f"The process ended with exit code {exit_code}, see above.")
