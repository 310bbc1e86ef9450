"""The first task of a pipeline: what was given, the store's defaults, the names of the parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.__main__ import main
from tasks.errors import BadInput
from tasks.kubeflow.inputs import GIVEN, OVER, names_output


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def executor_input(store: Path, outputs: Path, **given: Any) -> str:
    """As Kubeflow's launcher writes it for ``{{$}}``."""
    names = (GIVEN, *map(names_output, OVER))
    places = {name: {"outputFile": str(outputs / "made" / name)} for name in names}
    values = {"run": f"{store}/runs/run-1", "pipelinechannel--store": str(store), **given}
    return json.dumps(
        {
            "inputs": {"parameterValues": values},
            "outputs": {"parameters": places, "outputFile": str(outputs / "output.json")},
        }
    )


def written(store: Path, outputs: Path, **given: Any) -> dict[str, Any]:
    assert main(["kubeflow-inputs", executor_input(store, outputs, **given)]) == 0
    return {each.name: json.loads(each.read_text()) for each in (outputs / "made").iterdir()}


def test_only_what_was_given_goes_to_the_steps(store: Path, tmp_path: Path) -> None:
    """Kubeflow says null for what nobody gave, or leaves it out."""
    made = written(store, tmp_path, epochs=3, seed=None, recipes=["balanced", "baseline"])

    assert made[GIVEN] == {"epochs": 3, "recipes": ["balanced", "baseline"]}
    assert made["names_of_recipes"] == ["balanced", "baseline"]
    assert made["names_of_parts"] == ["1-of-1"]  # a loop over nothing would skip what follows


def test_what_was_left_out_has_the_default_of_the_store(store: Path, tmp_path: Path) -> None:
    (store / "config.json").write_text('{"parts": 3, "recipes": ["residual"]}')
    made = written(store, tmp_path, recipes=["baseline"])

    assert made[GIVEN] == {"recipes": ["baseline"]}
    assert made["names_of_parts"] == ["1-of-3", "2-of-3", "3-of-3"]
    assert made["names_of_recipes"] == ["baseline"]


def test_a_field_may_be_given_as_the_default_of_the_product(store: Path, tmp_path: Path) -> None:
    """It stands over another default of the store."""
    (store / "config.json").write_text('{"parts": 3}')

    assert written(store, tmp_path, parts=1)["names_of_parts"] == ["1-of-1"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"image_size": 4}, "image_size"),
        ({"recipes": ["unheard"]}, "recipes"),
        ({"unheard": 1}, "there is no such field"),
    ],
)
def test_a_wrong_configuration_ends_before_any_step(
    given: dict[str, Any],
    told: str,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = executor_input(store, tmp_path, **given)

    assert main(["kubeflow-inputs", text]) == BadInput.exit_code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"inputs": {}}', '{"inputs": {"run": 1}}', "[" * DEEP, '{"inputs":' * DEEP,
     '{"inputs": {"parameterValues": []}, "outputs": {"parameters": {}}}'],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_what_is_no_executor_input_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kubeflow-inputs", text]) == BadInput.exit_code
    assert "cannot be read what Kubeflow was given" in capsys.readouterr().err


@pytest.mark.parametrize("run", [None, 5, ["a"], {"a": 1}, True])
def test_an_address_that_is_no_text_is_refused(
    run: Any, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = executor_input(store, tmp_path, run=run)

    assert main(["kubeflow-inputs", text]) == BadInput.exit_code
    assert "cannot be read what Kubeflow was given" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "\0", "/file/below", "/" + "x" * 300])
def test_an_output_that_cannot_be_written_is_refused(
    place: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/file").touch()
    found = json.loads(executor_input(store, tmp_path))
    for each in found["outputs"]["parameters"].values():
        each["outputFile"] = str(tmp_path / "made") + place

    assert main(["kubeflow-inputs", json.dumps(found)]) == BadInput.exit_code
    assert "cannot be written" in capsys.readouterr().err
