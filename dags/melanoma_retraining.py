"""The retraining, as Airflow sees it: each row of ``tasks.pipeline.PIPELINE`` becomes a task."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param

from dags.runners import CONFIG, MACROS, RUN, runner
from tasks.config import Retraining
from tasks.pipeline import PIPELINE, Step

IMAGES_DELIVERED = Asset("images_delivered")
CHALLENGER_REGISTERED = Asset("challenger_registered")

ABOUT = """
Retrains the skin-lesion classifier on all that was delivered, and registers the result as
**challenger** only if its melanoma recall is proven good enough.

**It starts** every Sunday at 03:00 UTC, when an event of the asset `images_delivered` says that
new images lie under `raw/`, or by hand: *Trigger* opens a form with every choice there is.

**It runs** each task as `python -m tasks STEP --run ADDRESS --config JSON`; the tab *Rendered
Templates* of a task shows the line to type to repeat it by hand. What a step made lies in the
store under `runs/RUN/STEP/`, with `record.json` written last. A step whose inputs, code and
configuration are unchanged reuses the earlier result, so that a run on unchanged data ends within
seconds. A task may be cleared and run again at any time: what was committed stays.

**A green run with a skipped `register`** is a refused model: the gate found it too weak, or found
too little evidence. The log of `gate` says why, and so does the report.

**A registered model** starts the DAG `melanoma_promotion`, where a person decides.
"""


def form() -> dict[str, Param]:
    """The fields of the trigger form, from the configuration's own JSON schema."""
    return {name: Param(**_shown(field)) for name, field in _fields().items()}


def _fields() -> dict[str, dict[str, Any]]:
    return dict(Retraining.model_json_schema()["properties"])


def _shown(field: dict[str, Any]) -> dict[str, Any]:
    if field["type"] != "array":
        return field
    # Airflow shows an array as a multiple choice if it has examples.
    return field | {"examples": field["items"]["enum"], "uniqueItems": True}


def task(step: Step) -> BaseOperator:
    """The task that does a step."""
    return runner()(
        step.name,
        *RUN,
        *CONFIG,
        doc_md=f"{step.does}\n\nNeeds: {', '.join(step.needs) or 'raw/'}. "
        f"Gives: `{step.gives.__name__}` (see `tasks/contracts.py`).",
        outlets=[CHALLENGER_REGISTERED] if step.name == "register" else [],
    )


with DAG(
    "melanoma_retraining",
    description="Retrains the classifier and registers it if its melanoma recall is proven.",
    doc_md=ABOUT,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 3 * * 0", timezone="UTC"), assets=[IMAGES_DELIVERED]
    ),
    catchup=False,
    max_active_runs=1,  # two retrainings at once would fight over one machine, for one alias
    default_args={"retries": 2, "retry_delay": timedelta(seconds=15)},
    params=form(),
    user_defined_macros=MACROS,
    tags=["melanoma", "training"],
):
    steps: dict[str, BaseOperator] = {}
    for row in PIPELINE:
        steps[row.name] = task(row)
        for need in row.needs:
            steps[need] >> steps[row.name]

    # A refused model is when the report is needed most: a skipped step does not skip it.
    steps[PIPELINE[-1].name] >> runner()(
        "report",
        *RUN,
        trigger_rule="none_failed",
        doc_md="Writes `runs/RUN/report.html`: one self-contained page with all that was found.",
    )
