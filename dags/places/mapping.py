"""A task, or one mapped over the parts of a step."""

from typing import Any

from airflow.sdk import BaseOperator, XComArg
from airflow.sdk.definitions.mappedoperator import MappedOperator

from dags.argv import PART

Operator = BaseOperator | MappedOperator

# A step that lost its orchestrator gets this long to end by itself before it is killed.
SECONDS_TO_END = 20


def one_or_mapped(
    operator: type[BaseOperator],
    command: str,
    argv: str,
    parts: XComArg | None,
    settings: dict[str, Any],
) -> Operator:
    """A task of an operator, or one mapped over parts; `argv` names the setting that holds it."""
    if parts is None:
        return operator(task_id=command, **settings)
    settings[argv] = [*settings[argv], *PART]
    return operator.partial(
        task_id=f"{command}_part", map_index_template="{{ task.part }}", **settings
    ).expand(part=parts)
