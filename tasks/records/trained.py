"""What ``train`` promises: each recipe's network, its curves and what the curves say."""

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

    Validation takes one look at each image; what `residual` is saved as takes eight.
    """

    loss: float = Field(description="In training, over the pass.")
    accuracy: float = Field(description="In training, over the pass, 0 to 1.")
    val_loss: float = Field(description="On validation, after the pass.")
    val_accuracy: float = Field(description="On validation, after the pass, 0 to 1.")
    val_balanced_accuracy: float = Field(
        description="Mean recall over the classes that occur on validation, 0 to 1."
    )
    val_recall: tuple[float | None, ...] = Field(
        (),
        description="Recall of each class on validation, 0 to 1, in the order of the outputs; None "
        "for a class with no image there.",
    )
    seconds: float = Field(description="Wall time of the pass and of its validation.")


class Fit(Frozen):
    """What the curves of a training say, by the rules of `tasks.curve`."""

    kind: FitKind = Field(description="Whether the network over- or underfits.")
    epochs: int = Field(description="How many epochs there were.")
    best: int = Field(description="The epoch with the lowest validation loss, from 1.")
    accuracy: float = Field(description="In training, at the last epoch, 0 to 1.")
    val_accuracy: float = Field(description="On validation, at the last epoch, 0 to 1.")
    loss: float = Field(description="In training, at the last epoch, in nats.")
    lowest_val_loss: float = Field(description="On validation, at the best epoch, in nats.")
    val_loss: float = Field(description="On validation, at the last epoch, in nats.")
    prior_loss: float = Field(
        description="Cross-entropy of answering with the class shares alone, in nats."
    )

    @property
    def gap(self) -> float:
        """Accuracy in training less accuracy in validation, at the last epoch."""
        return self.accuracy - self.val_accuracy


class TrainedRecipe(Frozen):
    """One trained network."""

    recipe: RecordedRecipe = Field(description="The recipe that was trained.")
    model: Artifact = Field(
        description="A ``.keras`` file: uint8 or float RGB 0 to 255, ``(n, any, any, 3)``, to "
        "probabilities ``(n, classes)``. Preprocessing and temperature are inside. Weights of "
        "`best_epoch`."
    )
    temperature: float = Field(
        1.0, description="Fitted on validation; above 1, the network was overconfident."
    )
    calibration_error: tuple[float, float] | None = Field(
        None,
        description="Expected calibration error on validation before and after; after, of the data "
        "that the temperature was fitted on, and so somewhat flattering.",
    )
    parameters: int = Field(description="Weights of the network.")
    images: int = Field(description="Images that it learned from, copies among them.")
    epochs: tuple[Epoch, ...] = Field(description="One for each pass, in order.")
    best_epoch: int = Field(description="The epoch with the lowest validation loss, from 1.")
    fit: Fit | None = Field(
        None, description="What the curves say about over- and underfit, by rule."
    )
    finding: str = Field(
        "",
        description="The same as a sentence, in records from before `fit` was kept.",
    )
    mlflow_run: str = Field(
        description="Id of the run in MLflow; empty if MLflow did not answer: `register` then "
        "makes a run."
    )
    # No part of the content: an unchanged step reuses a record whatever the devices were, so that
    # a machine without a GPU need not train again what one has trained.
    computed_on: str = Field(
        "",
        description="Keras's backend and the devices of the attempt that ended the training; empty "
        "in records from before they were kept.",
    )


class TrainedPart(Record):
    """One recipe, trained."""

    FORMAT: ClassVar[int] = 2  # 1 called the recipe `residual` by its former name, `best`
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"trained": {"computed_on": True}}

    classes: tuple[Diagnosis, ...] = Field(description="Order of the network's outputs.")
    trained: TrainedRecipe = Field(description="The network.")


class Trained(Record):
    """The recipes, trained."""

    FORMAT: ClassVar[int] = 2  # 1 called the recipe `residual` by its former name, `best`
    NOT_CONTENT: ClassVar[dict[str, Any]] = {"recipes": {"__all__": {"computed_on": True}}}

    classes: tuple[Diagnosis, ...] = Field(description="Order of the networks' outputs.")
    recipes: tuple[TrainedRecipe, ...] = Field(description="The network of each recipe.")

    def of(self, recipe: RecordedRecipe) -> TrainedRecipe:
        """That recipe's network, which must be one of them."""
        return next(each for each in self.recipes if recipe_now(each.recipe) == recipe_now(recipe))
