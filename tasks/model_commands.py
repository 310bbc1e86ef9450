"""The commands about models in use, and about the policies that judge them."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.config import Retraining, parse_config
from tasks.engine.person import person_here
from tasks.engine.run import open_run
from tasks.engine.signing import keys_of
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.intake_commands import BESIDE, AcceptUnread
from tasks.options import PANEL, AsJson, PublicKey, Reason, RunUri, StoreUri
from tasks.text.lines import visible

PolicyFile = Annotated[
    str, typer.Option("--policy", help="Its file in the store: policies/NAME.yaml.")
]


def compare_command(run: RunUri) -> None:
    """Judge a registered model anew if the champion has changed since it was judged."""
    from tasks.release.compare import compare

    print(compare(open_run(run, Retraining())).uri)


def ask_command(
    run: RunUri,
    question: Annotated[str, typer.Option(help="Name of the question, in the ledger.")],
    days: Annotated[float, typer.Option(min=0.001, help="An answer counts for so long.")] = 7,
) -> None:
    """Put a registered model before people, for Airflow or another program that asks them."""
    from tasks.release.compare import compare
    from tasks.release.question import ask

    deadline = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
    ask(compare(open_run(run, Retraining())), question, person_here(), deadline)


def decide_command(
    run: RunUri,
    reason: Reason,
    approve: Annotated[
        bool | None, typer.Option("--approve/--reject", help="The answer.", show_default=False)
    ] = None,
) -> None:
    """Answer, in your name, whether the model of a run becomes the champion.

    The ledger keeps the answer, with the name of this process' user, who has not logged in. A model
    with all approvals that its policy asks for is promoted at once.
    """
    from tasks.registry.promotions import now_utc, promotions_in
    from tasks.release.decide import decide
    from tasks.release.promote import promote
    from tasks.release.question import ask

    if approve is None:
        raise BadInput(
            "There is no answer.",
            expected="--approve or --reject",
            received="neither",
            do="give one of them",
        )
    opened, person = open_run(run, Retraining()), person_here()
    about = [each for each in promotions_in(opened.store).open if each.model.run == opened.uri]
    if about:
        question = about[-1]
    else:
        question = ask(opened, f"command line, {now_utc()}, {person.name}", person)
    answer = decide(opened.store, question.id, "approve" if approve else "reject", person, reason)
    if answer.refused:
        raise BadInput(
            "The answer does not count.",
            expected="an answer of a person who may decide",
            received=answer.refused,
            do="let another person answer",
        )
    now = promotions_in(opened.store)
    if now.state(question) == "open":
        given = len(now.answers(question.id))
        print(f"{given} of {question.asked.approvals} approvals: another person must approve.")
        return
    promote(opened, question.id)


def propose_command(
    store: StoreUri,
    policy: PolicyFile,
    question: Annotated[str, typer.Option(help="Name of the question, in the ledger.")],
    days: Annotated[float, typer.Option(min=0.001, help="An answer counts for so long.")] = 7,
) -> None:
    """Put your own policy before people, for Airflow or another program that asks them."""
    from tasks.release.propose import propose

    deadline = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
    asked = propose(open_store(store), policy, question, person_here(), deadline)
    print(visible(asked.subject))


def approve_policy_command(store: StoreUri, policy: PolicyFile, reason: Reason) -> None:
    """Approve, in your name, that models which your own policy lets pass may go into use.

    Two people must. The ledger keeps the policy's text and the approval, with the name of this
    process' user, who has not logged in.
    """
    from tasks.registry.promotions import now_utc, promotions_in
    from tasks.release.decide import decide
    from tasks.release.policy_page import approved_by
    from tasks.release.propose import asked_about, propose

    opened, person = open_store(store), person_here()
    question = asked_about(opened, policy)
    if question is None:
        name = f"command line, {now_utc()}, {person.name}, {policy}"
        question = propose(opened, policy, name, person)
    named = f"The policy {visible(question.policy.in_words)}"
    now = promotions_in(opened)
    if now.state(question) == "open":
        for change in question.policy.changes:
            print(f"Against {question.policy.nearest}: {visible(change)}.")
        answer = decide(opened, question.id, "approve", person, reason)
        if answer.refused:
            raise BadInput(
                "The approval does not count.",
                expected="an approval, with a reason, of a person who may give it",
                received=answer.refused,
                do="let another person approve; where the policy asks for a login, start the DAG "
                "melanoma_policy",
            )
        now = promotions_in(opened)
    if now.state(question) == "open":
        given = len(now.answers(question.id))
        print(f"{named}: {given} of {question.asked.approvals} approvals. Another must approve.")
        return
    print(f"{named} is {visible(approved_by(now, question.policy.sha256))}.")


def promote_command(
    run: RunUri,
    question: Annotated[
        str | None,
        typer.Option(help="Name of the question that was approved. Default: the last one."),
    ] = None,
) -> None:
    """Make a model that people approved the champion. Asks nobody: see decide."""
    from tasks.release.promote import promote

    promote(open_run(run, Retraining()), question)


def rollback_command(
    store: StoreUri,
    to: Annotated[int, typer.Option(help="Number of the version, an earlier champion.")],
    reason: Reason,
    name: Annotated[
        str, typer.Option(help="Name of the request. Again under this name, nothing is moved.")
    ] = "",
) -> None:
    """Make an earlier champion the champion again, at once and without the gate."""
    from tasks.release.rollback import rollback

    rollback(open_store(store), to, person_here(), reason, name)


def ledger_command(
    store: StoreUri,
    on: Annotated[
        str | None, typer.Option(metavar="TIME", help="Say who was champion then: 2026-11-30.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set MLflow's aliases as the ledger says.")
    ] = False,
    public_key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Verify the ledger of promotions, and print who decided what, when and why."""
    from tasks.release.history import as_json as in_json
    from tasks.release.history import history, moment, signature_in_words
    from tasks.release.ledger_words import rows

    at = moment(on) if on else None
    keys = keys_of(public_key) if public_key else None
    now, difference = history(open_store(store), repair=repair, keys=keys)
    if at:
        found = now.champion_at(at)
        print(f"Version {found.version}, of run {found.run}." if found else "No model was in use.")
        return
    if as_json:
        print(in_json(now, difference, keys))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("", "when (UTC)", "what", "why"):
        table.add_column(column)
    for row in rows(now):
        table.add_row(*(escape(visible(cell)) for cell in row))
    Console().print(table if now.facts else "Nothing was decided yet.")
    champion = now.champion
    print(f"Champion: version {champion.version}." if champion else "There is no champion.")
    if now.facts:
        print(f"The ledger is {signature_in_words(now, keys)}.")


def score_command(
    model: Annotated[
        str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION or a .keras file.")
    ],
    images: Annotated[Path, typer.Option(help="A folder with images, at any depth.")],
    labels: Annotated[
        Path, typer.Option(help="A table: image_id, diagnosis, lesion_id, age, ... as delivered.")
    ],
    evidence: Annotated[
        str | None, typer.Option(help="The model's bundle. A registered model names its own.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Melanoma probability. Default: the model's threshold."),
    ] = None,
    coarse: Annotated[
        str, typer.Option(help="JSON: the class to take for each coarser code of the labels.")
    ] = "{}",
    store: Annotated[
        str | None,
        typer.Option(
            help="The store whose ledger counts a look at images of the model's test part. Its "
            "MLflow is used if MLFLOW_TRACKING_URI is not set."
        ),
    ] = None,
    accept_unread: AcceptUnread = False,
    accept_missing: Annotated[
        bool, typer.Option("--accept-missing", help="Go on without melanomas that have no image.")
    ] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Write the answer to each image into this new CSV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """Score a model on any labelled folder, without the images that it learned from.

    Says in words whether the model is worse there than on its own test part, and how the lesions
    differ from those that it learned from.
    """
    from tasks.monitoring.score import score
    from tasks.monitoring.scored import in_words

    parsed = parse_config(f'{{"coarse_codes": {coarse}}}')
    scored = score(
        model,
        images,
        labels,
        evidence=evidence,
        threshold=threshold,
        coarse=parsed.coarse_codes,
        store=open_store(store) if store else None,
        accept_unread=accept_unread,
        accept_missing=accept_missing,
        predictions=predictions,
    )
    for each in scored.left_out[:10]:
        logging.getLogger("tasks").warning("Left out: %s: %s.", each.image_id, each.reason)
    print(scored.model_dump_json(indent=1) if as_json else in_words(scored))


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for name, command in (
        ("compare", compare_command),
        ("ask", ask_command),
        ("propose", propose_command),
        ("approve-policy", approve_policy_command),
        ("decide", decide_command),
        ("promote", promote_command),
        ("rollback", rollback_command),
        ("ledger", ledger_command),
    ):
        app.command(name, rich_help_panel=PANEL)(command)
    app.command("score", rich_help_panel=BESIDE)(score_command)
