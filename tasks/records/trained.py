"""The record of ``train``: each recipe's network, its curves and what the curves say."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from tasks.lesions import Diagnosis
from tasks.recipes import RecordedRecipe, recipe_now
from tasks.records.record import Artifact, Frozen, Record

FitKind = Literal[
    "underfits",
    "overfits",
    "overfits mildly",
    "had not finished learning",
    "neither over- nor underfits",
]


class Epoch(Frozen):
    """Figures at the end of one pass over the training part. Losses are cross-entropies in nats.

    During training, validation shows the network each image once. The saved model of `residual`
    answers with the mean over the eight rotations and reflections of the image.
    """

    loss: float = Field(description="Training loss, the mean over the pass.")
    accuracy: float = Field(description="Training accuracy over the pass, 0 to 1.")
    val_loss: float = Field(description="Validation loss after the pass.")
    val_accuracy: float = Field(description="Validation accuracy after the pass, 0 to 1.")
    val_balanced_accuracy: float = Field(
        description="Mean recall over the classes that occur in the validation part, 0 to 1."
    )
    val_recall: tuple[float | None, ...] = Field(
        (),
        description="Recall of each class on validation, 0 to 1, in the order of the outputs; None "
        "for a class without a validation image.",
    )
    seconds: float = Field(description="Wall time of the pass and of the validation after it.")


class Fit(Frozen):
    """Whether a training over- or underfits, from its curves by the rules of `tasks.curve`."""

    kind: FitKind = Field(description="Whether the network over- or underfits.")
    epochs: int = Field(description="Number of epochs.")
    best: int = Field(description="The epoch with the lowest validation loss, from 1.")
    accuracy: float = Field(description="Training accuracy at the last epoch, 0 to 1.")
    val_accuracy: float = Field(description="Validation accuracy at the last epoch, 0 to 1.")
    loss: float = Field(description="Training loss at the last epoch, in nats.")
    lowest_val_loss: float = Field(description="Validation loss at the best epoch, in nats.")
    val_loss: float = Field(description="Validation loss at the last epoch, in nats.")
    prior_loss: float = Field(
        description="Cross-entropy of a model that always answers with the class shares, in nats."
    )

    @property
    def gap(self) -> float:
        """Training accuracy minus validation accuracy, at the last epoch."""
        return self.accuracy - self.val_accuracy


class TrainedRecipe(Frozen):
    """One trained network."""

    recipe: RecordedRecipe = Field(description="The recipe that was trained.")
    model: Artifact = Field(
        description="A ``.keras`` file with the weights of `best_epoch`. Input: RGB, uint8 or "
        "float, 0 to 255, ``(n, any, any, 3)``. Output: probabilities ``(n, classes)``. The model "
        "includes preprocessing and temperature."
    )
    temperature: float = Field(
        1.0,
        description="Temperature of the softmax, fitted on validation. Above 1, the network was "
        "overconfident.",
    )
    calibration_error: tuple[float, float] | None = Field(
        None,
        description="Expected calibration error on validation before and after temperature "
        "scaling. The second is optimistic: the temperature was fitted on the same images.",
    )
    parameters: int = Field(description="Number of weights of the network.")
    images: int = Field(description="Number of images that it learned from, copies included.")
    epochs: tuple[Epoch, ...] = Field(description="The figures of each epoch, in order.")
    best_epoch: int = Field(description="The epoch with the lowest validation loss, from 1.")
    fit: Fit | None = Field(None, description="Whether the training over- or underfits.")
    finding: str = Field(
        "",
        description="`fit` as a sentence, in records older than `fit`.",
    )
    mlflow_run: str = Field(
        description="Id of the run in MLflow. Empty if MLflow did not answer; `register` then "
        "creates the run."
    )
    computed_on: str = Field(
        "",
        description="Keras's backend and the devices of the attempt that ended the training; empty "
        "in older records.",
    )


# Two places that train the same network give the same content. A machine without a GPU reuses what
# a machine with one has trained.
NOT_CONTENT = {
    "computed_on": True,
    "mlflow_run": True,
    "epochs": {"__all__": {"seconds": True}},
}
NOT_CONTENT_UNTIL_3 = {"computed_on": True}


class TrainedPart(Record):
    """The record of one recipe's training."""

    # 1 called the recipe `residual` by its former name, `best`; 2 knew no recipe `travel`; in 3 the
    # seconds and the run in MLflow were content.
    FORMAT: ClassVar[int] = 4
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"trained": NOT_CONTENT}
    NOT_CONTENT_UNTIL: ClassVar[dict[int, dict[str, Any]]] = {3: {"trained": NOT_CONTENT_UNTIL_3}}

    classes: tuple[Diagnosis, ...] = Field(description="Order of the network's outputs.")
    trained: TrainedRecipe = Field(description="The network.")


class Trained(Record):
    """The record of the training of all recipes."""

    # As of `TrainedPart`.
    FORMAT: ClassVar[int] = 4
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"recipes": {"__all__": NOT_CONTENT}}
    NOT_CONTENT_UNTIL: ClassVar[dict[int, dict[str, Any]]] = {
        3: {"recipes": {"__all__": NOT_CONTENT_UNTIL_3}}
    }

    classes: tuple[Diagnosis, ...] = Field(description="Order of the networks' outputs.")
    recipes: tuple[TrainedRecipe, ...] = Field(description="The network of each recipe.")

    def of(self, recipe: RecordedRecipe) -> TrainedRecipe:
        """The network of a recipe. The recipe must be among those trained."""
        return next(each for each in self.recipes if recipe_now(each.recipe) == recipe_now(recipe))
