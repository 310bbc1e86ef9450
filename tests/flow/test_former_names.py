"""What the recipe `residual` was called before: read everywhere, shown nowhere, never rewritten."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2.sandbox import SandboxedEnvironment

from tasks.config import Retraining, parse_config
from tasks.curve import in_words
from tasks.engine.run import read_record
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Corrupt
from tasks.pipeline import PIPELINE, part_named, step_named
from tasks.recipes import FORMER_FIELDS, RecordedRecipe, recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.trained import Trained
from tasks.release.checks import figures
from tasks.release.checks.figures import the_model_is_one_that_was_trained
from tasks.release.question_page import page as page_of
from tasks.reporting.report import report
from tests.support.approvals import question_about
from tests.support.bundles import reseal
from tests.support.deliveries import run_of

# A configuration ---------------------------------------------------------------------------------

OLD = [
    ('{"recipes": ["baseline", "best"]}', {"recipes": ("baseline", "residual")}, "best"),
    ('{"best_epochs": 3}', {"residual_epochs": 3}, "best_epochs"),
    ('{"best_batch_size": 8}', {"residual_batch_size": 8}, "best_batch_size"),
    ('{"best_learning_rate": 0.5}', {"residual_learning_rate": 0.5}, "best_learning_rate"),
]


@pytest.mark.parametrize(("text", "means", "name"), OLD, ids=[name for _, _, name in OLD])
def test_a_former_name_is_read_and_the_new_one_is_said(
    text: str, means: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert parse_config(text) == Retraining(**means)
    new = "residual" if name == "best" else name.replace("best", "residual")
    assert caplog.messages == [f"{name} is now called {new}; the old name is still read."]


def test_a_present_name_is_read_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    config = parse_config('{"recipes": ["residual"], "residual_epochs": 3}')

    assert (config.recipes, config.residual_epochs) == (("residual",), 3)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "text",
    [
        '{"recipes": ["best", "residual"]}',
        '{"best_epochs": 3, "residual_epochs": 3}',
        '{"best_batch_size": 8, "residual_batch_size": 64}',
        '{"best_learning_rate": 0.5, "residual_learning_rate": 0.5}',
    ],
)
def test_both_names_of_one_thing_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"is the former name of residual\w*; received both"):
        parse_config(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"best_epochs": 0}',
        '{"best_rate": 1}',
        '{"recipes": ["best", "best"]}',
        '{"recipes": "best"}',
    ],
)
def test_a_former_name_excuses_no_other_mistake(text: str) -> None:
    with pytest.raises(BadInput):
        parse_config(text)


def test_no_former_name_is_written() -> None:
    written = parse_config('{"recipes": ["best"], "best_epochs": 3}').model_dump_json()

    assert "best" not in written


def test_a_part_of_training_may_be_named_as_before() -> None:
    train, config = step_named("train"), Retraining()

    assert part_named(train, "best", config).part == "residual"
    assert part_named(train, "residual", config).part == "residual"
    with pytest.raises(BadInput):
        part_named(train, "best", Retraining(recipes=("baseline",)))


# A record ----------------------------------------------------------------------------------------

NOTHING = {"key": "k", "sha256": "0" * 64, "size_bytes": 1}
EPOCH = {
    "loss": 0.5,
    "accuracy": 0.5,
    "val_loss": 0.6,
    "val_accuracy": 0.5,
    "val_balanced_accuracy": 0.5,
    "val_recall": [0.5, 0.5],
    "seconds": 1.0,
}
RECIPE = {
    "recipe": "best",
    "model": NOTHING,
    "parameters": 7,
    "images": 9,
    "epochs": [EPOCH],
    "best_epoch": 1,
    "finding": "best underfits: it does.",
    "mlflow_run": "",
}
PROVENANCE: dict[str, Any] = {  # of that time, when none said a format
    "step": "train",
    "run": "old",
    "config": {},
    "code": "0" * 64,
    "fingerprint": "0" * 64,
    "inputs": {},
    "reused_from": None,
    "committed_at": "2026-01-02T03:04:05+00:00",
    "seconds": 1.0,
    "peak_memory_bytes": 1,
    "machine": "x86_64",
    "image": None,
}
RECORD = {"provenance": PROVENANCE, "classes": ["melanoma", "nevus"], "recipes": [RECIPE]}
# As the version that wrote such records calculated it.
HASH = "d672f1cebc5a9e7717cd370ec23f9ce7b9c19b278bad389967440af8161def43"


def trained(recipe: str = "best") -> Trained:
    record = RECORD | {"recipes": [RECIPE | {"recipe": recipe}]}
    return Trained.model_validate_json(json.dumps(record))


def test_an_old_record_keeps_its_word_and_its_hash() -> None:
    again = Trained.model_validate_json(trained().model_dump_json())

    assert again.recipes[0].recipe == "best"
    assert again.content_hash == trained().content_hash == HASH
    assert trained("residual").content_hash != HASH


@pytest.mark.parametrize("written", ["best", "residual"])
@pytest.mark.parametrize("asked", ["best", "residual"])
def test_both_names_are_one_recipe_and_no_other(
    written: RecordedRecipe, asked: RecordedRecipe
) -> None:
    assert trained(written).of(asked) == trained(written).recipes[0]
    assert recipe_now(written) == recipe_now(asked) != recipe_now("baseline")
    with pytest.raises(StopIteration):
        trained(written).of("baseline")


def test_a_sentence_of_an_old_record_is_shown_with_the_present_name() -> None:
    assert in_words(trained().recipes[0]) == "residual underfits: it does."
    assert in_words(trained("baseline").recipes[0]) == "best underfits: it does."  # not its name


def bundle_of(written: str, judged: str, model: str) -> Any:
    evaluated = SimpleNamespace(recipe=judged, model=SimpleNamespace(sha256=model))
    return {"train": trained(written), "evaluate": evaluated}


@pytest.mark.parametrize(
    ("written", "judged", "model", "holds"),
    [
        ("best", "best", "0" * 64, True),
        ("best", "residual", "0" * 64, True),
        ("best", "residual", "1" * 64, False),
        ("baseline", "residual", "0" * 64, False),
    ],
)
def test_a_bundle_may_say_both_names_and_not_another_model(
    written: str, judged: str, model: str, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = {Trained: trained(written), Evaluated: bundle_of(written, judged, model)["evaluate"]}
    monkeypatch.setattr(figures, "record_of", lambda bundle, of: records[of])
    bundle: Any = object()
    if holds:
        assert model[:12] in the_model_is_one_that_was_trained(bundle)
        return
    with pytest.raises(Corrupt, match="not the one that was trained"):
        the_model_is_one_that_was_trained(bundle)


# A store ------------------------------------------------------------------------------------------


@pytest.fixture
def old(store_of_format_1: Path) -> Path:
    """The old store, as if what it trained had been `best`."""
    for path in (store_of_format_1 / "runs/first").glob("*/record.json"):
        record = json.loads(path.read_text())
        config = record["provenance"]["config"]
        config |= {"recipes": ["best"], "best_epochs": 7, "best_batch_size": 8}
        for each in record.get("recipes", []):
            each["recipe"] = "best"
        if path.parent.name == "evaluate":
            (value,) = record["validation_balanced_accuracy"].values()
            record |= {"recipe": "best", "validation_balanced_accuracy": {"best": value}}
        path.write_text(json.dumps(record))
    return store_of_format_1


def test_an_old_store_is_read_and_keeps_its_words(
    old: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in PIPELINE:
        record = read_record(open_store(str(old)), "first", step.name)
        assert record
        assert record.provenance
        config = record.provenance.config
        assert (config.recipes, config.residual_epochs) == (("residual",), 7)
        if isinstance(record, Evaluated):
            assert json.loads(record.model_dump_json())["recipe"] == "best"
            assert list(record.validation_balanced_accuracy) == ["best"]
    assert caplog.messages == []  # nobody can correct a record


def test_the_report_and_the_promotion_page_show_the_present_name(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    run = run_of(open_store(str(old)), "first")
    page = run.store.read(report(run)).decode()
    written = (old / "runs/first/evaluate/record.json").read_bytes()
    reseal(old / "runs/first/evidence", {"evaluate/record.json": written})
    asked = page_of(question_about(run))

    assert "<b>residual</b>" in page
    assert "<h3>residual" in page
    assert "<b>best</b>" not in page
    assert "<h3>best" not in page
    assert "recipe residual" in asked
    assert "recipe best" not in asked


# Airflow's form -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({"recipes": ["best"], "best_epochs": 3}, {"recipes": ("residual",), "residual_epochs": 3}),
        ({"recipes": ["balanced"]}, {"recipes": ("balanced",)}),
        ({"residual_epochs": 4}, {"residual_epochs": 4}),
        ({"best_epochs": 3, "residual_epochs": 4}, None),
    ],
)
def test_a_script_may_start_a_run_with_the_former_names(
    given: dict[str, Any],
    means: dict[str, Any] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    from dags.argv import CONFIG, MACROS

    template = SandboxedEnvironment().from_string(CONFIG[1])
    text = template.render(dag_run=SimpleNamespace(conf=given), **MACROS)
    if means is None:
        with pytest.raises(BadInput, match="former name"):
            parse_config(text)
        return
    assert parse_config(text) == Retraining(**means)


def test_the_form_offers_the_present_names_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    from dags.form import form

    fields = form()
    assert not set(FORMER_FIELDS) & set(fields)
    assert "residual" in fields["recipes"].schema["examples"]
    assert "best" not in fields["recipes"].schema["examples"]


# MLflow -------------------------------------------------------------------------------------------


def test_a_version_is_read_whatever_its_tag_calls_the_recipe() -> None:
    from tasks.registry.versions import described

    tags = {"run": "s/runs/a", "model_sha256": "0", "threshold": "0.5", "classes": '["melanoma"]'}
    versions = [
        described(SimpleNamespace(version="1", source="s", tags=tags | {"recipe": name}))
        for name in ("best", "residual")
    ]

    assert versions[0] == versions[1]


def test_what_is_logged_here_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    Retraining.model_validate({"best_epochs": 3})

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
