"""The default settings of every task of every DAG."""

from datetime import timedelta
from typing import Any

from dags.notifications import Notify

DEFAULT_ARGS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "on_failure_callback": Notify("failure"),  # after the last attempt
}
