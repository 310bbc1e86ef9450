"""Make an earlier champion the champion again, on one person's word."""

import os

from airflow.sdk import DAG, Param

from dags.default_args import DEFAULT_ARGS, STARTS
from dags.places.choice import task_of

ABOUT = """
Makes an **earlier champion** the champion again, at once: for a model that does harm.

**It starts** by hand only, with the version and a reason. Whoever triggers it decides: the ledger
of promotions keeps the login and the reason. The gate does not judge again, because the model was
approved before; its evidence and its bytes in MLflow are checked as for a promotion.
"""


def form() -> dict[str, Param]:
    """The fields of the form, with the earlier champions that the ledger holds now."""
    return {
        "version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Version",
            description="Number of the version in MLflow. It must have been the champion before: "
            f"{earlier_champions()}.",
        ),
        "reason": Param(
            "",
            type="string",
            title="Reason",
            description="Required. The ledger keeps it with your name.",
        ),
    }


def earlier_champions() -> str:
    """The earlier champions in words, as the ledger stood when Airflow last read this file."""
    from tasks.engine.storage import open_store
    from tasks.errors import PipelineError
    from tasks.registry.promotions import promotions_in

    store = os.environ.get("MELANOMA_STORE", "")
    if not store or store.startswith(
        "s3://"
    ):  # a server that does not answer would hold up Airflow
        return "`python -m tasks ledger --store STORE` lists them"
    try:
        now = promotions_in(open_store(store))
    except (PipelineError, OSError) as error:  # the DAG must show, to say so when it runs
        return f"the ledger cannot be read now ({type(error).__name__})"
    found = [f"version {each.version}" for each in now.earlier]
    return ", ".join(found) or "there is none yet"


with DAG(
    "melanoma_rollback",
    description="A person makes an earlier champion the champion again.",
    doc_md=ABOUT,
    schedule=None,
    catchup=False,
    allowed_run_types=STARTS,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=form(),
    user_defined_macros={"store": lambda: os.environ.get("MELANOMA_STORE", "").rstrip("/")},
    tags=["melanoma", "promotion"],
):
    task_of(
        "rollback",
        "--store",
        "{{ store() }}",
        "--to",
        "{{ params.version or 0 }}",
        "--reason",
        "{{ params.reason }}",
        # A rollback that is cleared and run again must not move the champion in a person's name.
        "--name",
        "melanoma_rollback, {{ run_id }}",
        doc_md="Moves the alias `champion` back.",
    )
