"""Airflow's plugin: the pages of runs, a tab for them beside each run, links beside each task, and
from when a deadline is counted.

Every process of Airflow loads this file; only the API server asks for what takes long to import.
"""

from functools import cached_property
from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.plugins_manager import AirflowPlugin

from dags.deadlines import QueuedAt
from dags.pages.links import (
    DATA_DOCS,
    EVIDENCE,
    MODEL_CARD,
    PREFIX,
    REPORT,
    RETRAINING,
    base,
    link,
)

# The operators of `dags.places`. Airflow compares names and modules only; the classes themselves
# would bring the providers of Docker and Kubernetes, which take seconds to import.
OPERATORS = [
    type(name, (), {"__module__": f"dags.places.{place}"})
    for name, place in (("Process", "process"), ("Container", "docker"), ("Pod", "kubernetes"))
]


class PageLink(BaseOperatorLink):
    """A link to a page, beside the tasks of a retraining. It is made from the run's id when it is
    shown. So it is there before and after a task runs, and nobody can change it."""

    operators = OPERATORS

    def __init__(self, name: str, file: str, *tasks: str) -> None:
        """`tasks`: the steps beside which the link stands; none for all tasks."""
        self._name, self.file, self.tasks = name, file, tasks

    @property
    def name(self) -> str:
        return self._name

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        # A task in a group has the group's name in front, and that of a part has "_part" behind.
        step = ti_key.task_id.rpartition(".")[2].removesuffix("_part")
        if ti_key.dag_id != RETRAINING or (self.tasks and step not in self.tasks):
            return ""
        return link(ti_key.run_id, self.file)


class MelanomaPages(AirflowPlugin):
    name = "melanoma_pages"
    operator_extra_links: list[Any] = [  # noqa: RUF012  as Airflow declares it
        PageLink("Report", REPORT),
        PageLink("Data Docs", DATA_DOCS, "validate"),
        PageLink("Model card", MODEL_CARD, "gate", "register"),
        PageLink("Evidence", EVIDENCE, "gate", "register"),
    ]

    deadline_references: list[Any] = [QueuedAt]  # noqa: RUF012  as Airflow declares it

    external_views: list[Any] = [  # noqa: RUF012  as Airflow declares it
        {
            "name": "Results",
            "href": f"{base()}{PREFIX}/runs/{{RUN_ID}}/",
            "destination": "dag_run",
            "url_route": "melanoma-results",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a list in Airflow, made late here
        from dags.pages.app import pages

        return [{"name": self.name, "url_prefix": PREFIX, "app": pages()}]
