"""The form of Airflow's *Trigger* button: every field of the configuration, in sections."""

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Param

from tasks.config import RELEASED_POLICIES, Retraining, range_in_words
from tasks.recipes import FORMER_RECIPES

# The fields that a person changes most. Airflow shows fields without a section first, and open.
FIRST = ("policy", "recipes")
# Airflow shows the sections in the order of their first fields.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Data": (
        *("test_part", "test_share", "validation_share", "minimum_groups"),
        *("laws_that_fail", "laws_that_resolve", "coarse_codes", "maximum_megapixels"),
    ),
    "Training": (
        *("image_size", "epochs", "batch_size", "learning_rate"),
        *("residual_epochs", "residual_batch_size", "residual_learning_rate"),
        *("transfer_weights", "balance_policy", "balance_target", "copies_per_image"),
    ),
    "Gate": ("target_sensitivity", "prevalence", "evaluation", "folds"),
}
LAST = "Advanced"  # every field that no other section names


def form(
    defaults: Retraining | None = None, warning: str = "", policies: Iterable[str] = ()
) -> dict[str, Param]:
    """The fields of the trigger form in their order, from the configuration's own JSON schema.

    Args:
        defaults: Values that the form shows; without any, the product's own.
        warning: What a person must know before using the form; stands in its first field.
        policies: The policies that lie in the store; offered beside the released ones.
    """
    fields: dict[str, dict[str, Any]] = Retraining.model_json_schema()["properties"]
    values = (defaults or Retraining()).model_dump(mode="json")
    fields = {name: field | {"default": values[name]} for name, field in fields.items()}
    if warning:
        first = fields[FIRST[0]]
        fields[FIRST[0]] = first | {"description": f"{warning} {first['description']}"}
    shown = {name: _shown(fields[name]) for name in FIRST}
    for section, names in SECTIONS.items():
        shown |= {name: _shown(fields[name]) | {"section": section} for name in names}
    rest = [name for name in fields if name not in shown]
    shown |= {name: _shown(fields[name]) | {"section": LAST} for name in rest}
    # Airflow offers the examples of a text while a person types.
    shown["policy"]["examples"] = [*RELEASED_POLICIES, *policies]
    return {name: Param(**field) for name, field in shown.items()}


def _shown(field: dict[str, Any]) -> dict[str, Any]:
    """A field as Airflow shows it: its range stands in its description."""
    field = field | {"description": f"{field['description']} Allowed: {range_in_words(field)}."}
    if field["type"] != "array":
        return field
    # Airflow shows an array as a multiple choice if it has examples.
    names = field["items"]["enum"]
    # Former names are not offered, but taken from whoever triggers a run by a script.
    taken = {"enum": [*names, *FORMER_RECIPES]} if "residual" in names else {}
    return field | {"items": field["items"] | taken, "examples": names, "uniqueItems": True}
