"""What MLflow serves is what was judged: its bytes, its folder, and its answers."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tasks.engine.run import Run
from tasks.errors import Corrupt, Momentary
from tasks.model_file import answers_of, from_bytes, to_bytes
from tasks.records.registered import Registered
from tasks.registry import clean_process
from tasks.registry.clean_process import answers_apart
from tasks.registry.served import TOLERANCE, Golden, check_answers, check_served, compared
from tasks.registry.versions import mlflow_client
from tasks.release.evidence import Bundle
from tasks.release.served import check_served_as_judged, golden_of
from tasks.training.residual_network import residual, served

pytestmark = pytest.mark.slow

WHAT = "Version 1"


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture(scope="module")
def registered(run: Run) -> Registered:
    record = run.record("register")
    assert isinstance(record, Registered)
    return record


@pytest.fixture(scope="module")
def golden(run: Run) -> Golden:
    found, remark = golden_of(Bundle(f"{run.uri}/evidence"), run)
    assert found
    assert not remark
    return found


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Iterator[Path]:
    """The folder that MLflow serves, to be spoilt; mended afterwards."""
    (description,) = Path(run.store.uri, "mlflow-artifacts").rglob("MLmodel")
    kept = Path(shutil.copytree(description.parent, tmp_path / "kept"))
    yield description.parent
    shutil.rmtree(description.parent)
    shutil.copytree(kept, description.parent)


def served_of(run: Run, registered: Registered, golden: Golden | None = None) -> str:
    with mlflow_client(run.store) as client:
        return check_served(client, registered, golden)


# The true model -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(
    run: Run, registered: Registered, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """What the check says of the true model, and what the clean process saw."""
    seen = tmp_path_factory.mktemp("clean") / "seen.json"
    tell = (
        "; import json, os; facts = {'environment': dict(os.environ), 'modules': list(sys.modules),"
        " 'path': sys.path, 'isolated': sys.flags.isolated, 'keras': __import__('keras').config."
        f"epsilon()}}; open({str(seen)!r}, 'w').write(json.dumps(facts))"
    )
    with pytest.MonkeyPatch.context() as patched, mlflow_client(run.store) as client:
        home = tmp_path_factory.mktemp("home")
        (home / ".keras").mkdir()
        (home / ".keras/keras.json").write_text('{"epsilon": 0.25, "backend": "tensorflow"}')
        patched.setenv("HOME", str(home))
        patched.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patched.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
        patched.setenv("PYTHONPATH", str(home))
        patched.setattr(clean_process, "ASK", clean_process.ASK + tell)
        said = check_served_as_judged(client, run, registered)
    return said, json.loads(seen.read_text())


def test_the_true_model_answers_as_when_it_was_judged(asked: tuple[str, Any]) -> None:
    said, _ = asked

    assert "the 7 files that MLflow serves are those that were registered" in said
    assert "32 golden images are answered in a clean process" in said
    assert float(said.partition("largest difference ")[2].partition(" ")[0]) < TOLERANCE / 100


def test_the_clean_process_holds_only_what_serving_needs(asked: tuple[str, Any], run: Run) -> None:
    _, seen = asked
    packages = {name.partition(".")[0] for name in seen["modules"]}

    assert seen["isolated"] == 1
    assert {"keras", "tensorflow", "numpy"} <= packages
    assert not packages & {"mlflow", "boto3", "airflow", "pytest", "sqlalchemy"}
    assert {name for name in seen["modules"] if name.startswith("tasks.")} <= {
        *("tasks.registry", "tasks.registry.clean_process", "tasks.model_file", "tasks.errors"),
        *("tasks.text", "tasks.text.lines", "tasks.text.redaction"),
    }
    assert "secret" not in seen["environment"].values()
    assert "PYTHONPATH" not in seen["environment"]
    assert seen["keras"] != 0.25  # the user's configuration of Keras


# Other weights ------------------------------------------------------------------------------------


def layers_of(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        elif layer.weights:
            yield layer


def zeroed_in_turn(model: keras.Model) -> Iterator[str]:
    """The names of the layers; each has weights of zero while its name is given."""
    for layer in layers_of(model):
        kept = layer.get_weights()
        layer.set_weights([np.zeros_like(each) for each in kept])
        yield layer.name
        layer.set_weights(kept)


def trained_baseline(folder: Path) -> keras.Model:
    return from_bytes((folder / "data/model.keras").read_bytes())


def some_residual(folder: Path) -> keras.Model:
    """All weights are other than zero, as after a training."""
    network = residual(9, 1, keras.layers.Conv2D)
    random = np.random.default_rng(2)
    for each in network.trainable_weights:
        if not np.any(np.asarray(each)):
            each.assign(random.normal(0, 0.3, each.shape))
    return served(network, 32, "residual")


@pytest.mark.parametrize(
    ("made", "layers"), [(trained_baseline, 5), (some_residual, 21)], ids=["baseline", "residual"]
)
def test_each_layer_with_weights_of_zero_is_noticed_by_the_answers(
    folder: Path, golden: Golden, made: Callable[[Path], keras.Model], layers: int
) -> None:
    model = made(folder)
    before = answers_of(model, golden.pixels)
    true = Golden(golden.image_ids, golden.classes, golden.pixels, before.astype(float))
    noticed = []
    for name in zeroed_in_turn(model):
        with pytest.raises(Corrupt, match="does not answer as the model that was judged"):
            compared(answers_of(model, golden.pixels), true, WHAT)
        noticed.append(name)

    assert len(noticed) == layers
    assert "largest difference 0" in compared(answers_of(model, golden.pixels), true, WHAT)


def test_each_layer_with_weights_of_zero_is_noticed_by_the_hash(
    run: Run, registered: Registered, golden: Golden, folder: Path
) -> None:
    model = trained_baseline(folder)
    noticed = []
    for name in zeroed_in_turn(model):
        (folder / "data/model.keras").write_bytes(to_bytes(model))
        with pytest.raises(Corrupt, match="is not the model that was registered"):
            served_of(run, registered, golden)
        noticed.append(name)
    assert len(noticed) == 5


def test_other_weights_are_noticed_by_the_answers_of_the_clean_process(
    golden: Golden, folder: Path, tmp_path: Path
) -> None:
    """As they would be by anybody who has no hash to compare with."""
    model = trained_baseline(folder)
    for _ in zeroed_in_turn(model):
        (tmp_path / "model.keras").write_bytes(to_bytes(model))
        break
    with pytest.raises(Corrupt, match="does not answer") as caught:
        check_answers(tmp_path / "model.keras", golden, WHAT)
    assert "32 of 32 golden images" in caught.value.received


@pytest.mark.parametrize(
    "wrong",
    [lambda answers: answers * np.nan, lambda answers: answers[:, 1:], lambda answers: answers[1:]],
)
def test_answers_of_another_shape_or_that_are_no_numbers_are_noticed(
    golden: Golden, wrong: Callable[[Any], Any]
) -> None:
    with pytest.raises(Corrupt, match="does not answer"):
        compared(wrong(golden.answers), golden, WHAT)


def test_a_difference_within_the_tolerance_holds_and_one_beyond_does_not(golden: Golden) -> None:
    within, beyond = golden.answers.copy(), golden.answers.copy()
    within[3, 2] += TOLERANCE / 2
    beyond[3, 2] += TOLERANCE * 2

    assert "32 golden images" in compared(within, golden, WHAT)
    with pytest.raises(Corrupt) as caught:
        compared(beyond, golden, WHAT)
    assert golden.image_ids[3] in caught.value.expected
    assert "1 of 32" in caught.value.received


# What a process can do ----------------------------------------------------------------------------


def test_a_file_that_does_not_load_alone_is_told(golden: Golden, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"no model")
    with pytest.raises(Corrupt, match="cannot be asked in a clean process") as caught:
        answers_apart(tmp_path / "model.keras", golden.pixels, WHAT)
    assert "not a model of this product" in caught.value.received


def test_a_model_that_takes_too_long_is_a_fault_of_the_moment(
    golden: Golden, tmp_path: Path
) -> None:
    with pytest.raises(Momentary, match=r"no answers within 0 s"):
        answers_apart(tmp_path / "model.keras", golden.pixels, WHAT, seconds=0.2)


def test_a_process_that_the_system_ends_is_a_fault_of_the_moment(
    golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(clean_process, "ASK", killed)
    with pytest.raises(Momentary, match="SIGKILL ended its process"):
        answers_apart(tmp_path / "model.keras", golden.pixels, WHAT)


# Another folder -----------------------------------------------------------------------------------


def described(folder: Path, flavor: str, **changes: Any) -> None:
    path = folder / "MLmodel"
    content = yaml.safe_load(path.read_text())
    content["flavors"].setdefault(flavor, {}).update(changes)
    path.write_text(yaml.safe_dump(content))


def elsewhere(folder: Path) -> None:
    described(folder, "keras", data="other")


def exported(folder: Path) -> None:
    described(folder, "keras", save_exported_model=True)


def by_another_loader(folder: Path) -> None:
    described(folder, "python_function", loader_module="mlflow.pyfunc.model")


def with_code(folder: Path) -> None:
    described(folder, "python_function", code="code")


def one_more_flavor(folder: Path) -> None:
    described(folder, "sklearn", pickled_model="model.pkl")


def by_another_module(folder: Path) -> None:
    (folder / "data/keras_module.txt").write_text("evil")


def without_flavors(folder: Path) -> None:
    (folder / "MLmodel").write_text("[]")


def added(folder: Path) -> None:
    (folder / "data/more.py").write_text("print()")


def hidden(folder: Path) -> None:
    (folder / ".more").mkdir()
    (folder / ".more/x").write_text("")


def removed(folder: Path) -> None:
    (folder / "requirements.txt").unlink()


SEEN_WITHOUT_HASHES = [
    *(elsewhere, exported, by_another_loader, with_code, one_more_flavor, by_another_module),
    *(without_flavors, added, hidden, removed),
]


@pytest.mark.parametrize("spoil", SEEN_WITHOUT_HASHES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("of_an_older_version", [False, True])
def test_another_folder_is_noticed(
    run: Run,
    registered: Registered,
    folder: Path,
    spoil: Callable[[Path], None],
    of_an_older_version: bool,
) -> None:
    record = older(registered, folder) if of_an_older_version else registered
    assert "that MLflow serves are those" in served_of(run, record)
    spoil(folder)
    with pytest.raises(Corrupt, match="is not the folder that was registered"):
        served_of(run, record)


def older(registered: Registered, folder: Path) -> Registered:
    """The record, and the folder, as an earlier version of the program registered them."""
    shutil.rmtree(folder / "light")
    return registered.model_copy(update={"files": {}})


def test_another_light_form_is_noticed(run: Run, registered: Registered, folder: Path) -> None:
    light = folder / "light/model.onnx"
    data = light.read_bytes()
    light.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Corrupt, match="is not the folder") as caught:
        served_of(run, registered)
    assert "light/model.onnx" in caught.value.expected


def test_other_libraries_to_install_are_noticed_by_the_record(
    run: Run, registered: Registered, folder: Path
) -> None:
    (folder / "requirements.txt").write_text("keras-evil")
    with pytest.raises(Corrupt, match="is not the folder") as caught:
        served_of(run, registered)
    assert "requirements.txt" in caught.value.expected
    assert "kept no hash of the other files" in served_of(run, older(registered, folder))


def test_a_version_that_mlflow_serves_from_elsewhere_is_noticed(
    run: Run, registered: Registered, folder: Path, tmp_path: Path
) -> None:
    """Its `source` still names the right folder."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    model = trained_baseline(folder)
    for _ in zeroed_in_turn(model):
        (other / "data/model.keras").write_bytes(to_bytes(model))
        break
    assert served_of(run, registered)
    move = "UPDATE model_versions SET storage_location = ?"
    with closing(sqlite3.connect(Path(run.store.uri, "mlflow.db"))) as database:
        (kept,) = database.execute("SELECT storage_location FROM model_versions").fetchone()
        try:
            database.execute(move, (str(other),))
            database.commit()
            with pytest.raises(Corrupt, match="is not the model that was registered"):
                served_of(run, registered)
        finally:
            database.execute(move, (kept,))
            database.commit()


def test_a_folder_that_is_gone_is_told(run: Run, registered: Registered, folder: Path) -> None:
    shutil.move(folder, folder.with_name("away"))
    try:
        with pytest.raises(Corrupt, match="is gone from MLflow"):
            served_of(run, registered)
    finally:
        shutil.move(folder.with_name("away"), folder)


# Evidence of an earlier version of the program ----------------------------------------------------


def test_evidence_put_in_the_place_of_that_which_was_registered_is_noticed(
    run: Run, registered: Registered
) -> None:
    other = registered.evidence.model_copy(update={"sha256": "0" * 64})
    with (
        mlflow_client(run.store) as client,
        pytest.raises(Corrupt, match="not the bundle with which the model was registered"),
    ):
        check_served_as_judged(client, run, registered.model_copy(update={"evidence": other}))
