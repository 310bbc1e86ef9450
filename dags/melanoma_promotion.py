"""Put a registered challenger before people, then make it the champion if they approve."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Context, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.assets import CHALLENGER_REGISTERED
from dags.default_args import DEFAULT_ARGS, STARTS
from dags.notifications import Notify
from dags.pages.links import ANSWERS, EVIDENCE, MODEL_CARD, REPORT, link
from dags.places.choice import task_of
from dags.store import logged_in
from tasks.engine.person import Person
from tasks.engine.run import latest_run, read_record
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Halt, Momentary
from tasks.records.registered import Registered
from tasks.registry.promotions import Answer, no_question, promotions_in
from tasks.release.decide import decide as write_down
from tasks.text.lines import visible

log = logging.getLogger(__name__)

TIME_TO_DECIDE = timedelta(days=7)
PAGES = (
    *(("Report", REPORT), ("Model card", MODEL_CARD), ("Evidence", EVIDENCE)),
    ("Answers so far", ANSWERS),
)
WRITER = "promote"  # the step with whose credentials an answer is written down
APPROVE, REJECT = "Approve", "Reject"
WAITS = (1, 5, 30, 120, 300)  # seconds between attempts to write an answer down
# An answer that does not count, of the person who trained for example, asks again at once.
TIMES_TO_ASK = 50

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
            if isinstance(registered, Registered) and not now.about(registered.model_sha256):
                return run
    raise AirflowSkipException(
        "People were asked about this model before. To ask again, trigger this DAG by hand."
    )


def store_uri() -> str:
    """The address of the store of this installation."""
    return os.environ.get("MELANOMA_STORE", "").rstrip("/")


class Decide(HITLOperator):
    """Asks a person, and writes the answer into the ledger of promotions.

    The question, its text and the answer never pass through XCom, which users may edit: the text
    stands in the ledger, made from the verified bundle, and the answer comes from Airflow's
    database.

    Args:
        second: Whether this asks the second person; skipped where one is enough.
    """

    template_fields = ()

    def __init__(self, *, second: bool = False, **settings: Any) -> None:
        reason = Param(
            "",
            type="string",
            title="Reason",
            description="Required. The ledger keeps it with your name.",
        )
        asked = {"options": [APPROVE, REJECT], "defaults": REJECT, "params": {"reason": reason}}
        retried = {"retries": TIMES_TO_ASK, "retry_delay": timedelta(seconds=1)}
        # Airflow passes the DAG's own parameters and default arguments among the settings.
        super().__init__(
            subject="",
            body="",
            notifiers=[Notify("question")],
            **(settings | asked | retried | {"response_timeout": TIME_TO_DECIDE}),
        )
        self.second = second

    def execute(self, context: Context) -> Any:
        with told(), logged_in(store_uri(), WRITER):
            now = promotions_in(open_store(store_uri()))
            question = now.question(name_of(context))
            if question is None:
                raise no_question(name_of(context))
            state: str = now.state(question)
            if self.second and question.asked.approvals == 1:
                state = "one is enough"
            if state == "open":
                run_name = question.model.run.rpartition("/")[2]
                links = " · ".join(f"[{name}]({link(run_name, file)})" for name, file in PAGES)
                # Airflow keeps the first text of a task that asks again.
                self.subject, self.body = question.subject, f"{links}\n\n{question.page}"
                return super().execute(context)
        if self.second:
            raise AirflowSkipException(f"No second answer is needed: {state}.")
        self.log.info("The question was answered before: %s.", state)
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        given = super().execute_complete(context, event)
        user = given["responded_by_user"]
        name = str(user["name"]) if user else ""
        reason = str((given["params_input"] or {}).get("reason") or "")
        person = Person(name=name, how="Airflow", authenticated=bool(user))
        # If the ledger cannot be written, Airflow forgets the answer, but not this line.
        answered = f"{given['chosen_options']}. Reason: {visible(reason)}"
        self.log.info("Answer of %s: %s", name, answered)
        with told(), logged_in(store_uri(), WRITER):
            answer = patiently(
                lambda: write_down(
                    open_store(store_uri()),
                    name_of(context),
                    "approve" if given["chosen_options"] == [APPROVE] else "reject",
                    person,
                    reason if user else "No answer within seven days.",
                    given["responded_at"].isoformat(),
                )
            )
        if answer.refused and user:
            raise AirflowException(f"The answer does not count: {answer.refused}. Asking again.")
        return None


def patiently(work: Callable[[], Answer], waits: Iterable[float] = WAITS) -> Answer:
    """Do some work again while the store has a fault of the moment.

    Airflow would try the whole task again. That asks the person again and forgets the answer.
    """
    for seconds in waits:
        try:
            return work()
        except Momentary as error:
            log.warning("The answer is not written down yet, trying again: %s", error)
            time.sleep(seconds)
    return work()


def name_of(context: Context) -> str:
    """The name of this DAG run's question in the ledger."""
    return f"melanoma_promotion, {context['dag_run'].run_id}"


@contextmanager
def told() -> Iterator[None]:
    """Turns an error of the program into Airflow's: bad input is not tried again."""
    try:
        yield
    except BadInput as error:
        raise AirflowFailException(str(error)) from error
    except Halt as halt:
        raise AirflowSkipException(str(halt)) from halt


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
    QUESTION = ("--question", "melanoma_promotion, {{ run_id }}")
    ask = task_of(
        "ask",
        *RUN,
        *QUESTION,
        "--days",
        "8",  # Airflow itself ends the question after seven
        doc_md="Verifies the evidence and puts the question, comparing anew with the champion if "
        "another model has become the champion since.",
    )
    decide = Decide(
        task_id="decide",
        doc_md="Waits for a person under *Required Actions*. No answer within 7 days is a Reject.",
    )
    second = Decide(
        task_id="decide_second",
        second=True,
        doc_md="Waits for a second person, where one is not enough.",
    )
    promote = task_of(
        "promote",
        *RUN,
        *QUESTION,
        trigger_rule="none_failed_min_one_success",
        doc_md="Moves the alias `champion`, if the ledger of promotions holds the approvals.",
    )
    presented >> ask >> decide >> second >> promote
    decide >> promote
