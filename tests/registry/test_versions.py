"""What somebody deletes or puts in another's place in MLflow is told, with what to do."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import BadInput
from tasks.model_file import from_bytes, to_bytes
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.registry.champion import NOTE, adopt, alias_of, champion, outside_state, report_alias
from tasks.registry.promotions import Adoption, promotions_in
from tasks.registry.versions import CHALLENGER, CHAMPION, MODEL, mlflow_client
from tests.support.approvals import approved
from tests.support.deliveries import do, judged_run, picture, run_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shelf(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose model is registered."""
    run = judged_run(drawn, tmp_path_factory.mktemp("registry") / "store")
    do(run, "register")
    return run


@pytest.fixture
def run(shelf: Run, tmp_path: Path) -> Run:
    """A copy of it, to be spoilt. MLflow's artifacts stay where they were."""
    store = shutil.copytree(shelf.store.uri, tmp_path / "store")
    with mlflow_client(shelf.store) as client:
        assert client.get_model_version_by_alias(MODEL, CHALLENGER)
    return run_of(DirectoryStore(Path(store)), **shelf.config.model_dump())


def forget_version(client: Any) -> None:
    client.delete_model_version(MODEL, "1")


def forget_model(client: Any) -> None:
    client.delete_registered_model(MODEL)


@pytest.mark.parametrize("forget", [forget_version, forget_model])
def test_a_challenger_that_is_gone_from_mlflow_is_not_promoted_and_told(
    run: Run, forget: Callable[[Any], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Deleted while a person thought about it."""
    approved(run)
    with mlflow_client(run.store) as client:
        forget(client)
    capfd.readouterr()
    assert promote(run) == 64
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert "MLflow does not hold the requested item" in said


def test_an_approved_model_needs_no_alias(run: Run) -> None:
    approved(run)
    with mlflow_client(run.store) as client:
        client.delete_registered_model_alias(MODEL, CHALLENGER)
    assert promote(run) == 0


def promote(run: Run) -> int:
    # The tags name the bundle where it was made; its copy holds the same bytes.
    return main(["promote", "--run", run.uri])


def test_the_ledger_knows_the_champion_whatever_becomes_of_the_alias(run: Run) -> None:
    approved(run)
    assert promote(run) == 0
    with mlflow_client(run.store) as client:
        before = champion(client, run.store)
        assert report_alias(client, promotions_in(run.store).champion) == ""
        client.delete_registered_model_alias(MODEL, CHAMPION)
        assert champion(client, run.store) == before
        told = report_alias(client, promotions_in(run.store).champion)
    assert "in MLflow is on no version" in told
    assert main(["ledger", "--store", run.store.uri, "--repair"]) == 0
    with mlflow_client(run.store) as client:
        assert alias_of(client, CHAMPION) == 1


def test_an_alias_that_was_set_by_hand_makes_no_champion(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with mlflow_client(run.store) as client:
        client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert outside_state(run) == ""
    assert "no model is in use" in caplog.text


@pytest.mark.parametrize("forget", ["version", "model"])
def test_a_champion_that_was_deleted_is_not_no_champion(
    run: Run, forget: str, capfd: pytest.CaptureFixture[str]
) -> None:
    approved(run)
    assert promote(run) == 0
    with mlflow_client(run.store) as client:
        assert champion(client, run.store)
        (forget_version if forget == "version" else forget_model)(client)
    with pytest.raises(BadInput, match="model in use is gone") as told:
        outside_state(run)
    assert "version 1" in told.value.expected
    argv = ["--run", f"{run.store.uri}/runs/test", "--config", run.config.model_dump_json()]
    capfd.readouterr()
    run.store.delete("runs/test/evaluate/record.json")
    assert main(["evaluate", *argv]) == 64
    assert "Traceback" not in capfd.readouterr().err


def lose(artifact: Path) -> None:
    artifact.unlink()


def change(artifact: Path) -> None:
    artifact.write_bytes(artifact.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [lose, change])
def test_a_model_that_is_gone_or_another_is_not_promoted(
    shelf: Run,
    run: Run,
    tmp_path: Path,
    damage: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    approved(run)
    (artifact,) = Path(shelf.store.uri, "mlflow-artifacts").rglob("model.keras")
    shutil.copy(artifact, tmp_path / "kept.keras")
    damage(artifact)
    capfd.readouterr()
    try:
        assert promote(run) == 64
        said = capfd.readouterr().err
        assert "Traceback" not in said
        assert f"of {MODEL} is" in said  # gone, or not the model that was registered
    finally:
        shutil.copy(tmp_path / "kept.keras", artifact)
    with mlflow_client(run.store) as client:
        assert champion(client, run.store) is None


def test_where_nothing_was_promoted_there_is_no_champion(run: Run) -> None:
    with mlflow_client(run.store) as client:
        assert champion(client, run.store) is None
    run.store.replace(NOTE, b"no note")
    with mlflow_client(run.store) as client, pytest.raises(BadInput, match="not known which"):
        champion(client, run.store)


def test_a_champion_of_an_earlier_version_of_the_program_is_adopted(run: Run) -> None:
    """The earlier version set the alias, and left a note in the store."""
    registered = run.record("register")
    assert isinstance(registered, Registered)
    note = {"run": run.name, "version": 1, "model_sha256": registered.model_sha256}
    run.store.replace(NOTE, json.dumps(note).encode())
    with mlflow_client(run.store) as client:
        found = champion(client, run.store)
        assert champion(client, run.store) == found
        assert promotions_in(run.store).facts == ()  # whoever only looks writes nothing
        (fact,) = adopt(client, run.store).facts
        assert adopt(client, run.store).facts == (fact,)
        assert champion(client, run.store) == found
    assert found
    assert (found.number, found.model_sha256) == (1, registered.model_sha256)
    assert isinstance(fact, Adoption)
    assert "nobody's approval" in fact.why


def test_a_model_that_is_gone_from_mlflow_is_named(
    shelf: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (artifact,) = Path(shelf.store.uri, "mlflow-artifacts").rglob("model.keras")
    kept = artifact.rename(tmp_path / "kept.keras")
    try:
        (tmp_path / "images").mkdir()
        (tmp_path / "images/a.png").write_bytes(picture(1))
        labels = tmp_path / "labels.csv"
        labels.write_text("image_id,diagnosis\na,nevus\n")
        argv = ["score", "--model", f"models:/{MODEL}/1", "--images", f"{tmp_path}/images"]
        code = main([*argv, "--labels", str(labels), "--store", shelf.store.uri])
        said = capfd.readouterr().err
        assert code == 64
        assert "is gone from MLflow" in said
        assert "Traceback" not in said
    finally:
        kept.rename(artifact)


# Files that are no model -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(shelf: Run) -> bytes:
    evaluated = shelf.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    return shelf.fetch(evaluated.model)


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in parts.items():
            target.writestr(name, data)
    return file.getvalue()


def parts_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def network(*shape: int) -> bytes:
    inputs = keras.Input(shape)
    flat = keras.layers.Flatten()(inputs)
    return to_bytes(keras.Model(inputs, keras.layers.Dense(3)(flat)))


def other_layer(data: bytes) -> bytes:
    parts = parts_of(data)
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1]["class_name"] = "Mystery"
    return zipped(parts | {"config.json": json.dumps(config).encode()})


FOREIGN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "the first 1,000 bytes": lambda data: data[:1000],
    "all but the last byte": lambda data: data[:-1],
    "HDF5": lambda data: b"\x89HDF\r\n\x1a\n" + bytes(2000),
    "a zip of something else": lambda data: zipped({"a.txt": b"a"}),
    "no JSON": lambda data: zipped(parts_of(data) | {"config.json": b"{"}),
    "no weights": lambda data: zipped(parts_of(data) | {"model.weights.h5": b""}),
    "a layer that nobody knows": other_layer,
    "another input": lambda data: network(7),
    "one channel": lambda data: network(8, 8, 1),
    "text": lambda data: b"not a model at all " * 100,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_model_is_told_and_no_traceback(
    sound: bytes, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(FOREIGN[kind](sound))
    (tmp_path / "images").mkdir()
    keras.utils.save_img(tmp_path / "images" / "a.png", keras.ops.ones((40, 40, 3)))
    (tmp_path / "labels.csv").write_text("image_id,diagnosis\na,nevus\n")
    argv = ["score", "--model", str(path), "--threshold", "0.5"]
    code = main([*argv, "--images", f"{tmp_path}/images", "--labels", f"{tmp_path}/labels.csv"])
    said = capfd.readouterr().err

    assert code == 64
    assert "not a model of this product" in said
    assert "Traceback" not in said


def test_a_bomb_is_refused_by_its_size_before_it_unfolds(sound: bytes) -> None:
    bomb = zipped(parts_of(sound) | {"model.weights.h5": bytes(10**6)})
    with zipfile.ZipFile(io.BytesIO(bomb)) as file:
        told = file.getinfo("model.weights.h5").file_size
    huge = bomb.replace(told.to_bytes(4, "little"), (2**31 - 1).to_bytes(4, "little"))
    with pytest.raises(BadInput, match="not a model"):
        from_bytes(huge)


def test_a_sound_model_is_loaded(sound: bytes) -> None:
    assert from_bytes(sound).output_shape[0] is None
