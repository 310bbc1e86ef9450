"""The command line: exit codes are the protocol, and no user ever sees a traceback."""

import contextlib
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.config import Retraining, parse_config, range_in_words, value_in_words
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary
from tasks.pipeline import PIPELINE
from tests.support.deliveries import put_lesions
from tests.support.paths import ROOT


def tasks(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasks", *argv], capture_output=True, text=True, check=False
    )


@pytest.fixture
def store(tmp_path: Path) -> str:
    uri = str(tmp_path / "store")
    put_lesions(open_store(uri), "melanoma", range(100, 130))
    put_lesions(open_store(uri), "nevus", range(200, 230))
    return uri


@pytest.mark.slow
def test_a_step_is_one_argv_and_commits_its_record(store: str) -> None:
    config = json.dumps({"image_size": 32, "packed_size": 48, "minimum_groups": 2})
    for step in ("ingest", "validate", "split", "check_balance"):
        done = tasks(step, "--run", f"{store}/runs/one", "--config", config)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "60 files under raw/: 60 decoded" in tasks_log(store)


@pytest.mark.slow
def test_a_step_that_is_told_to_stop_may_be_tried_again(tmp_path: Path) -> None:
    # Drawing images is the longest that needs nothing before it.
    drawing = ["synthesize", "--to", str(tmp_path / "images"), "--scale", "20"]
    begun = subprocess.Popen(
        [sys.executable, "-m", "tasks", *drawing], stderr=subprocess.PIPE, text=True
    )
    while not any(tmp_path.rglob("*.jpg")):
        assert begun.poll() is None
        time.sleep(0.05)
    begun.terminate()
    _, said = begun.communicate(timeout=30)

    assert begun.returncode == Momentary.exit_code
    assert "Stopped by SIGTERM" in said
    assert "Traceback" not in said


def tasks_log(store: str) -> str:
    return tasks("ingest", "--run", f"{store}/runs/two").stderr


@pytest.mark.slow
def test_a_step_that_is_committed_is_not_done_again(store: str) -> None:
    first, again = (tasks("ingest", "--run", f"{store}/runs/one") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert "committed before" in again.stderr


BAD_COMMANDS = {
    "no such command": ("retrain",),
    "no run": ("ingest",),
    "a run that is no run": ("ingest", "--run", "somewhere"),
    "a run with a hostile name": ("ingest", "--run", "store/runs/..;rm -rf"),
    "another scheme": ("ingest", "--run", "ftp://host/runs/a"),
    "a step before its time": ("train", "--run", "STORE/runs/a"),
    "config that is no JSON": ("ingest", "--run", "STORE/runs/a", "--config", "epochs=3"),
    "config that is a list": ("ingest", "--run", "STORE/runs/a", "--config", "[1]"),
    "a misspelt field": ("ingest", "--run", "STORE/runs/a", "--config", '{"epoch": 3}'),
    "a field out of range": ("ingest", "--run", "STORE/runs/a", "--config", '{"epochs": 0}'),
    "fields that contradict": (
        "ingest", "--run", "STORE/runs/a", "--config", '{"image_size": 256, "packed_size": 64}'
    ),
    "a policy of another folder": (
        "ingest", "--run", "STORE/runs/a", "--config", '{"policy": "policies/../ours.yaml"}'
    ),
    "a policy that is not there": (
        "ingest", "--run", "STORE/runs/a", "--config", '{"policy": "policies/ours.yaml"}'
    ),
    "shares without a rest": (
        "ingest", "--run", "STORE/runs/a", "--config",
        '{"test_share": 0.4, "validation_share": 0.4}',
    ),
    "an unknown step to stop at": ("run", "--store", "STORE", "--until", "trian"),
    "a folder that is not there": ("deliver", "--store", "STORE", "--images", "nowhere"),
    "tables alone": ("run", "--store", "STORE", "--metadata", "."),
    "a report on no run": ("report", "--run", "STORE/runs/none"),
    "a promotion of no run": ("promote", "--run", "STORE/runs/none"),
}  # fmt: skip


@pytest.mark.parametrize("argv", BAD_COMMANDS.values(), ids=BAD_COMMANDS.keys())
def test_bad_input_ends_with_64_and_a_message(
    argv: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    put_lesions(open_store(store), "melanoma", range(2))
    code = main([part.replace("STORE", store) for part in argv])
    said = capfd.readouterr().err
    assert code == 64, said
    assert "Traceback" not in said
    assert ("Expected:" in said and "Received:" in said and "Do:" in said) or "Error" in said
    assert not list(Path(store).glob("runs/*/*/record.json"))


def test_a_misspelt_field_is_told_its_right_name() -> None:
    with pytest.raises(BadInput, match="did you mean epochs") as told:
        parse_config('{"epoch": 3}')
    assert "image_size" in told.value.expected


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(sorted(Retraining.model_fields)) | st.text(), inner
    ),
    max_leaves=8,
))  # fmt: skip
def test_any_json_is_a_configuration_or_a_clear_error(value: object) -> None:
    with contextlib.suppress(BadInput):
        config = parse_config(json.dumps(value))
        assert Retraining.model_validate_json(config.model_dump_json()) == config


def within(field: dict[str, Any]) -> st.SearchStrategy[object]:
    """Values that a field's own schema allows."""
    if "enum" in field:
        options: list[object] = field["enum"]
        return st.sampled_from(options)
    if field["type"] == "array":
        each = st.sampled_from(field["items"]["enum"])
        return st.lists(each, min_size=field.get("minItems", 0), unique=True)
    low, high = field.get("minimum", 0.001), field.get("maximum", 0.999)
    if field["type"] == "integer":
        return st.integers(low, high)
    return st.floats(low, high)


FIELDS = {
    name: field
    for name, field in Retraining.model_json_schema()["properties"].items()
    # Sizes and shares must fit each other; two hold text.
    if (not name.endswith(("_size", "_share")) and field["type"] in ("array", "integer", "number"))
    or "enum" in field
}


@given(st.data())
def test_every_value_within_its_range_is_a_configuration(data: st.DataObject) -> None:
    """Else a parser that refused everything would pass."""
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    value = data.draw(within(FIELDS[name]))
    config = parse_config(json.dumps({name: value}))
    told = getattr(config, name)
    assert (list(told) if isinstance(told, tuple) else told) == value


def test_every_field_is_typed_described_bounded_and_has_a_default() -> None:
    for name, field in Retraining.model_json_schema()["properties"].items():
        assert field["title"], name
        assert field["description"].endswith("."), name
        assert "default" in field, name
        bounded = any(key.lower().endswith("minimum") for key in field) and any(
            key.lower().endswith("maximum") for key in field
        )
        written = field.get("type") == "string" and {"pattern", "maxLength"} <= set(field)
        assert bounded or written or '"enum"' in json.dumps(field), name


def test_help_names_every_step_in_order() -> None:
    said = tasks("--help").stdout
    places = [said.index(f"│ {step.name}") for step in PIPELINE]
    assert places == sorted(places)


@pytest.mark.slow
def test_run_stops_after_the_step_that_was_asked_for(store: str) -> None:
    config = json.dumps({"image_size": 32, "packed_size": 48, "minimum_groups": 2})
    done = tasks("run", "--store", store, "--until", "split", "--json", "--config", config)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["states"]) == ["ingest", "validate", "split"]
    assert told["records"]["split"]["bridging"] == 0
    assert Path(told["report"]).is_file()


@pytest.mark.slow
def test_a_second_run_on_unchanged_data_reuses_everything(store: str) -> None:
    config = json.dumps({"image_size": 32, "packed_size": 48, "minimum_groups": 2})
    argv = ("run", "--store", store, "--until", "oversample", "--json", "--config", config)
    tasks(*argv, "--name", "first")
    again = json.loads(tasks(*argv, "--name", "second").stdout)
    assert set(again["states"].values()) == {"reused from first"}


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_still_leaves_a_report(tmp_path: Path) -> None:
    uri = str(tmp_path / "store")
    put_lesions(open_store(uri), "nevus", range(5))
    done = tasks("run", "--store", uri, "--name", "one")
    assert done.returncode == 64
    assert "Too little is left" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "store/runs/one/report.html").is_file()


def test_a_store_on_s3_without_mlflow_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["run", "--store", "s3://bucket/prefix"]) == 64
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().err


def test_config_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["properties"]) == set(Retraining.model_fields)


def test_config_says_each_range_and_default_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    said = capsys.readouterr().out
    assert "None" not in said
    assert "0.05" in said  # the default prevalence


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"melanoma": 0.05}, "melanoma: 0.05"),
        ({"bkl": "pigmented benign keratosis"}, "bkl: pigmented benign keratosis"),
        (("baseline", "residual"), "baseline, residual"),
        ({}, "none"),
        ((), "none"),
        (0.1, "0.1"),
    ],
)
def test_a_value_is_told_whole(value: object, words: str) -> None:
    """A mapping is more than its names."""
    assert value_in_words(value) == words


def test_a_range_that_excludes_its_ends_says_so() -> None:
    fields = Retraining.model_json_schema()["properties"]
    assert range_in_words(fields["residual_learning_rate"]) == "above 0 to 1"
    assert range_in_words(fields["epochs"]) == "1 to 500"
    assert range_in_words(fields["prevalence"]).endswith("above 0 to below 1")


@pytest.mark.parametrize(("words", "code"), [(["config"], 0), (["confg"], 64)])
def test_the_script_of_the_package_does_what_python_m_does(words: list[str], code: int) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["melanoma"].partition(":")
    script = f"import sys; from {module} import {name}; sys.exit({name}())"
    by_script, by_module = (
        subprocess.run(
            [sys.executable, *how, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        for how in (["-c", script], ["-m", "tasks"])
    )

    assert by_script.returncode == by_module.returncode == code
    assert by_script.stdout == by_module.stdout
