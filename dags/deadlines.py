"""From when the deadline of a run is counted."""

from datetime import datetime
from typing import Any

from airflow import plugins_manager
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineReference


class QueuedAt(BaseDeadlineReference):
    """When the run was queued, for the first time.

    Airflow's own reference, DAGRUN_QUEUED_AT, makes Airflow 3.3 fail whenever a person clears a
    task of a run that has not succeeded (apache/airflow issue 70368). The plugin in `dags/plugins/`
    tells Airflow's scheduler of this class.
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun

        runs = DagRun.find(dag_id=dag_id, run_id=run_id, session=session)
        return runs[0].queued_at if runs else None


def queued_at() -> Any:
    """The reference to count from: ours if Airflow has loaded the plugin, else Airflow's own."""
    known = plugins_manager.get_deadline_references_plugins()
    ours = f"{QueuedAt.__module__}.{QueuedAt.__qualname__}"
    return QueuedAt() if ours in known else DeadlineReference.DAGRUN_QUEUED_AT
