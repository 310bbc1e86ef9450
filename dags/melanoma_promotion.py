"""Ask a person whether a registered challenger becomes the champion, then move the alias."""

import shlex
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Context, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from dags.assets import CHALLENGER_REGISTERED
from dags.default_args import DEFAULT_ARGS
from dags.places.choice import task_of
from tasks.engine.storage import open_store
from tasks.evaluation.serious import Serious, serious_of
from tasks.figures import at_least, at_most, percent
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Proportion
from tasks.records.registered import Registered
from tasks.records.verdict import Rule, Verdict
from tasks.text.markdown import code, plain

TIME_TO_DECIDE = timedelta(days=7)
VERIFY = ("python", "-m", "tasks", "verify", "--evidence")

ABOUT = """
Puts a registered model, the **challenger**, before a person, and makes it the **champion** if the
person approves.

**It starts** when `melanoma_retraining` registers a model, or by hand with a run's address.
**It waits** in the task `decide` for an answer under *Required Actions*, for seven days; no answer
is a *Reject*. Waiting takes no worker and holds up no retraining.
**A rejected model** keeps its version and its evidence in MLflow; `promote` is skipped.
"""


def challenger(context: Context) -> str:
    """The address of the run whose model is to be judged.

    Raises:
        AirflowFailException: Neither an event nor the form names a run.
    """
    # If several models were registered before this run began, take the last one.
    events = context["triggering_asset_events"].get(CHALLENGER_REGISTERED, ())
    named = [event.extra["run"] for event in events if event.extra.get("run")]
    if named:
        return str(named[-1])
    if context["params"]["run"]:
        return str(context["params"]["run"])
    raise AirflowFailException(
        "No model to judge is named.\n"
        "  Expected: an event of challenger_registered with 'run' in its extra, or a run in the "
        "form\n  Received: neither\n"
        "  Do:       trigger this DAG again with the address of a run, STORE/runs/NAME"
    )


def evidence(run: str) -> str:
    """The evidence that a person needs for the decision, in Markdown.

    Names and tables of a delivery are hostile input, so the page shows them as plain text.

    Args:
        run: Address of a run, ``STORE/runs/NAME``.
    """
    registered = _record(run, "register")
    evaluated = _record(run, "evaluate")
    verdict = _record(run, "gate")
    assert isinstance(registered, Registered)
    assert isinstance(evaluated, Evaluated)
    assert isinstance(verdict, Verdict)
    figures = evaluated.figures
    missed = _named([each.image_ids for each in evaluated.missed])
    policy = verdict.policy
    return "\n".join(
        [
            *_synthetic(run),
            f"**Model** {plain(registered.name)}, version {registered.version}; "
            f"recipe {plain(recipe_now(evaluated.recipe))}, threshold {evaluated.threshold:.3f}",
            "",
            "| lesions of the frozen test part | share | of | 95 % interval |",
            "|---|---|---|---|",
            f"| Melanoma sensitivity: melanomas called melanoma | {_row(figures.sensitivity)} |",
            f"| Specificity: others not called melanoma | {_row(figures.specificity)} |",
            f"| Accuracy: first answer is right | {_row(figures.accuracy)} |",
            *(_of_cancer(each) for each in serious_of(figures)),
            "",
            f"**Gate: {verdict.decision}.** Policy {plain(policy.name)}, version "
            f"{policy.version}. {plain(verdict.reason)}",
            "",
            *map(_as_item, verdict.rules),
            "",
            *(f"**Warning.** {plain(warning)}" for warning in verdict.warnings),
            "",
            f"Missed melanomas: {missed}.",
            *_against_champion(evaluated),
            "",
            f"Report: {code(f'{run}/report.html')}",
            "",
            f"Evidence: {code(f'{run}/evidence')}, manifest SHA-256 "
            f"{code(registered.evidence.sha256)}. It is verified before anything is promoted; "
            f"to do so now: {code(shlex.join([*VERIFY, f'{run}/evidence']))}",
        ]
    )


def _record(run: str, step: str) -> Any:
    # Importing tasks.engine.run takes a few hundred milliseconds. At the top of the file, every
    # parse of the DAG would pay them.
    from tasks.engine.run import read_record

    store, _, name = run.rpartition("/runs/")
    record = read_record(open_store(store), name, step)
    if record is None:
        raise AirflowFailException(
            f"There is no model to judge.\n  Expected: the record of {step} in {run}\n"
            "  Received: no such record\n  Do:       name a run that registered a model"
        )
    return record


def _synthetic(run: str) -> list[str]:
    ingested = _record(run, "ingest")
    if not ingested.synthetic:
        return []
    return ["**SYNTHETIC.** Drawn lesions: nothing here says anything about patients.", ""]


def _row(found: Proportion) -> str:
    bounds = f"{at_least(found.lower, 1)} to {at_most(found.upper, 1)}"
    return f"{percent(found.estimate, 1) if found.n else '-'} | {found.n} | {bounds}"


def _of_cancer(each: Serious) -> str:
    """A row for another class that must not be left alone."""
    what = f"{each.name}, a precursor" if each.precursor else each.name
    told = _row(each.called) if each.called else "not recorded | - | -"
    return f"| Of the others, {what}: called melanoma | {told} |"


def _against_champion(evaluated: Evaluated) -> list[str]:
    """The melanomas that the present champion finds and this model misses."""
    champion = evaluated.champion
    if champion is None or champion.comparison is None:
        return []
    lost = _named(champion.comparison.lost)
    return ["", f"Found by the champion (version {champion.version}) and missed here: {lost}."]


def _named(lesions: Iterable[tuple[str, ...]]) -> str:
    """Lesions by the ids of their images."""
    return plain("; ".join(", ".join(ids) for ids in lesions)) or "none"


def _as_item(rule: Rule) -> str:
    """A rule as an item of a list. Its reason begins with its name."""
    return f"- **{rule.decision}** · {plain(rule.reason)}"


@task(multiple_outputs=True)
def present_challenger() -> dict[str, str]:
    """Reads the records of the run and shows the evidence for the decision."""
    run = challenger(get_current_context())
    text = evidence(run)
    print(text)
    return {"run": run, "text": text}


with DAG(
    "melanoma_promotion",
    description="A person decides whether a challenger becomes the champion.",
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
    decide = ApprovalOperator(
        task_id="decide",
        subject="Shall this challenger become the champion?",
        body="{{ ti.xcom_pull('present_challenger', key='text') }}",
        defaults=ApprovalOperator.REJECT,
        response_timeout=TIME_TO_DECIDE,
        doc_md="Waits for a person under *Required Actions*. No answer within 7 days is a Reject.",
    )
    promote = task_of(
        "promote",
        "--run",
        "{{ ti.xcom_pull('present_challenger', key='run') }}",
        doc_md="Moves the alias `champion` to the challenger's version.",
    )
    presented >> decide >> promote
