"""Put a registered challenger before people, then make it the champion if they approve."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Context, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.assets import CHALLENGER_REGISTERED
from dags.default_args import DEFAULT_ARGS
from dags.notifications import Notify
from dags.pages.links import EVIDENCE, MODEL_CARD, REPORT, link
from dags.places.choice import task_of
from dags.store import logged_in
from tasks.engine.storage import open_store

TIME_TO_DECIDE = timedelta(days=7)
PAGES = (("Report", REPORT), ("Model card", MODEL_CARD), ("Evidence", EVIDENCE))
WRITER = "promote"  # the step with whose credentials an answer is written down
APPROVE, REJECT = "Approve", "Reject"
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


def challenger(context: Context) -> str:
    """The address of the run whose model is to be judged.

    Raises:
        AirflowFailException: Neither an event nor the form names a run of this installation.
    """
    # If several models were registered before this run began, take the last one.
    events = context["triggering_asset_events"].get(CHALLENGER_REGISTERED, ())
    named = [str(event.extra["run"]) for event in events if event.extra.get("run")]
    if context["params"]["run"]:
        named.append(str(context["params"]["run"]))
    if not named:
        raise AirflowFailException(
            "No model to judge is named.\n"
            "  Expected: an event of challenger_registered with 'run' in its extra, or a run in "
            "the form\n  Received: neither\n"
            "  Do:       trigger this DAG again with the address of a run, STORE/runs/NAME"
        )
    store = os.environ.get("MELANOMA_STORE", "").rstrip("/")
    run = named[-1].rstrip("/")
    if run.rpartition("/runs/")[0] != store:
        raise AirflowFailException(
            "The run is not one of this installation.\n"
            f"  Expected: {store}/runs/NAME\n  Received: {run}\n"
            "  Do:       name a run of the store that MELANOMA_STORE names"
        )
    return run


class Decide(HITLOperator):
    """Asks a person, and writes the answer into the ledger of promotions.

    The question, its text and the answer never pass through XCom, which users may edit: the text
    is made from the verified bundle in this task, and the answer comes from Airflow's database.

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
        from tasks.registry.promotions import no_question, promotions_in
        from tasks.release.question_page import body, subject

        with told(), logged_in(self.store, WRITER):
            now = promotions_in(open_store(self.store))
            question = now.question(name_of(context))
            if question is None:
                raise no_question(name_of(context))
            state = now.state(question)
            if state == "open":
                run_name = question.model.run.rpartition("/")[2]
                links = [(name, link(run_name, file)) for name, file in PAGES]
                # Airflow keeps the first text of a task that asks again.
                self.subject, self.body = subject(question), body(question, links)
                return super().execute(context)
        if self.second:
            raise AirflowSkipException(f"No second answer is needed: {state}.")
        self.log.info("The question was answered before: %s.", state)
        return None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        from tasks.engine.person import Person
        from tasks.release.decide import decide

        given = super().execute_complete(context, event)
        user = given["responded_by_user"]
        name = str(user["name"]) if user else ""
        reason = str((given["params_input"] or {}).get("reason") or "")
        with told(), logged_in(self.store, WRITER):
            answer = decide(
                open_store(self.store),
                name_of(context),
                "approve" if given["chosen_options"] == [APPROVE] else "reject",
                Person(name=name, how="Airflow", authenticated=bool(user)),
                reason if user else "No answer within seven days.",
                given["responded_at"].isoformat(),
            )
        if answer.refused and user:
            raise AirflowException(f"The answer does not count: {answer.refused}. Asking again.")
        return None

    @property
    def store(self) -> str:
        """The address of the store."""
        return os.environ.get("MELANOMA_STORE", "").rstrip("/")


def name_of(context: Context) -> str:
    """The name of this DAG run's question in the ledger."""
    return f"melanoma_promotion, {context['dag_run'].run_id}"


@contextmanager
def told() -> Iterator[None]:
    """Turns an error of the program into Airflow's: bad input is not tried again."""
    from tasks.errors import BadInput, Halt

    try:
        yield
    except BadInput as error:
        raise AirflowFailException(str(error)) from error
    except Halt as halt:
        raise AirflowSkipException(str(halt)) from halt


@task
def present_challenger() -> str:
    """Finds the run whose model is to be judged. An event asks about a model once: a task of the
    retraining that is run again registers nothing new."""
    from tasks.config import Retraining
    from tasks.engine.run import open_run
    from tasks.release.question import asked_before

    context = get_current_context()
    run = challenger(context)
    if not context["params"]["run"]:
        with told(), logged_in(run.rpartition("/runs/")[0]):
            asked = asked_before(open_run(run, Retraining()))
        if asked:
            raise AirflowSkipException(
                f"People were asked about version {asked.model.version} before ({asked.id}). To "
                "ask again, trigger this DAG by hand."
            )
    return run


with DAG(
    "melanoma_promotion",
    description="People decide whether a challenger becomes the champion.",
    doc_md=ABOUT,
    schedule=[CHALLENGER_REGISTERED],
    catchup=False,
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
