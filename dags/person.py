"""Who stands behind a DAG run, as Airflow knows the person."""

import os

from airflow.sdk import Context

from tasks.engine.person import ONE_PERSON, VARIABLE, Person
from tasks.pipeline import Step
from tasks.places import addresses_of


def person_of(context: Context) -> Person:
    """The user who triggered the DAG run; without a name for a schedule or an event."""
    run = context.get("dag_run")
    name = getattr(run, "triggering_user_name", None)
    if name:
        return Person(name=str(name), how="Airflow", authenticated=True)
    scheduled = str(getattr(run, "run_type", "")) == "scheduled"
    return Person(name="", how="schedule" if scheduled else "event", authenticated=False)


def variable(context: Context) -> dict[str, str]:
    """The environment variable by which a command learns who acts."""
    return {VARIABLE: person_of(context).model_dump_json()}


def told_of(row: Step | None) -> dict[str, str]:
    """The only variables of a worker that a container or pod sees: addresses, and whether one
    person decides. None holds a secret."""
    found = addresses_of(row, os.environ)
    return found | {name: os.environ[name] for name in (ONE_PERSON,) if os.environ.get(name)}
