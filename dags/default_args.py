"""The default settings of every task of every DAG."""

from datetime import timedelta
from typing import Any

DEFAULT_ARGS: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=15)}
