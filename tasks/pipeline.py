"""The pipeline as a table: each step, the records it needs and gives, what it depends on.

The command line, the Airflow DAG and the reuse of earlier work all read this table. The module
of a step has the step's name and holds one function of that name.
"""

from dataclasses import dataclass
from typing import Literal

from tasks import contracts
from tasks.errors import BadInput

Machine = Literal["small", "large", "gpu"]
Libraries = Literal["data", "train"]


@dataclass(frozen=True)
class Step:
    """One row.

    Attributes:
        name: Of the step, its module and its function.
        does: One sentence for a person.
        needs: Steps whose records the function takes, in this order.
        gives: Type of the record it returns.
        config: Fields of the configuration that its result depends on.
        libraries: Distributions whose version its result depends on.
        machine: Where it wants to run.
        image: Set of libraries that it imports, and so the container image that it runs in.
        memory_mb: Most memory that it may take, in MiB.
        cpus: Most processor cores that it may keep busy; a smaller machine gives what it has.
        reusable: Whether an earlier result may stand for a new one.
    """

    name: str
    does: str
    needs: tuple[str, ...]
    gives: type[contracts.Record]
    config: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    machine: Machine = "small"
    image: Libraries = "data"
    memory_mb: int = 2048
    cpus: int = 2
    reusable: bool = True


PIPELINE: tuple[Step, ...] = (
    Step(
        "ingest",
        "Fetches what is new under raw/, decodes it once, packs the pixels, builds the manifest.",
        needs=(),
        gives=contracts.Ingested,
        config=("packed_size", "maximum_megapixels", "coarse_codes"),
        libraries=("pillow", "scipy"),
    ),
    Step(
        "validate",
        "Finds what is not true in the data and quarantines it, with a reason for each image.",
        needs=("ingest",),
        gives=contracts.Validated,
        config=("minimum_groups", "laws_that_fail", "laws_that_resolve", "test_part"),
        libraries=("great-expectations",),
    ),
    Step(
        "split",
        "Puts each lesion, whole, into training, validation or test, for ever.",
        needs=("validate",),
        gives=contracts.Split,
        config=("validation_share", "test_share", "test_part"),
    ),
    Step(
        "check_balance",
        "Measures how uneven the classes of the training part are and plans copies.",
        needs=("split",),
        gives=contracts.Balance,
        config=("balance_policy", "balance_target", "copies_per_image"),
    ),
    Step(
        "oversample",
        "Draws the planned copies with Augmentor, from training images only.",
        needs=("split", "check_balance"),
        gives=contracts.Oversampled,
        config=("seed",),
        libraries=("Augmentor", "pillow"),
    ),
    Step(
        "train",
        "Trains each recipe, keeps its curves and says whether it over- or underfits.",
        needs=("split", "oversample"),
        gives=contracts.Trained,
        config=("image_size", "recipes", "epochs", "batch_size", "learning_rate", "seed"),
        libraries=("keras",),
        machine="gpu",
        image="train",
        memory_mb=8192,
        cpus=8,
    ),
    Step(
        "evaluate",
        "Chooses recipe and threshold on validation, then scores the frozen test part once.",
        needs=("split", "train"),
        gives=contracts.Evaluated,
        config=("target_sensitivity",),
        libraries=("keras", "scikit-learn"),
        machine="large",
        image="train",
        memory_mb=4096,
        cpus=4,
    ),
    Step(
        "gate",
        "Judges melanoma recall by its lower bound: pass, fail or insufficient evidence.",
        needs=("evaluate",),
        gives=contracts.Verdict,
        config=("minimum_recall", "minimum_specificity"),
        libraries=("scipy",),
    ),
    Step(
        "register",
        "Makes an MLflow model version with the alias challenger, if the gate passed.",
        needs=("train", "evaluate", "gate"),
        gives=contracts.Registered,
        machine="large",
        image="train",
        memory_mb=4096,
        reusable=False,  # whether the version stands is for the registry to say, each time
    ),
)


def step_named(name: str) -> Step:
    """The row of a step. Raises `BadInput` for an unknown name."""
    for step in PIPELINE:
        if step.name == name:
            return step
    raise BadInput(
        "There is no such step.",
        expected=", ".join(step.name for step in PIPELINE),
        received=repr(name),
        do="name one of these",
    )
