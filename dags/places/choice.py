"""Choose the place where commands run: a process, a container or a pod.

Every place runs the same argv, ``python -m tasks COMMAND --run ADDRESS ...``, and reads the same
exit codes. Airflow's "Rendered Templates" page shows one line to type that repeats the task by
hand.
"""

import os
from datetime import timedelta
from importlib import import_module
from typing import Any

from dags.places.mapping import Operator
from tasks.errors import BadInput
from tasks.pipeline import row_of

# The module of each place, with its function `task_of`. Only the chosen module is imported, because
# importing Airflow's Docker provider takes a second.
PLACES = {
    "process": "dags.places.process",
    "docker": "dags.places.docker",
    "kubernetes": "dags.places.kubernetes",
}


def task_of(command: str, *options: str, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` in the place that MELANOMA_RUNNER names:
    ``process``, its default, ``docker`` or ``kubernetes``. Takes what `dags.places.process.task_of`
    takes.

    The row of the command in `tasks.pipeline` says how long one attempt may take. If its machine is
    ``gpu``, the task takes a slot of the pool that MELANOMA_GPU_POOL names; without that variable,
    of Airflow's default pool. The pool must exist: Airflow never starts a task whose pool does not.

    With MELANOMA_QUEUES=yes the task waits in the Celery queue of its machine, ``small``, ``large``
    or ``gpu``, for a worker that takes from this queue; otherwise in Airflow's default queue.

    Raises:
        BadInput: MELANOMA_RUNNER names another place, MELANOMA_QUEUES says neither yes nor no, or
            there is no such command.
    """
    name = os.environ.get("MELANOMA_RUNNER") or "process"
    if name not in PLACES:
        raise BadInput(
            "There is no such place to run a step in.",
            expected=" or ".join(PLACES),
            received=f"MELANOMA_RUNNER={name}",
            do="set it to one of these for Airflow's processes, and start them again",
        )
    row = row_of(command)
    settings["execution_timeout"] = timedelta(hours=row.hours)
    pool = os.environ.get("MELANOMA_GPU_POOL")
    if pool and row.machine == "gpu":
        settings["pool"] = pool
    if _has_queues():
        settings["queue"] = row.machine
    made: Operator = import_module(PLACES[name]).task_of(command, *options, **settings)
    return made


def _has_queues() -> bool:
    said = os.environ.get("MELANOMA_QUEUES") or "no"
    if said not in ("yes", "no"):
        raise BadInput(
            "It is not known in which queues tasks wait.",
            expected="yes, for a queue for each kind of machine; or no",
            received=f"MELANOMA_QUEUES={said}",
            do="correct it for Airflow's processes, and start them again",
        )
    return said == "yes"
