"""The argv of a task, as Jinja templates. They need ``MACROS``, which a DAG takes as
``user_defined_macros``."""

import os
import re
from hashlib import sha256

from airflow.sdk.exceptions import AirflowFailException

# The address of the DAG run's retraining, and its configuration, as options of a command. A person
# or script gives fields; a run that nobody started gives none. For the other fields the step itself
# finds the defaults of the store, see `tasks.engine.defaults`.
RUN = ("--run", "{{ address(run_id) }}")
CONFIG = ("--config", "{{ (dag_run.conf or {}) | tojson }}")
# The part that a mapped task does; the operator's own attribute holds it.
PART = ("--part", "{{ task.part }}")

# Ids that Airflow gives: a kind, a moment in UTC, and where no date belongs to the run, something
# random. The monitoring puts `drift__` before the id of its own run. In names of a store the moment
# has hyphens, and no two ids of this form meet there.
AIRFLOWS_OWN = re.compile(
    r"(drift__)?[a-z_]+__\d{4}-\d\d-\d\dT\d\d[:]\d\d[:]\d\d(\.\d+)?[+]00[:]00(_[A-Za-z0-9]+)?",
    re.ASCII,
)
SAME_BY_NAME = re.compile(AIRFLOWS_OWN.pattern.replace("[:]", "-").replace("[+]", "-"), re.ASCII)
LONGEST = 200  # letters of a run's name in the store


def address(run_id: str) -> str:
    """The address of the retraining that belongs to a DAG run.

    Args:
        run_id: Airflow's id of the DAG run. It contains ':' and '+', which a run's name may not.

    Returns:
        ``STORE/runs/NAME``, with the store of MELANOMA_STORE. Two ids never have one name.

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
    return f"{store}/runs/{_name_of(run_id)}"


def _name_of(run_id: str) -> str:
    """The name of a run in the store. Where an id cannot be a name, a hash of the id tells the name
    from those of other ids."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", run_id)
    if not name[:1].isalnum():
        name = f"run{name}"
    if len(name) <= LONGEST:
        unchanged = name == run_id and not SAME_BY_NAME.fullmatch(run_id)
        if unchanged or AIRFLOWS_OWN.fullmatch(run_id):
            return name
    digest = sha256(run_id.encode()).hexdigest()[:12]
    return f"{name[: LONGEST - len(digest) - 1]}-{digest}"


MACROS = {"address": address}
