"""The default settings of every task of every DAG, and what may start a DAG."""

from datetime import timedelta
from typing import Any

from dags.notifications import Notify

DEFAULT_ARGS: dict[str, Any] = {
    "retries": 2,
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
