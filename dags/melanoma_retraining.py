"""The DAG of the retraining. Each row of ``tasks.pipeline.PIPELINE`` becomes a task; a step that
divides also gets a task that is mapped over its parts."""

import os
from datetime import timedelta
from typing import Any

from airflow.exceptions import AirflowTimetableInvalid
from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    TaskGroup,
    XComArg,
    task,
)
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert
from airflow.sdk.exceptions import AirflowFailException

from dags.argv import CONFIG, MACROS, RUN, address
from dags.assets import CHALLENGER_REGISTERED, IMAGES_DELIVERED
from dags.deadlines import queued_at
from dags.default_args import DEFAULT_ARGS, STARTS
from dags.form import form
from dags.notifications import Notify
from dags.places.choice import task_of
from dags.places.mapping import Operator
from dags.store import config_of_run, defaults_for_form, policies_for_form, wait_until_quiet
from tasks.errors import BadInput
from tasks.pipeline import PIPELINE, Step, parts_of
from tasks.text.markdown import plain

ABOUT = """
Retrains the skin-lesion classifier on all that was delivered, and registers the result as
**challenger** only if its melanoma recall is proven good enough.

**It starts** on the schedule above (Sundays at 03:00 UTC, unless MELANOMA_SCHEDULE says otherwise),
when an event of the asset `images_delivered` says that new images lie under `raw/`, or by hand:
*Trigger* opens a form with every choice there is. A field that nobody gives has the default of the
store, `config.json` beside `raw/`, else that of the product. The form sends every field that it
shows. The log of `parts` holds the whole configuration of a run.

**It runs** each task as `python -m tasks STEP --run ADDRESS --config JSON`; the tab *Rendered
Templates* of a task shows the line to type to repeat it by hand, with the environment that it needs
in front; a secret is only named, and must be in your own environment. What a step made lies in the
store under `runs/RUN/STEP/`, with `record.json` written last. A step whose inputs, code and
configuration are unchanged reuses the earlier result, so that a run on unchanged data ends within
seconds. A task may be cleared and run again at any time: what was committed stays.

**A run that an event started** begins once nothing under `raw/` has changed for a minute, so that
several deliveries are one run. Events that arrive while a run is on are one run after it.

**Three steps divide.** `ingest` and `validate` into as many parts as *Parts* says, `train` into
its recipes. Each part is a task of its own, run side by side where slots and machines allow, tried
again alone if it fails; the step then joins what the parts made. A step of one part does it
itself, and its mapped task is skipped.

**A green run with a skipped `register`** is a refused model: the gate found it too weak, or found
too little evidence. The log of `gate` says why, and so does the report.

**A registered model** starts the DAG `melanoma_promotion`, where a person decides.
"""


# The boxes of the graph, each with its first step. A click opens or closes a box, so that a small
# screen shows the whole graph. The ids of the tasks do not name the boxes.
BOXES = {"data": "ingest", "training": "check_balance", "judgement": "evaluate"}


def box_of(step: str) -> str:
    """The box of a step: the last whose first step does not come after the step."""
    order = [row.name for row in PIPELINE]
    begun = [box for box, first in BOXES.items() if order.index(first) <= order.index(step)]
    return begun[-1]


def schedule() -> AssetOrTimeSchedule:
    """When a run starts without a person: at the times of MELANOMA_SCHEDULE, a cron expression in
    UTC (default ``0 3 * * 0``, Sundays at 03:00), and whenever images are delivered.

    Raises:
        BadInput: MELANOMA_SCHEDULE is not a cron expression.
    """
    expression = os.environ.get("MELANOMA_SCHEDULE") or "0 3 * * 0"
    # The delay must be zero. Otherwise Airflow 3.3 starts the last run that was due before it first
    # saw the DAG, up to a tenth of the interval late: on a Sunday, before a run started by hand.
    times = CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0))
    try:
        times.validate()
    except AirflowTimetableInvalid as error:
        raise BadInput(
            "The times of the scheduled retraining cannot be read.",
            expected="MELANOMA_SCHEDULE to be a cron expression, such as '0 3 * * 0'",
            received=f"MELANOMA_SCHEDULE={expression} ({error})",
            do="correct it for Airflow's processes, and start them again",
        ) from error
    return AssetOrTimeSchedule(timetable=times, assets=[IMAGES_DELIVERED])


def task_of_step(step: Step, parts: XComArg | None) -> Operator:
    """The task of a step. It follows the tasks of the step's parts, if the step divides."""
    doc = (
        f"{step.does}\n\nNeeds: {', '.join(step.needs) or 'raw/'}. "
        f"Gives: `{step.gives.__name__}` (see `{step.gives.__module__.replace('.', '/')}.py`)."
    )
    settings: dict[str, Any] = {"doc_md": doc}
    if step.name == "gate":
        settings["on_success_callback"] = Notify("verdict")
    if step.name == "register":
        settings["outlets"] = [CHALLENGER_REGISTERED]
    if parts is not None:
        settings["trigger_rule"] = "none_failed"  # without parts to map over, these are skipped
    return task_of(step.name, *RUN, *CONFIG, **settings)


FIRST_OVER = "parts"  # the field of the first task


def names_of_parts(over: str, run: str, given: dict[str, Any]) -> list[str]:
    """The names of the parts of the steps that divide over a field; empty for a single part.

    Args:
        over: Field of the configuration.
        run: Address of the run, ``STORE/runs/NAME``.
        given: Values by field; fields left out have the defaults of the store.

    Raises:
        AirflowFailException: The configuration is not valid. Airflow's form checks each field, but
            no rule over several fields.
    """
    try:
        config = config_of_run(run, given)
    except BadInput as error:
        raise AirflowFailException(str(error)) from error
    print(f"The configuration of this run: {config.model_dump_json()}")
    step = next(row for row in PIPELINE if row.division and row.division.over == over)
    names = [str(part.part) for part in parts_of(step, config)]
    return names if len(names) > 1 else []


def names_task(over: str) -> XComArg:
    """The task that returns the names of the parts; Airflow maps over a task's result."""

    @task(
        task_id=over,
        execution_timeout=timedelta(hours=1),  # most of which it may wait for deliveries
        doc_md="Checks the whole configuration, then says into which parts the steps divide, from "
        f"the field `{over}`.",
    )
    def names(**context: Any) -> list[str]:
        begun, run = context["dag_run"], address(context["run_id"])
        found = names_of_parts(over, run, begun.conf or {})
        if begun.run_type == "asset_triggered" and over == FIRST_OVER:
            try:
                wait_until_quiet(run)
            except BadInput as error:
                raise AirflowFailException(str(error)) from error
        return found

    said: XComArg = names()
    return said


defaults, why_not_the_stores = defaults_for_form()
warning = why_not_the_stores and (
    "The form shows the defaults of the product, because those of the store cannot be read: "
    f"{why_not_the_stores}"
)


LONGEST_HOURS = 10 * 366 * 24  # Airflow adds them to a moment, and no calendar goes on for ever


def deadline() -> DeadlineAlert:
    """When people are told that a run is late: MELANOMA_DEADLINE_HOURS (default 72) after it was
    queued. The run goes on.

    Raises:
        BadInput: MELANOMA_DEADLINE_HOURS is not a number above 0, or is more than ten years.
    """
    text = os.environ.get("MELANOMA_DEADLINE_HOURS") or "72"
    try:
        after = timedelta(hours=float(text))
    except (ValueError, OverflowError):
        after = timedelta(0)
    if not timedelta(0) < after <= timedelta(hours=LONGEST_HOURS):
        raise BadInput(
            "The deadline of a run cannot be read.",
            expected="MELANOMA_DEADLINE_HOURS to be a number of hours above 0, such as 72, and at "
            f"most {LONGEST_HOURS}",
            received=f"MELANOMA_DEADLINE_HOURS={text}",
            do="correct it for Airflow's processes, and start them again",
        )
    # A worker of the executor calls it; an asynchronous callback would need a triggerer.
    late = SyncCallback("dags.notifications.Notify", {"event": "late"})
    return DeadlineAlert(queued_at(), after, late)


with DAG(
    "melanoma_retraining",
    description="Retrains the classifier and registers it if its melanoma recall is proven.",
    doc_md=(f"**{plain(warning)}**\n\n" if warning else "") + ABOUT,
    schedule=schedule(),
    catchup=False,
    allowed_run_types=STARTS,
    max_active_runs=1,  # two retrainings at once would compete for the machine and the alias
    default_args=DEFAULT_ARGS,
    deadline=deadline(),
    # A store that just did not answer is not asked again: Airflow waits for this file.
    params=form(defaults, warning, () if warning else policies_for_form()),
    user_defined_macros=MACROS,
    tags=["melanoma", "training"],
):
    names: dict[str, XComArg] = {}
    steps: dict[str, Operator] = {}
    boxes = {box: TaskGroup(box, prefix_group_id=False) for box in BOXES}
    for row in PIPELINE:
        with boxes[box_of(row.name)]:
            parts = None
            if row.division:
                over = row.division.over
                if over not in names:
                    names[over] = names_task(over)
                    # The first one has checked the configuration: what it refuses is told once.
                    for before in list(names.values())[:-1]:
                        before >> names[over]
                parts = names[over]
            steps[row.name] = task_of_step(row, parts)
            for need in row.needs:
                steps[need] >> steps[row.name]
            if parts is not None:
                doc = f"One part. {row.does}"
                mapped = task_of(row.name, *RUN, *CONFIG, parts=parts, doc_md=doc)
                for need in row.needs:
                    steps[need] >> mapped
                mapped >> steps[row.name]

    # The report is needed most for a refused model, so a skipped step does not skip the report.
    steps[PIPELINE[-1].name] >> task_of(
        "report",
        *RUN,
        trigger_rule="none_failed",
        doc_md="Writes `runs/RUN/report.html`: one self-contained page with all that was found.",
    )
