"""Ask people under Airflow's *Required Actions*, and write their answers into the ledger."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags.notifications import Notify
from dags.pages.links import ANSWERS, EVIDENCE, MODEL_CARD, REPORT, link
from dags.store import logged_in
from tasks.engine.person import Person
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Halt, Momentary
from tasks.registry.promotions import Answer, PolicyQuestion, Question, no_question, promotions_in
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
QUESTION = ("--question", "{{ dag_run.dag_id }}, {{ run_id }}")
# Airflow itself ends the question after seven days.
DAYS = ("--days", "8")


def store_uri() -> str:
    """The address of the store of this installation."""
    return os.environ.get("MELANOMA_STORE", "").rstrip("/")


class Decide(HITLOperator):
    """Asks a person about a model or a policy, and writes the answer into the ledger of promotions.

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
            question = now.asked(name_of(context))
            if question is None:
                raise no_question(name_of(context))
            state: str = now.state(question)
            if self.second and question.asked.approvals == 1:
                state = "one is enough"
            if state == "open":
                # Airflow keeps the first text of a task that asks again.
                self.subject, self.body = question.subject, f"{links(question)}{question.page}"
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


def two_answers() -> tuple[Decide, Decide]:
    """The tasks that wait for a person, and for a second one where one is not enough."""
    return (
        Decide(
            task_id="decide",
            doc_md="Waits for a person under *Required Actions*. No answer within 7 days is a "
            "Reject.",
        ),
        Decide(
            task_id="decide_second",
            second=True,
            doc_md="Waits for a second person, where one is not enough.",
        ),
    )


def links(question: Question | PolicyQuestion) -> str:
    """Links to the served pages of the run that a question is about, as a paragraph; empty for a
    policy, whose page holds all of it."""
    if isinstance(question, PolicyQuestion):
        return ""
    run = question.model.run.rpartition("/")[2]
    return " · ".join(f"[{name}]({link(run, file)})" for name, file in PAGES) + "\n\n"


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
    """The name of a DAG run's question in the ledger; `QUESTION` is its template."""
    return f"{context['dag_run'].dag_id}, {context['dag_run'].run_id}"


@contextmanager
def told() -> Iterator[None]:
    """Turns an error of the program into Airflow's: bad input is not tried again."""
    try:
        yield
    except BadInput as error:
        raise AirflowFailException(str(error)) from error
    except Halt as halt:
        raise AirflowSkipException(str(halt)) from halt
