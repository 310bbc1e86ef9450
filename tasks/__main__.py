"""The command line: argv -> records -> step -> record.

A terminal, an Airflow task, a container and a pod all run this command. Exit codes: 0 done, 64 bad
input, 75 temporary fault, 99 the rest must not run; see ``tasks.errors``.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.config import Retraining, parse_config, range_in_words
from tasks.engine.defaults import begin, config_of, defaults_of, set_defaults
from tasks.engine.execute import execute
from tasks.engine.person import person_here
from tasks.engine.quiet import OneLine, quiet_loggers, report_nothing, show_bug
from tasks.engine.run import Progress, Run, open_run
from tasks.engine.signing import keys_here, keys_of
from tasks.engine.storage import open_store
from tasks.erasure_commands import add_to as add_erasure_to
from tasks.errors import BadInput, Halt, Momentary, PipelineError
from tasks.intake_commands import AcceptUnread
from tasks.intake_commands import add_to as add_intake_to
from tasks.kubeflow_commands import add_to as add_kubeflow_to
from tasks.model_commands import add_to
from tasks.monitoring_commands import add_to as add_monitoring_to
from tasks.options import AsJson, PublicKey, RunUri, StoreUri
from tasks.pipeline import PIPELINE, Step, part_named, steps_until
from tasks.records.record import Record
from tasks.records.verdict import Verdict
from tasks.serving_commands import add_to as add_serving_to
from tasks.signing_commands import add_to as add_signing_to
from tasks.terminal import closing_table, progress_bars, summary, watcher
from tasks.text.lines import visible

EPILOG = (
    "Every step reads the records of earlier steps and commits its own record last, so it can be "
    "killed and run again at any time. Exit codes: 0 done; 64 bad input, do not retry; "
    "75 temporary fault, retry; 99 the steps after this one must not run. "
    "S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY. MLflow: MLFLOW_TRACKING_URI. "
    "Signing: MELANOMA_SIGNING_KEY, MELANOMA_PUBLIC_KEY."
)

app = typer.Typer(
    name="python -m tasks",
    help="Retrain a skin-lesion classifier, safely: from delivered images to a model version "
    "with evidence.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # ours are told in main(); a bug's shows as Python shows it
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _before(context: typer.Context) -> None:
    # A key that cannot be used is told before any work, but to who makes a key.
    if context.invoked_subcommand != "keygen":
        keys_here()


ConfigJson = Annotated[
    str,
    typer.Option(
        "--config",
        help="JSON object; fields left out have the default of the store, config.json beside raw/, "
        "else of the product. See [b]config[/b].",
    ),
]


PartName = Annotated[
    str | None,
    typer.Option(
        "--part",
        help="Do one part only, such as 2-of-4 or the name of a recipe, and commit it. Without "
        "this option the step does the missing parts, and joins all.",
    ),
]


OutcomeFile = Annotated[
    Path | None,
    typer.Option(
        help="Write what came of the step to this file: the decision of the gate, else done or "
        "halted. A halt then ends with exit code 0, for who cannot read 99.",
    ),
]


def _step_command(step: Step) -> Callable[..., None]:
    def command(run: RunUri, config: ConfigJson = "{}", outcome: OutcomeFile = None) -> None:
        if outcome is None:
            _one_step(step, _open(run, config, step))
        else:
            _telling(step, _open(run, config, step), outcome)

    def command_of_parts(run: RunUri, config: ConfigJson = "{}", part: PartName = None) -> None:
        opened = _open(run, config, step)
        row = part_named(step, part, opened.config) if part else step
        _one_step(row, replace(opened, step=row.name))

    return command_of_parts if step.division else command


def _open(uri: str, config: str, step: Step) -> Run:
    """A run with its configuration; see `tasks.engine.defaults`. The first step begins the run."""
    run = open_run(uri, Retraining(), step=step.name)
    read = config_of if step.needs else begin
    return replace(run, config=read(run.store, run.name, config))


def _one_step(row: Step, run: Run) -> Record:
    console = Console(stderr=True)
    with progress_bars(console) as bars:
        return execute(row, replace(run, watch=watcher(bars, row)))


def _telling(row: Step, run: Run, outcome: Path) -> None:
    told = "done"
    try:
        record = _one_step(row, run)
        if isinstance(record, Verdict):
            told = record.decision
    except Halt as halt:
        logging.getLogger("tasks").warning("%s", halt)
        told = "halted"
    outcome.parent.mkdir(parents=True, exist_ok=True)
    outcome.write_text(told)


for _step in PIPELINE:
    app.command(_step.name, help=_step.does, rich_help_panel="The nine steps, in order")(
        _step_command(_step)
    )


@app.command("run", rich_help_panel="All of it")
def run_all(
    store: StoreUri,
    images: Annotated[Path | None, typer.Option(help="Deliver this folder first.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Deliver these tables too.")] = None,
    config: ConfigJson = "{}",
    name: Annotated[str | None, typer.Option(help="Name of the run. [dim]Default: now[/]")] = None,
    until: Annotated[str | None, typer.Option(metavar="STEP", help="Stop after this step.")] = None,
    accept_unread: AcceptUnread = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.")] = False,
) -> None:
    """Run the whole pipeline in this process, without Airflow, then write the report."""
    from tasks.intake.deliver import deliver
    from tasks.registry.versions import tracking_uri
    from tasks.reporting.report import report

    steps = steps_until(until)
    name = name or datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    opened = open_store(store)
    if any(step.name == "train" for step in steps):
        tracking_uri(opened)  # raise now, not after hours of work
    if metadata and not images:
        raise BadInput(
            "Tables alone cannot be delivered.",
            expected="--metadata together with --images",
            received="--metadata only",
            do="give --images too",
        )
    run = _open(f"{opened.uri}/runs/{name}", config, steps[0])
    if images:
        deliver(opened, images, metadata, accept_unread=accept_unread)
    # Off a terminal there is no width to fit: wide enough that no path breaks.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    states: dict[str, str] = {}
    try:
        _all_steps(run, steps, console, states)
    finally:
        if states:
            report(run)
    if as_json:
        print(json.dumps(summary(run, states), indent=1))
    else:
        console.print(closing_table(run, states))


def _all_steps(run: Run, steps: tuple[Step, ...], console: Console, states: dict[str, str]) -> None:
    with progress_bars(console) as bars:
        for step in steps:
            watch = watcher(bars, step)
            here = Run(run.store, run.name, run.config, step.name, watch)
            try:
                record = execute(step, here)
            except Halt as halt:
                states[step.name] = f"halted: {halt}"
                logging.getLogger("tasks").warning("%s", halt)
                return
            reused = record.provenance and record.provenance.reused_from
            states[step.name] = f"reused from {reused}" if reused else "done"
            watch(Progress(step.name, 1, 1, states[step.name]))


add_to(app)
add_serving_to(app)
add_signing_to(app, "Keys")
add_intake_to(app)
add_erasure_to(app)
add_monitoring_to(app)
add_kubeflow_to(app)


@app.command("synthesize", rich_help_panel="Beside the pipeline")
def synthesize_command(
    to: Annotated[Path, typer.Option(help="A folder that is empty or does not exist.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other lesions.")] = 20,
    scale: Annotated[float, typer.Option(min=0.01, help="Times about 800 images.")] = 1.0,
    second_clinic: Annotated[
        bool,
        typer.Option(
            "--second-clinic",
            help="Draw about 200 pictures of another device, to deliver with --external.",
        ),
    ] = False,
) -> None:
    """Draw synthetic lesions of nine classes, with planted defects, marked SYNTHETIC."""
    if second_clinic:
        from tasks.intake import second_clinic as other

        made = other.second_clinic(to, seed=seed, scale=scale)
        logging.getLogger("tasks").info("images of a second clinic: %d", made)
        return
    from tasks.intake.synthesize import synthesize

    for what, count in synthesize(to, seed=seed, scale=scale).items():
        logging.getLogger("tasks").info("%s: %d", what, count)


@app.command("report", rich_help_panel="Beside the pipeline")
def report_command(run: RunUri) -> None:
    """Write report.html of a run from the records that it has."""
    from tasks.reporting.report import report

    report(open_run(run, Retraining()))


@app.command("supersede", rich_help_panel="Beside the pipeline")
def supersede_command(
    store: StoreUri,
    image: Annotated[str, typer.Option(help="Id of an image that a model was judged on.")],
    label: Annotated[str, typer.Option(help="The diagnosis that its lesion has, one of the nine.")],
    by: Annotated[str, typer.Option(help="Who decided it.")],
    reason: Annotated[str, typer.Option(help="Why, such as a second histology.")],
    config: ConfigJson = "{}",
) -> None:
    """Replace, in a person's name, the label under which a lesion was judged.

    The ledger keeps the replacement. From then on the gate judges with both labels, and the worse
    result counts.
    """
    from tasks.splitting.looks import supersede

    opened = open_store(store)
    run = Run(opened, "", parse_config(config, defaults_of(opened)))
    lesion, before, now = supersede(run, image, label, by, reason)
    logging.getLogger("tasks").info("Lesion %s, judged as %s, is %s now.", lesion, before, now)


@app.command("verify", rich_help_panel="Beside the pipeline")
def verify_command(
    evidence: Annotated[
        str, typer.Option(help="A bundle: STORE/runs/NAME/evidence, or a copy of it anywhere.")
    ],
    sha256: Annotated[
        str | None,
        typer.Option(help="SHA-256 of the bundle's manifest: the tag evidence_sha256 in MLflow."),
    ] = None,
    public_key: PublicKey = None,
    as_json: AsJson = False,
) -> None:
    """Check the evidence of a run, offline, using only the bundle. Names the first flaw."""
    from tasks.release.verify import verify

    verified = verify(evidence, sha256, keys_of(public_key) if public_key else None)
    if as_json:
        print(verified.model_dump_json(indent=1))
        return
    for said in verified.held:
        print(f"Holds: {visible(said)}.")
    print(
        f"The evidence of run {visible(verified.run)} holds: {verified.decision}, model SHA-256 "
        f"{verified.model_sha256}. Manifest SHA-256 {verified.manifest_sha256}."
    )
    print(f"The evidence is {verified.signature}.")
    if verified.gaps:
        print(f"Gaps: {visible(verified.gaps)}.")


@app.command("config", rich_help_panel="Beside the pipeline")
def config_command(
    store: Annotated[
        str | None, typer.Option(help="Show the defaults of this store, from its config.json.")
    ] = None,
    set_to: Annotated[
        str | None, typer.Option("--set", metavar="JSON", help="First set these defaults there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON schema.")] = False,
) -> None:
    """List every field of the configuration with its range, default and meaning."""
    schema = Retraining.model_json_schema()
    if set_to is not None:
        if not store:
            raise BadInput(
                "Nobody knows which store's defaults to set.",
                expected="--store beside --set",
                received="--set alone",
                do="name the store",
            )
        set_defaults(open_store(store), set_to, person_here())
    if store:
        defaults = parse_config("{}", defaults_of(open_store(store))).model_dump(mode="json")
        for name, field in schema["properties"].items():
            field["default"] = defaults[name]
    if as_json:
        print(json.dumps(schema, indent=1))
        return
    table = Table(box=None, padding=(0, 2, 1, 0), header_style="dim")
    table.add_column("field and default", no_wrap=True)
    table.add_column("meaning and range")
    for name, field in schema["properties"].items():
        default = escape(json.dumps(field["default"]).replace(", ", ",\n "))
        table.add_row(
            f"[b]{name}[/]\n[cyan]{default}[/]",
            f"{escape(field['description'])}\n[dim]{escape(range_in_words(field))}[/]",
        )
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A user's errors never show a traceback."""
    # Hide even TensorFlow's errors. Important ones also come as exceptions. With deterministic
    # operations it logs an error in every epoch, about an attribute that it then ignores.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_DETERMINISTIC_OPS", "1")  # the same seed, the same model bytes
    report_nothing()
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("tasks").setLevel(logging.INFO)
    quiet_loggers()
    try:
        app(argv)
    except PipelineError as error:
        level = "WARNING" if isinstance(error, Halt) else "ERROR"
        print(f"\n{level} {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as wish:  # Typer's own way out; 2 is its code for a wrong command line
        return BadInput.exit_code if wish.code == 2 else int(wish.code or 0)
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    """End this process so that its temporary files are removed. A record is written last, so
    nothing is half committed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(f"ERROR Stopped by {signal.Signals(number).name} before it was done.", file=sys.stderr)
    # No library catches a SystemExit as it might an Exception.
    raise SystemExit(Momentary.exit_code)


def from_the_shell() -> int:
    """Entry point of ``python -m tasks`` and of the script ``melanoma``; returns the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    sys.excepthook = show_bug
    return main()


if __name__ == "__main__":
    sys.exit(from_the_shell())
