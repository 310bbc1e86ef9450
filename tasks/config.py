"""The configuration of one retraining: one flat, frozen model.

The Airflow trigger form, ``--config`` and each record are made from this class: all show a field.
"""

import json
import logging
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.errors import BadInput
from tasks.lesions import Diagnosis
from tasks.parts import BUCKETS
from tasks.recipes import Recipe, former_names_in, with_present_names

log = logging.getLogger(__name__)

RELEASED_POLICIES = ("melanoma", "synthetic", "smoke")  # the files of tasks/evaluation/policies
OWN_POLICY = r"policies/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.yaml"  # a file of the store

Law = Literal[
    "undecodable", "too_large", "unsafe_name", "erased", "name_of_a_patient", "not_a_photograph",
    "colour_mislabelled", "schema", "contradicts_judged", "unknown_label", "contradictory_label",
    "label_disagrees_with_archive", "lesion_under_two_labels", "lesion_of_two_patients",
    "contradictory_metadata", "duplicate_pixels", "delivered_again", "near_duplicate",
    "delivered_split_leaks", "source_confounded", "class_not_learnable", "table_not_understood",
    "table_of_other_images", "code_not_understood", "metadata_row_without_image",
    "image_without_metadata", "lesion_not_named", "colour_profile_not_applied", "burnt_in_text",
    "recognizable_person", "distribution_shift", "belongs_to_external_set", "shortcut",
    "contradictory_copy", "same_lesion_by_look", "derived_copy",
]  # fmt: skip
Resolvable = Literal["contradictory_label", "label_disagrees_with_archive"]


class Retraining(BaseModel):
    """The choices of a person about a retraining; everything else follows from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(
        96,
        ge=32,
        le=512,
        title="Image size (px)",
        description="Side of the square that the network sees, in pixels.",
    )
    packed_size: int = Field(
        180,
        ge=32,
        le=1024,
        title="Packed size (px)",
        description="Side of the square that ingest decodes each image to, once, in pixels. "
        "At least the image size.",
    )
    parts: int = Field(
        1,
        ge=1,
        le=BUCKETS,
        title="Parts",
        description="Number of parts into which the files are divided, so that as many machines "
        "can decode and compare side by side. The result does not depend on this number.",
    )
    maximum_megapixels: int = Field(
        64,
        ge=1,
        le=500,
        title="Largest image (megapixels)",
        description="Larger images are quarantined, undecoded. Dermatoscopes deliver 0.2 to 50.",
    )
    laws_that_fail: tuple[Law, ...] = Field(
        (),
        title="Laws that end the run",
        description="A breach of any of these ends the run, instead of being quarantined or "
        "reported.",
    )
    laws_that_resolve: tuple[Resolvable, ...] = Field(
        (),
        title="Laws that the archive resolves",
        description="Where the archive's ground truth names exactly one class, it replaces the "
        "label of an image that breaks these; where it does not, the image is quarantined.",
    )
    coarse_codes: dict[str, Diagnosis] = Field(
        {},
        title="Meaning of coarse codes",
        description="The class to take for each archive code that is coarser than the nine "
        'classes, where no folder says more, such as {"bkl": "pigmented benign keratosis"}. '
        "Without an entry such images are quarantined by name.",
    )
    test_part: Literal["hashed", "delivered"] = Field(
        "hashed",
        title="Test part",
        description="hashed: by lesion, for ever. delivered: the images that came in a folder "
        "Test, to compare with results published on them; whatever shares a lesion with them "
        "leaves training.",
    )
    evaluation: Literal["test", "cross"] = Field(
        "test",
        title="Evaluation",
        description="test: score the model on the frozen test part. cross: also estimate the "
        "procedure by cross-validation over all lesions, for a test part with too few melanomas; "
        "takes as many more trainings as folds. The gate always judges the test part alone.",
    )
    folds: int = Field(
        5,
        ge=3,
        le=20,
        title="Folds",
        description="Number of folds of cross-validation: one is judged, one validates, the "
        "others train.",
    )
    balance_policy: Literal["max", "median", "fixed", "none"] = Field(
        "max",
        title="Oversampling",
        description="Number of training images that each class should have, copies included: that "
        "of the largest class, of the median class, balance_target, or no copies at all.",
    )
    balance_target: int = Field(
        500,
        ge=1,
        le=100_000,
        title="Images of each class",
        description="Training images of each class, copies included, if balance_policy is fixed.",
    )
    copies_per_image: int = Field(
        20,
        ge=1,
        le=1000,
        title="Most copies of one image",
        description="Most copies of one image. A class with few images stays small, because two "
        "images copied 200 times teach nothing.",
    )
    recipes: tuple[Recipe, ...] = Field(
        ("baseline", "regularized", "balanced", "residual"),
        min_length=1,
        title="Recipes",
        description="Networks to train; validation data chooses one. baseline: plain CNN. "
        "regularized: online augmentation and dropout. balanced: oversampled data, dropout and "
        "batch normalization. residual: residual blocks, strongly augmented, aimed at balanced "
        "accuracy. travel: residual, which learns from several sources without learning them. "
        "transfer: MobileNetV2 pretrained on ImageNet, first frozen, then fine-tuned.",
    )
    transfer_weights: str = Field(
        "imagenet",
        max_length=500,
        pattern=r"^imagenet$|^[\w.-][\w./-]*\.h5$",
        title="Weights for transfer",
        description="Key, in the store, of the weights (.h5, without top) that the recipe "
        "transfer begins with. imagenet: Keras fetches ImageNet's, which needs the internet.",
    )
    epochs: int = Field(
        20,
        ge=1,
        le=500,
        title="Epochs",
        description="Passes over the training part, for each recipe but residual and travel.",
    )
    residual_epochs: int = Field(
        100,
        ge=1,
        le=2000,
        title="Epochs of residual and travel",
        description="Passes over the training part for the recipes residual and travel. The "
        "learning rate falls to zero over them: fewer end sooner; more than 100 gained little on "
        "the public set.",
    )
    # Tuned on validation folds, never on the test part; see docs/training.md.
    residual_batch_size: int = Field(
        64,
        ge=4,
        le=1024,
        title="Batch size of residual and travel",
        description="Images in one step of the optimizer for the recipes residual and travel.",
    )
    residual_learning_rate: float = Field(
        2e-3,
        gt=0,
        le=1,
        title="Learning rate of residual and travel",
        description="Step size of AdamW at the end of the warm-up for the recipes residual and "
        "travel.",
    )
    batch_size: int = Field(
        32,
        ge=4,
        le=1024,
        title="Batch size",
        description="Images in one step of the optimizer, for each recipe but residual and travel.",
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        le=1,
        title="Learning rate",
        description="Step size of Adam, for each recipe but residual and travel. Its authors' "
        "default is 0.001.",
    )
    checkpoint_minutes: float = Field(
        5.0,
        ge=0,
        le=60,
        title="Minutes between checkpoints",
        description="Most training time that a kill can cost. 0: a checkpoint after each step.",
    )
    validation_share: float = Field(
        0.15,
        ge=0.05,
        le=0.4,
        title="Validation share",
        description="Share of the lesions that choose the recipe and the operating threshold.",
    )
    test_share: float = Field(
        0.20,
        ge=0.05,
        le=0.4,
        title="Test share",
        description="Share of the lesions that are kept back and judge the model once.",
    )
    minimum_groups: int = Field(
        12,
        ge=2,
        le=1000,
        title="Fewest lesions of a class",
        description="A class with fewer distinct lesions after quarantine is left out as not "
        "learnable.",
    )
    target_sensitivity: float = Field(
        0.95,
        ge=0.5,
        le=1.0,
        title="Target sensitivity for melanoma",
        description="The operating threshold is the highest that reaches this sensitivity on "
        "validation data.",
    )
    prevalence: dict[Diagnosis, Annotated[float, Field(gt=0, lt=1)]] = Field(
        {"melanoma": 0.05},
        title="Prevalence where the model is used",
        description="Prevalence of each class among the lesions that clinicians will show the "
        "model, for positive predictive values. The default is an assumption, not a measurement: "
        "state your own. A class without a prevalence gets no predictive value.",
    )
    policy: str = Field(
        "melanoma",
        max_length=120,
        pattern=rf"^({'|'.join(RELEASED_POLICIES)}|{OWN_POLICY})$",
        examples=[*RELEASED_POLICIES, "policies/NAME.yaml"],
        title="Policy of the gate",
        description="The change control plan whose rules a model must meet. synthetic and smoke "
        "are for drawn lesions, melanoma for real ones; validate refuses the others. "
        "policies/NAME.yaml is a file of your own in the store, which two people must approve "
        "before a model that it let pass can go into use.",
    )
    seed: int = Field(
        20,
        ge=0,
        le=2**31 - 1,
        title="Seed",
        description="Start of every random sequence of this run. The split does not use it: "
        "a lesion's side never changes.",
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, given: Any) -> Any:
        for old, new in former_names_in(given):
            log.warning("%s is now called %s; the old name is still read.", old, new)
        return with_present_names(given)

    @model_validator(mode="after")
    def _fields_fit_each_other(self) -> Self:
        """Every rule over several fields that needs no data. Steps rely on these rules."""
        if self.image_size > self.packed_size:
            raise ValueError(
                f"image_size must be at most packed_size, or pixels would be invented; "
                f"received image_size={self.image_size}, packed_size={self.packed_size}"
            )
        if self.validation_share + self.test_share > 0.6:
            raise ValueError(
                "validation_share + test_share must leave at least 0.4 of the lesions for "
                f"training; received {self.validation_share} + {self.test_share}"
            )
        if len(set(self.recipes)) != len(self.recipes):
            raise ValueError(f"recipes must be distinct; received {self.recipes}")
        return self


def parse_config(text: str, defaults: str = "{}") -> Retraining:
    """Read a configuration from JSON.

    Args:
        text: A JSON object with any of the fields of `Retraining`; ``{}`` means all defaults.
        defaults: A valid configuration, as JSON: the fields that `text` leaves out.

    Raises:
        BadInput: The text is not JSON, names an unknown field, has a value out of range, or fields
            that do not fit each other or the defaults.
    """
    try:
        return Retraining.model_validate_json(_completed(text or "{}", defaults))
    except ValidationError as error:
        raise _refused(text, defaults, error) from error


def _completed(text: str, defaults: str) -> str:
    """A configuration with the defaults that it leaves out, under whichever name it gives them.
    What is no JSON object is returned unchanged, to be refused."""
    below = json.loads(defaults)
    try:
        given = json.loads(text)
        said = with_present_names(given)
    except (ValueError, RecursionError):
        return text
    if not below or not isinstance(said, dict):
        return text
    rest = {name: value for name, value in with_present_names(below).items() if name not in said}
    return json.dumps(rest | given)


def _refused(text: str, defaults: str, error: ValidationError) -> BadInput:
    problems = error.errors()
    told = mistakes_in(error)
    names = ", ".join(sorted(Retraining.model_fields))
    over_several = all(each["type"] == "value_error" and not each["loc"] for each in problems)
    below = "" if defaults == "{}" else f", over the store's defaults {defaults[:200]!r}"
    return BadInput(
        "The configuration is not valid.",
        expected="fields that fit each other"
        if over_several
        else f"a JSON object with fields of {names}, each within its range",
        received=f"{told}; in {text[:200]!r}{below}",
        do="correct the fields named above; `python -m tasks config` lists every field with its "
        "range and default",
    )


def mistakes_in(error: ValidationError) -> str:
    """What is wrong with a configuration, in a sentence for each mistake."""
    return "; ".join(_explain(problem["loc"], problem["msg"]) for problem in error.errors())


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in location)
    message = message.removeprefix("Value error, ")
    if message.startswith("Extra inputs"):
        return f"{name}: there is no such field{_suggestion(name)}"
    return f"{name}: {message}" if name else message


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, Retraining.model_fields, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def value_in_words(value: object) -> str:
    """A value of a field, as text for a person.

    >>> value_in_words({"melanoma": 0.05}), value_in_words(("baseline", "balanced"))
    ('melanoma: 0.05', 'baseline, balanced')
    >>> value_in_words(())
    'none'
    """
    if isinstance(value, dict):
        return "; ".join(f"{name}: {each}" for name, each in value.items()) or "none"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def range_in_words(field: dict[str, Any]) -> str:
    """The allowed values of a field, in words, from its part of the JSON schema."""
    if "items" in field:
        return "any of " + ", ".join(field["items"]["enum"])
    if "enum" in field:
        return " or ".join(field["enum"])
    if field["type"] == "object":
        of = ", ".join(field.get("propertyNames", {}).get("enum", ())) or "any name"
        return f"for each of ({of}): {range_in_words(field['additionalProperties'])}"
    if field["type"] == "string" and "examples" in field:
        return " or ".join(field["examples"])
    if field["type"] == "string":
        longest = f", at most {field['maxLength']} characters" if "maxLength" in field else ""
        return f"text{longest}" + (f" like {field['pattern']}" if "pattern" in field else "")
    low = f"{field['minimum']}" if "minimum" in field else f"above {field['exclusiveMinimum']}"
    high = f"{field['maximum']}" if "maximum" in field else f"below {field['exclusiveMaximum']}"
    return f"{low} to {high}"
