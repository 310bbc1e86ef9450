"""The argv of a task, as Jinja templates. They need ``MACROS``, which a DAG takes as
``user_defined_macros``."""

import os
import re

from airflow.sdk.exceptions import AirflowFailException

# The address of the DAG run's retraining, and its configuration, as options of a command. A person
# or script gives fields; a run that nobody started gives none. For the other fields the step itself
# finds the defaults of the store, see `tasks.engine.defaults`.
RUN = ("--run", "{{ address(run_id) }}")
CONFIG = ("--config", "{{ (dag_run.conf or {}) | tojson }}")
# The part that a mapped task does; the operator's own attribute holds it.
PART = ("--part", "{{ task.part }}")


def address(run_id: str) -> str:
    """The address of the retraining that belongs to a DAG run.

    Args:
        run_id: Airflow's id of the DAG run. It contains ':' and '+', which a run's name may not.

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
