"""The laws of the steps and of their records."""

import ast
from importlib import metadata
from typing import Annotated, Any, get_args

import pytest
from pydantic import BaseModel, Field

from tasks.config import Retraining
from tasks.engine.sources import imports_of
from tasks.pipeline import PIPELINE, Step, step_named
from tasks.records.record import Record
from tests.support.house import DIVIDED, MODULES, STEPS, each_step, source_of, tree_of

# The table of steps and the steps ---------------------------------------------------------------


@each_step
def test_a_step_needs_only_steps_before_it(step: Step) -> None:
    assert set(step.needs) <= set(STEPS[: STEPS.index(step.name)])
    assert len(set(STEPS)) == len(STEPS)


@each_step
def test_a_step_depends_on_fields_and_libraries_that_exist(step: Step) -> None:
    assert set(step.config) <= set(Retraining.model_fields)
    for library in step.libraries:
        assert metadata.version(library)


def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree_of(module).body if isinstance(node, ast.FunctionDef)}


def takes(function: ast.FunctionDef) -> list[str]:
    return [ast.unparse(each.annotation) for each in function.args.args if each.annotation]


def gives(function: ast.FunctionDef) -> str:
    return ast.unparse(function.returns or ast.Constant(None))


@each_step
def test_a_step_is_a_function_from_the_records_it_needs_to_the_record_it_gives(step: Step) -> None:
    function = functions_of(step.module)[step.name]
    expected = [step_named(need).gives.__name__ for need in step.needs]
    if step.division:
        expected.append(f"tuple[{step.division.gives.__name__}, ...]")

    assert takes(function) == ["Run", *expected]
    assert gives(function) == step.gives.__name__
    assert ast.get_docstring(function)


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_a_part_is_a_function_from_what_its_step_takes_and_the_part(step: Step) -> None:
    function = functions_of(step.module)[f"{step.name}_part"]
    division = step.division
    assert division
    part = {"parts": "Part", "recipes": "Recipe"}[division.over]

    assert takes(function) == [
        "Run",
        *(step_named(need).gives.__name__ for need in step.needs),
        part,
    ]
    assert gives(function) == division.gives.__name__
    assert ast.get_docstring(function)


@each_step
def test_only_a_step_that_divides_has_a_function_for_its_parts(step: Step) -> None:
    assert (f"{step.name}_part" in functions_of(step.module)) == bool(step.division)


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_the_result_depends_on_the_names_of_the_parts_but_not_on_their_number(step: Step) -> None:
    assert step.division
    assert ("recipes" in step.config) == (step.division.over == "recipes")
    assert "parts" not in step.config


@pytest.mark.parametrize("step", DIVIDED, ids=lambda step: str(step.name))
def test_no_step_before_one_that_divides_can_stop_the_rest(step: Step) -> None:
    """In the DAG a step that divides also runs after tasks that were skipped, as its own are if
    it has one part. A step that says that the rest must not run would be overheard."""
    before = PIPELINE[: PIPELINE.index(step)]

    assert all(each.gives.reason_to_stop is Record.reason_to_stop for each in before)
    assert not any("Halt" in names_imported(each.module) for each in before)


def names_imported(module: str) -> set[str]:
    nodes = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in nodes for alias in node.names}


def test_a_step_that_can_stop_the_rest_would_be_found() -> None:
    assert "Halt" in names_imported("release.register")
    assert step_named("register").gives.reason_to_stop is not Record.reason_to_stop


def fields_read(module: str) -> set[str]:
    """The fields of the configuration that a module reads: ``config.x`` or ``....config.x``."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and node.attr in Retraining.model_fields:
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name == "config":
                found.add(node.attr)
    return found


def all_it_imports(module: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in MODULES and name not in seen:
            seen.add(name)
            todo += imports_of(source_of(name))
    return seen


@each_step
def test_a_step_reads_no_field_that_reuse_does_not_know_of(step: Step) -> None:
    """Else a change of that field would be answered with old work."""
    if not step.reusable:  # what it reads of other records' configurations counts by their hashes
        return
    read = set().union(*(fields_read(name) for name in all_it_imports(step.module)))

    assert read <= set(step.config)


def test_reading_a_field_is_seen_however_it_is_reached() -> None:
    assert fields_read("training.learner") >= {"epochs", "image_size", "learning_rate"}
    assert {"training.learner", "training.residual_network"} <= all_it_imports("training.train")


def test_training_does_not_depend_on_how_it_is_judged() -> None:
    """Else a change in a figure would throw all trained models away."""
    judging = {name for name in MODULES if name.startswith(("evaluation.", "statistics."))}

    assert not judging & all_it_imports("training.train")
    judged_by = {f"evaluation.{name}" for name in ("scoring", "comparison", "saliency")}
    judged_by |= {f"statistics.{name}" for name in ("proportions", "ranking", "calibration")}
    assert judged_by <= all_it_imports("evaluation.evaluate")


@each_step
def test_a_step_depends_on_no_field_that_it_does_not_read(step: Step) -> None:
    """Else a change of that field would throw work away."""
    read = set().union(*(fields_read(name) for name in all_it_imports(step.module)))
    divided_over = {step.division.over} if step.division else set()  # read by `parts_of`

    assert set(step.config) <= read | divided_over


# The records ------------------------------------------------------------------------------------


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """A model that a type names, and all models that its fields name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.values()
        return {annotation}.union(*(models_in(each.annotation) for each in fields))
    return set().union(*(models_in(part) for part in get_args(annotation)))


def fields_without_description(models: set[type[BaseModel]]) -> list[str]:
    return sorted(
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    )


def test_each_field_of_a_record_says_what_it_is() -> None:
    divisions = [step.division.gives for step in DIVIDED if step.division]
    models = set().union(*(models_in(each) for each in (*(s.gives for s in PIPELINE), *divisions)))

    assert {"Trained", "Epoch", "Provenance", "Artifact", "Retraining"} <= {
        model.__name__ for model in models
    }
    assert fields_without_description(models) == []


def test_a_field_of_a_record_that_says_nothing_would_be_found() -> None:
    class Held(BaseModel):
        silent: int

    class Holder(Record):
        held: Annotated[dict[str, tuple[Held, ...]] | None, "checked"] = Field(description="Told.")

    assert fields_without_description(models_in(Holder)) == ["Held.silent"]
