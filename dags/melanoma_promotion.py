"""Put a registered challenger before people, then make it the champion if they approve."""

from airflow.sdk import DAG, Context, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dags.assets import CHALLENGER_REGISTERED
from dags.decision import DAYS, QUESTION, store_uri, told, two_answers
from dags.default_args import DEFAULT_ARGS, STARTS
from dags.places.choice import task_of
from dags.store import logged_in
from tasks.engine.run import latest_run, read_record
from tasks.engine.storage import open_store
from tasks.records.registered import Registered
from tasks.registry.promotions import promotions_in

ABOUT = """
Puts a registered model, the **challenger**, before people, and makes it the **champion** if they
approve.

**It starts** when `melanoma_retraining` registers a model, or by hand with a run's address.
**It asks** (`ask`): the evidence is verified, and the challenger is compared with the champion anew
if another model has become the champion since.
**It waits** in the task `decide` for an answer under *Required Actions*, for seven days; no answer
is a *Reject*. Whoever started the training may not approve. Where nobody knows who did, or where
the policy says so, a second person answers in `decide_second`. Waiting takes no worker and holds up
no retraining.
**It writes down** each answer in the ledger of promotions, with the person's login and reason. Only
what stands there counts for `promote`: a task that is marked as a success is no approval.
**A rejected model** keeps its version and its evidence in MLflow; `promote` is skipped. A model
whose question was superseded by another can be put before people again: start this DAG by hand.
"""


def named_runs(context: Context) -> list[str]:
    """The addresses of the runs whose models may be judged, the last one first.

    Of several events that waited, Airflow names the first only. So the run that registered last
    counts too.
    """
    if context["params"]["run"]:
        return [str(context["params"]["run"]).rstrip("/")]
    events = context["triggering_asset_events"].get(CHALLENGER_REGISTERED, ())
    found = [str(event.extra["run"]) for event in events if event.extra.get("run")]
    uri = store_uri()
    with logged_in(uri):
        last = latest_run(open_store(uri), "register")
    return list(dict.fromkeys([*([f"{uri}/runs/{last}"] if last else []), *reversed(found)]))


def challenger(context: Context) -> str:
    """The address of the run whose model is to be judged. For an event, the last whose model was
    asked about never before: a task of the retraining that is run again registers nothing new.

    Raises:
        AirflowFailException: A run is not one of this installation, or there is none.
        AirflowSkipException: People were asked about every model before.
    """
    named = named_runs(context)
    if not named:
        raise AirflowFailException(
            "No model to judge is named.\n"
            "  Expected: an event of challenger_registered with 'run' in its extra, or a run in "
            "the form\n  Received: neither\n"
            "  Do:       trigger this DAG again with the address of a run, STORE/runs/NAME"
        )
    for run in named:
        if run.rpartition("/runs/")[0] != store_uri():
            raise AirflowFailException(
                "The run is not one of this installation.\n"
                f"  Expected: {store_uri()}/runs/NAME\n  Received: {run}\n"
                "  Do:       name a run of the store that MELANOMA_STORE names"
            )
    if context["params"]["run"]:
        return named[0]
    with told(), logged_in(store_uri()):
        store = open_store(store_uri())
        now = promotions_in(store)
        for run in named:
            registered = read_record(store, run.rpartition("/")[2], "register")
            if not isinstance(registered, Registered) or registered.passed_over:
                continue
            if not now.about(registered.model_sha256):
                return run
    raise AirflowSkipException(
        "People were asked about this model before, or a better challenger waits. To ask all the "
        "same, trigger this DAG by hand with the run."
    )


@task
def present_challenger() -> str:
    """Finds the run whose model is to be judged."""
    return challenger(get_current_context())


with DAG(
    "melanoma_promotion",
    description="People decide whether a challenger becomes the champion.",
    doc_md=ABOUT,
    schedule=[CHALLENGER_REGISTERED],
    catchup=False,
    allowed_run_types=STARTS,
    default_args=DEFAULT_ARGS,
    params={
        "run": Param(
            None,
            type=["null", "string"],
            title="Run",
            description="Only when triggered by hand: the address, STORE/runs/NAME, of the run "
            "whose model is to be judged.",
        )
    },
    tags=["melanoma", "promotion"],
):
    presented = present_challenger()
    RUN = ("--run", "{{ ti.xcom_pull('present_challenger') }}")
    ask = task_of(
        "ask",
        *RUN,
        *QUESTION,
        *DAYS,
        doc_md="Verifies the evidence and puts the question, comparing anew with the champion if "
        "another model has become the champion since.",
    )
    decide, second = two_answers()
    promote = task_of(
        "promote",
        *RUN,
        *QUESTION,
        trigger_rule="none_failed_min_one_success",
        doc_md="Moves the alias `champion`, if the ledger of promotions holds the approvals.",
    )
    presented >> ask >> decide >> second >> promote
    decide >> promote
