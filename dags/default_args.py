"""What every task of every DAG does unless the task says otherwise."""

from datetime import timedelta
from typing import Any

DEFAULT_ARGS: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=15)}
