"""Test every day whether the app is asked about other lesions than its model learned from, and look
whether the model keeps what it promised."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowTimetableInvalid
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.assets import LABELS_WANTED
from dags.default_args import DEFAULT_ARGS, STARTS
from dags.notifications import Notify
from dags.places.choice import task_of
from dags.store import last_drift_test, last_outcomes
from tasks.errors import BadInput

if TYPE_CHECKING:
    from tasks.monitoring.watched import Watched

ABOUT = """
Compares what the app was asked about in the last days with what the model in use learned from.

**It starts** every day at 05:00 UTC, unless MELANOMA_MONITORING_SCHEDULE says otherwise, or by
hand.
**It tests** (`drift`): files, light, skin colour, sharpness, the image as a whole, what the model
answers, and what is refused. Three answers: drift, none, insufficient evidence. At one test a day,
at most one false alarm a year. The ledger of monitoring keeps each answer; the store holds the page
`monitoring/drift.html`.
**On new drift** (`want_labels`) the asset `labels_wanted` says which lesions to label first, and
people are told. Drift that the test before found too is not told again.
**It starts a retraining** (`retrain`) on drift, new or not, once enough labelled lesions were
delivered since the model in use was trained. Drift that lasts starts the next one only after as
many more.
**It looks at the diagnoses** that reviewers released (`outcomes`), whatever the drift test says:
whether the model in use keeps the lower bound of its sensitivity. The page is
`monitoring/outcomes.html`. A model that keeps its promise is accused with a probability of at most
5 % in all its life.
**On a new alarm** (`tell_broken_promise`) people are told, once.
**It promotes nothing**, and takes no model back.
"""


def schedule() -> CronTriggerTimetable:
    """When a test is made: at the times of MELANOMA_MONITORING_SCHEDULE, a cron expression in UTC
    (default ``0 5 * * *``).

    Raises:
        BadInput: It is not a cron expression.
    """
    expression = os.environ.get("MELANOMA_MONITORING_SCHEDULE") or "0 5 * * *"
    # As for the retraining: no run that was due before Airflow first saw the DAG.
    times = CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta(0))
    try:
        times.validate()
    except AirflowTimetableInvalid as error:
        raise BadInput(
            "The times of the drift tests cannot be read.",
            expected="MELANOMA_MONITORING_SCHEDULE to be a cron expression, such as '0 5 * * *'",
            received=f"MELANOMA_MONITORING_SCHEDULE={expression} ({error})",
            do="correct it for Airflow's processes, and start them again",
        ) from error
    return times


def store_uri() -> str:
    """The address of the store of this installation."""
    return os.environ.get("MELANOMA_STORE", "").rstrip("/")


def test_now() -> "Watched":
    """The test of this run: the last entry of the ledger.

    Raises:
        AirflowFailException: There is none.
    """
    found = last_drift_test(store_uri())
    if found is None:
        raise AirflowFailException(
            "No drift test was entered.\n"
            "  Expected: an entry of the task drift in the ledger of monitoring\n"
            "  Received: none\n  Do:       read the log of the task drift"
        )
    return found


def wanted() -> dict[str, Any]:
    """What the last test wants labelled: the extra of the asset's event.

    Raises:
        AirflowFailException: There is no test.
        AirflowSkipException: It found no drift, or none that the test before had not found.
    """
    found = test_now()
    if not found.news:
        again = ", as the test before" if found.verdict == "drift" else ""
        raise AirflowSkipException(f"No labels are wanted: {found.verdict}{again}.")
    hours: dict[str, list[str]] = {}
    for each in found.label_first:
        hours.setdefault(each.hour, []).append(each.lesion)
    return {
        "version": found.version,
        "until": found.until,
        "causes": list(found.causes),
        "lesions_by_hour": hours,
        "retrain": found.retrain,
    }


@task(
    outlets=[LABELS_WANTED],
    on_success_callback=Notify("drift"),
    doc_md="On new drift, raises the asset `labels_wanted`, and tells people.",
)
def want_labels() -> None:
    """Says on new drift which lesions should be labelled first."""
    get_current_context()["outlet_events"][LABELS_WANTED].extra = wanted()


@task(doc_md="Skips the retraining unless there is drift, and enough lesions with a label.")
def enough_labels() -> str:
    """The id of the retraining that the last test starts: the same for each test of a model and an
    hour, so that none is started twice. Skips what follows unless the test starts one."""
    found = test_now()
    if not found.retrain:
        known = found.new_labelled
        count = "an unknown number of" if known is None else known
        labels = (
            f": {count} lesions with a label were delivered since the model was trained, and "
            f"{found.worth_from} are enough"
        )
        raise AirflowSkipException(
            f"No retraining: {found.verdict}{labels if found.verdict == 'drift' else ''}."
        )
    return f"drift-{found.model_sha256[:12]}-{found.until}"


@task(
    on_success_callback=Notify("outcome"),
    doc_md="On a new alarm, tells people that the model in use breaks what it promised.",
)
def tell_broken_promise() -> None:
    """Skips unless this run is the one that tells people of an alarm."""
    found = last_outcomes(store_uri())
    if found is None:
        raise AirflowFailException(
            "No look at released diagnoses was entered.\n"
            "  Expected: an entry of the task outcomes in the ledger of monitoring\n"
            "  Received: none\n  Do:       read the log of the task outcomes"
        )
    state = found.in_use.state
    if state != "broken" or found.told_by != request_of(get_current_context()["run_id"]):
        by = f", which {found.told_by} told" if found.told_by else ""
        raise AirflowSkipException(f"There is no new alarm: {state}{by}.")


def request_of(run_id: str) -> str:
    """The name under which a run tells people of an alarm. Each alarm is told by one."""
    return f"melanoma_monitoring, {run_id}"


with DAG(
    "melanoma_monitoring",
    description="Tests every day whether the model in use is asked about what it learned from.",
    doc_md=ABOUT,
    schedule=schedule(),
    catchup=False,
    allowed_run_types=STARTS,
    max_active_runs=1,  # the ledger's last entry is that of this run
    default_args=DEFAULT_ARGS,
    params={
        "days": Param(
            7, type="integer", minimum=1, maximum=92, title="Days", description="Days to look at."
        ),
        "enough": Param(
            50,
            type="integer",
            minimum=1,
            title="Enough labelled lesions",
            description="On drift, a retraining starts if so many were delivered since the model "
            "in use was trained, and since drift last started one.",
        ),
    },
    user_defined_macros={"store": store_uri, "request": request_of},
    tags=["melanoma", "monitoring"],
):
    tested = task_of(
        "drift",
        "--store",
        "{{ store() }}",
        "--days",
        "{{ params.days }}",
        "--enough",
        "{{ params.enough }}",
        "--starts-retraining",
        doc_md="Tests the last days for drift, and enters the answer into the ledger.",
    )
    labels, enough = want_labels(), enough_labels()
    retrain = TriggerDagRunOperator(
        task_id="retrain",
        trigger_dag_id="melanoma_retraining",
        # Cleared and run again, it starts no second retraining. A person who marks `enough_labels`
        # as a success starts one for this run.
        trigger_run_id="{{ ti.xcom_pull(task_ids='enough_labels') or 'drift__' ~ run_id }}",
        skip_when_already_exists=True,
        doc_md="Starts `melanoma_retraining`.",
    )
    # Labels that come after the first day of a drift start the retraining too.
    tested >> labels
    tested >> enough >> retrain

    followed = task_of(
        "outcomes",
        "--store",
        "{{ store() }}",
        "--name",
        "{{ request(run_id) }}",
        doc_md="Looks whether the model in use keeps its promise, by diagnoses that came later.",
    )
    told = tell_broken_promise()
    followed >> told
