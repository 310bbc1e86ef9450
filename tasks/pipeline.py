"""The pipeline as a table: each step, the records that it needs and gives, its dependencies.

The command line, the Airflow DAG and the reuse of earlier work all read this table. The module
of a step holds one function of the step's name.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from tasks.config import Retraining
from tasks.errors import BadInput
from tasks.parts import Part
from tasks.recipes import FORMER_RECIPES
from tasks.records.balance import Balance
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested, IngestedPart
from tasks.records.oversampled import Oversampled
from tasks.records.record import Record
from tasks.records.registered import Registered
from tasks.records.split import Split
from tasks.records.trained import Trained, TrainedPart
from tasks.records.validated import Validated, ValidatedPart
from tasks.records.verdict import Verdict

Machine = Literal["small", "large", "gpu"]
Libraries = Literal["data", "train"]


@dataclass(frozen=True)
class Division:
    """How the work of a step divides into parts that machines can do side by side.

    The module of the step holds one more function, named after the step, with ``_part``. It takes
    the arguments of the step and the part: a `Part` of the files, or a name. The step itself takes
    the records of all parts, and joins them.

    Attributes:
        over: Field of the configuration with the number of parts, or with their names.
        gives: Type of the record of a part.
        outside: The modules of `Step.outside` on which the parts depend too.
    """

    over: Literal["parts", "recipes"]
    gives: type[Record]
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One row.

    Attributes:
        name: Name of the step and its function.
        does: One sentence for a person.
        module: Module of the function, as a dotted path within ``tasks``.
        needs: Steps whose records the function takes, in this order.
        gives: Type of the record it returns.
        since: Needs that earlier formats of the record lack, with the first format that has them.
        config: Fields of the configuration that its result depends on.
        libraries: Distributions whose version its result depends on.
        outside: Modules of ``tasks/`` whose function `outside_state` gives further state that the
            result depends on, such as the champion in the registry.
        begins: Modules of ``tasks/`` whose function `begin` keeps in the run's folder what must not
            change while the run lasts. They are called before the work of the first step.
        starts: Module of ``tasks/`` whose function `start` begins a process that the whole step
            will ask, while the step still imports; or empty.
        machine: Kind of machine that the step should run on.
        image: Set of libraries that the step imports, and so its container image.
        memory_mb: Most memory that the step may take, in MiB.
        cpus: Most processor cores that the step may use; all cores of a smaller machine.
        hours: Longest time for one attempt at the step, or at one of its parts, above 0. An
            orchestrator then ends the attempt, and tries again if attempts are left. Generous: it
            catches what hangs, not what is slow.
        spools: Whether the step writes images to a file when memory has no room for them.
        mlflow: Whether the step talks to MLflow.
        appends: Whether the step appends to the ledger.
        notes: Folders outside the run, ending in ``/``, that the step, or a command, writes to.
        keeps: Files, and folders with a ``/`` at the end, that the step writes into the run's
            folder in addition to its own folder.
        reusable: Whether a new run may reuse an earlier result.
        division: How the work divides into parts; None if it does not divide.
        part: The part this row describes; None for a whole step, as in all rows of the table.
    """

    name: str
    does: str
    module: str
    needs: tuple[str, ...]
    gives: type[Record]
    since: tuple[tuple[str, int], ...] = ()
    config: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    begins: tuple[str, ...] = ()
    starts: str = ""
    machine: Machine = "small"
    image: Libraries = "data"
    memory_mb: int = 2048
    cpus: int = 2
    hours: float = 2
    spools: bool = False
    mlflow: bool = False
    appends: bool = False
    keeps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reusable: bool = True
    division: Division | None = None
    part: Part | str | None = None

    @property
    def whole(self) -> str:
        """Name of the step whose part this row describes; for a whole step, its own name."""
        return self.name.partition("/")[0]


# Fields that decide what a recipe learns.
LEARNING = (
    *("image_size", "epochs", "batch_size", "learning_rate", "seed"),
    *("residual_epochs", "residual_batch_size", "residual_learning_rate"),
)
# Read without being part of the configuration: weights are hashed, checkpoints change no result.
READ_BY_TRAINING = (*LEARNING, "transfer_weights", "checkpoint_minutes")

STARTED = "started.json"  # who started a run, see `tasks.engine.started`

PIPELINE: tuple[Step, ...] = (
    Step(
        "ingest",
        "Fetches new files under raw/, decodes them once, packs the pixels, builds the manifest.",
        module="intake.ingest",
        needs=(),
        gives=Ingested,
        config=("packed_size", "maximum_megapixels", "coarse_codes"),
        libraries=("cykooz.resizer", "pillow", "pydicom", "scipy", "simplejpeg"),
        outside=("engine.delivery_order",),
        hours=24,
        begins=("evaluation.fix_policy",),
        keeps=("raw.json", "withdrawn.json", "config.json", STARTED, "policy/"),
        notes=("private/",),  # the key of the names that patients have here
        division=Division("parts", IngestedPart),
    ),
    Step(
        "validate",
        "Finds false data and quarantines them, with a reason for each image.",
        module="validation.validate",
        needs=("ingest",),
        gives=Validated,
        config=("minimum_groups", "laws_that_fail", "laws_that_resolve", "test_part", "policy"),
        libraries=("great-expectations", "opencv-python-headless"),
        outside=("splitting.looks", "evaluation.policy", "engine.delivery_order"),
        starts="validation.library_process",
        memory_mb=3072,  # Great Expectations takes 640 MiB beside the laws, for 100,000 files
        hours=12,
        division=Division("parts", ValidatedPart),
    ),
    Step(
        "split",
        "Puts each lesion, whole, into training, validation or test, for ever.",
        module="splitting.split",
        needs=("validate",),
        gives=Split,
        config=("validation_share", "test_share", "test_part"),
        appends=True,
    ),
    Step(
        "check_balance",
        "Measures how uneven the classes of the training part are and plans copies.",
        module="balancing.check_balance",
        needs=("split",),
        gives=Balance,
        config=("balance_policy", "balance_target", "copies_per_image"),
    ),
    Step(
        "oversample",
        "Draws the planned copies with Augmentor, from training images only.",
        module="balancing.oversample",
        needs=("split", "check_balance"),
        gives=Oversampled,
        config=("seed",),
        libraries=("Augmentor", "cykooz.resizer", "pillow", "scipy"),
        hours=12,
    ),
    Step(
        "train",
        "Trains each recipe, keeps its curves and says whether it over- or underfits.",
        module="training.train",
        needs=("split", "oversample"),
        gives=Trained,
        config=("recipes", *READ_BY_TRAINING),
        libraries=("keras",),
        outside=("training.pretrained",),
        machine="gpu",
        image="train",
        memory_mb=8192,
        cpus=8,
        hours=48,
        spools=True,
        mlflow=True,
        division=Division("recipes", TrainedPart, outside=("training.pretrained",)),
    ),
    Step(
        "evaluate",
        "Chooses recipe and threshold on validation, then scores test part and external sets once.",
        module="evaluation.evaluate",
        needs=("split", "train", "oversample", "validate"),
        gives=Evaluated,
        since=(("validate", 4),),
        config=(
            *("recipes", "target_sensitivity", "prevalence", "evaluation", "folds", "test_part"),
            *("coarse_codes", *READ_BY_TRAINING),
        ),
        libraries=("keras", "scikit-learn", "scipy"),
        outside=("registry.champion", "registry.challenger", "training.pretrained"),
        machine="large",
        image="train",
        memory_mb=8192,  # of cross-validation, which trains; the test part alone needs half
        cpus=4,
        hours=96,  # of cross-validation, which trains as often as there are folds
        spools=True,
        mlflow=True,
        appends=True,
    ),
    Step(
        "gate",
        "Judges the figures by a policy's rules, by their bounds: pass, fail or insufficient "
        "evidence.",
        module="evaluation.gate",
        needs=("split", "evaluate"),
        gives=Verdict,
        config=("policy", "prevalence", "test_part"),
        libraries=("scikit-learn", "scipy"),
        outside=("evaluation.policy", "engine.ledger"),
        image="train",
    ),
    Step(
        "register",
        "Writes the evidence; makes an MLflow model version, the challenger, if the gate passed.",
        module="release.register",
        needs=("train", "evaluate", "gate"),
        gives=Registered,
        config=("policy",),
        machine="large",
        image="train",
        memory_mb=4096,
        mlflow=True,
        keeps=("evidence/",),
        reusable=False,  # whether the version stands is for the registry to say, each time
    ),
)


def _command(name: str, does: str, module: str, **settings: Any) -> Step:
    nothing: dict[str, Any] = {"needs": (), "gives": Record, "image": "train"}
    return Step(name, does, module, **nothing | settings)


WATCHING: dict[str, Any] = {"notes": ("monitoring/", "ledger/monitoring/"), "mlflow": True}
# Commands that an orchestrator runs beside the steps. They commit no record.
BESIDE: tuple[Step, ...] = (
    _command(
        "report",
        "Writes the report of a run from the records that it has.",
        module="reporting.report",
        keeps=("report.html", "quarantine.html"),
        mlflow=True,
    ),
    _command(
        "promote",
        "Makes a model that people approved the champion.",
        module="release.promote",
        needs=("register",),
        memory_mb=4096,
        notes=("ledger/promotions/",),
        mlflow=True,
    ),
    _command(
        "rollback",
        "Makes an earlier champion the champion again.",
        module="release.rollback",
        memory_mb=4096,
        notes=("ledger/promotions/",),
        mlflow=True,
    ),
    _command(
        "propose",
        "Puts a policy of the installation's own before people.",
        module="release.propose",
        notes=("ledger/promotions/",),
    ),
    _command(
        "drift",
        "Tests whether the app is asked about other lesions than its model learned from.",
        module="monitoring.watch",
        memory_mb=4096,
        **WATCHING,
    ),
    _command(
        "outcomes",
        "Looks whether the model in use keeps its promise, by diagnoses that came later.",
        module="monitoring.follow_up",
        **WATCHING,
    ),
    _command(
        "ask",
        "Puts a registered model before people; judges it anew if the champion has changed.",
        module="release.question",
        needs=("register",),
        machine="large",
        memory_mb=8192,
        cpus=4,
        spools=True,
        keeps=("evidence/",),
        hours=96,
        # To judge anew is to do every step again.
        notes=("runs/", "shared/", "ledger/", "private/"),
        mlflow=True,
    ),
)


def may_write(row: Step, run: str) -> tuple[str, ...]:
    """The keys of a store that a step, or a command beside the steps, may write. It may read all.

    Args:
        row: Row of `PIPELINE` or `BESIDE`.
        run: Name of the run; ``*`` for any.

    Returns:
        Keys, and folders with a ``/`` at the end.
    """
    own = () if row in BESIDE else (f"runs/{run}/{row.whole}/", "shared/")
    ledger = ("ledger/chain/",) if row.appends else ()
    return (*own, *(f"runs/{run}/{each}" for each in row.keeps), *row.notes, *ledger)


def row_of(command: str) -> Step:
    """The row of a step or of a command beside the steps. Raises `BadInput` if there is none."""
    return next((row for row in BESIDE if row.name == command), None) or step_named(command)


def step_named(name: str) -> Step:
    """The row of a step, ``ingest``, or of a part of one, ``ingest/2-of-4``.

    Raises:
        BadInput: There is no such step, or it does not divide.
    """
    whole, _, part = name.partition("/")
    for step in PIPELINE:
        if step.name == whole and not part:
            return step
        if step.name == whole and step.division:
            return _part(step, Part.named(part) or part)
    raise BadInput(
        "There is no such step.",
        expected=", ".join(step.name for step in PIPELINE),
        received=repr(name),
        do="name one of these",
    )


def steps_until(last: str | None) -> tuple[Step, ...]:
    """The steps of the pipeline up to `last`, included; all steps for None."""
    if last is None:
        return PIPELINE
    names = [step.name for step in PIPELINE]
    return PIPELINE[: names.index(step_named(last).name) + 1]


def parts_of(step: Step, config: Retraining) -> tuple[Step, ...]:
    """The rows of a step's parts under a configuration; empty for a step that does not divide."""
    if step.division is None or step.part:
        return ()
    over = getattr(config, step.division.over)
    if isinstance(over, int):
        return tuple(_part(step, Part(number, over)) for number in range(1, over + 1))
    return tuple(_part(step, name) for name in over)


def part_named(step: Step, name: str, config: Retraining) -> Step:
    """The row of one part. Raises `BadInput` if the step has no such part."""
    parts = parts_of(step, config)
    for part in parts:
        if str(part.part) == FORMER_RECIPES.get(name, name):
            return part
    raise BadInput(
        f"{step.name} has no such part.",
        expected=" or ".join(str(part.part) for part in parts) or "no part: it does not divide",
        received=repr(name),
        do=f"name one of these, or change {step.division.over} in --config"
        if step.division
        else "leave --part out",
    )


def _part(step: Step, part: Part | str) -> Step:
    own = step.division
    assert own
    return replace(
        step, name=f"{step.name}/{part}", gives=own.gives, outside=own.outside, part=part
    )
