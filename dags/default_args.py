"""The default settings of every task of every DAG, and what may start a DAG."""

import os
from datetime import timedelta
from typing import Any

from dags.notifications import Notify
from tasks.errors import BadInput


def retries() -> int:
    """How often a task is tried again: MELANOMA_RETRIES, from 0 to 100 (default 2). Where several
    services may be away at once, two times 15 s do not outlast a minute's absence.

    Raises:
        BadInput: MELANOMA_RETRIES is no such number.
    """
    said = os.environ.get("MELANOMA_RETRIES") or "2"
    if not said.isascii() or not said.isdecimal() or int(said) > 100:
        raise BadInput(
            "It is not known how often a task is tried again.",
            expected="MELANOMA_RETRIES to be a number from 0 to 100",
            received=f"MELANOMA_RETRIES={said}",
            do="correct it for Airflow's processes, and start them again",
        )
    return int(said)


DEFAULT_ARGS: dict[str, Any] = {
    "retries": retries(),
    "retry_delay": timedelta(seconds=15),
    "on_failure_callback": Notify("failure"),  # after the last attempt
}

# All that may start a run, in Airflow's words, but "backfill": a run takes what lies in the store
# now, so a run for a day of the past would be a run of today. Airflow's form then offers none, and
# its API refuses one in a sentence.
STARTS: Any = (
    "manual",
    "scheduled",
    "asset_triggered",
    "operator_triggered",
    "asset_materialization",
)
