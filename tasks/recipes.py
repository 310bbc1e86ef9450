"""The names of the recipes: present names, and former names in earlier records."""

from typing import Any, Literal, cast

Recipe = Literal["baseline", "regularized", "balanced", "residual", "travel", "transfer"]

# Names of recipes in records: an old record keeps the former name, and so its hash.
RecordedRecipe = Recipe | Literal["best"]

FORMER_RECIPES: dict[str, Recipe] = {"best": "residual"}
# Fields of a configuration.
FORMER_FIELDS = {
    "best_epochs": "residual_epochs",
    "best_batch_size": "residual_batch_size",
    "best_learning_rate": "residual_learning_rate",
}


def recipe_now(recorded: str) -> Recipe:
    """The present name of a recipe, from a present or former name.

    >>> recipe_now("best"), recipe_now("balanced")
    ('residual', 'balanced')
    """
    return FORMER_RECIPES.get(recorded, cast(Recipe, recorded))


def former_names_in(given: Any) -> list[tuple[str, str]]:
    """The former names in a configuration before it is validated, each with today's."""
    if not isinstance(given, dict):
        return []
    recipes = _texts(given.get("recipes"))
    return [
        *((old, new) for old, new in FORMER_FIELDS.items() if old in given),
        *((old, new) for old, new in FORMER_RECIPES.items() if old in recipes),
    ]


def with_present_names(given: Any) -> Any:
    """A configuration before validation, with present names.

    Args:
        given: Values by field; anything but a dict is returned unchanged.

    Raises:
        ValueError: The configuration holds both names of a field or recipe.
    """
    if not isinstance(given, dict):
        return given
    recipes = given.get("recipes")
    for old, new in former_names_in(given):
        if new in given or new in _texts(recipes):
            raise ValueError(f"{old} is the former name of {new}; received both")
    present = {FORMER_FIELDS.get(name, name): value for name, value in given.items()}
    if isinstance(recipes, list | tuple):
        present["recipes"] = [
            recipe_now(each) if isinstance(each, str) else each for each in recipes
        ]
    return present


def _texts(value: Any) -> list[str]:
    listed = value if isinstance(value, list | tuple) else ()
    return [each for each in listed if isinstance(each, str)]
