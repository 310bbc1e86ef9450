"""Who stands behind a DAG run, as Airflow knows the person."""

from airflow.sdk import Context

from tasks.engine.person import VARIABLE, Person


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
