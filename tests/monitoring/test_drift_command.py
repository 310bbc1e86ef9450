"""``python -m tasks drift`` in a store with a model in use and the traces of its app."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.__main__ import main
from tasks.config import Retraining
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.traces import Trace, new_lesion, traces_of, write
from tasks.intake.contents import pictures_of
from tasks.intake.images import Decoded
from tasks.intake.manifest import parquet_of
from tasks.intake.pseudonyms import for_now
from tasks.monitoring.history import history_in
from tasks.monitoring.reference import FOLDER, reference_of
from tasks.monitoring.watch import watch
from tasks.records.split import Split
from tasks.registry.champion import champion
from tasks.registry.promotions import Model, Promotion, append, promotions_in
from tasks.registry.versions import Version, mlflow_client
from tasks.validation.laws.shift import one_per_lesion
from tests.support.approvals import question_about
from tests.support.deliveries import SMALL
from tests.support.moved import forget, moved

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)


def with_champion(run: Run, to: Path) -> DirectoryStore:
    """A copy of a run's store, whose model is in use."""
    store = moved(run.store.uri, to)
    asked = question_about(Run(store, run.name, run.config))
    append(store, run.name, lambda now: asked)
    append(
        store,
        run.name,
        lambda now: Promotion(question=asked.id, before=None, after=asked.model, checks=()),
    )
    return store


@pytest.fixture(scope="module")
def kept(registered_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectoryStore]:
    yield with_champion(registered_run, tmp_path_factory.mktemp("watched") / "store")
    forget()


def in_use(store: DirectoryStore) -> Model:
    found = promotions_in(store).champion
    assert found
    return found


def version_of(store: DirectoryStore) -> Version:
    with mlflow_client(store) as client:
        found = champion(client, store)
    assert found
    return found


def learned(store: DirectoryStore, version: Version) -> pd.DataFrame:
    """The rows that the model learned from."""
    record = Run(store, version.run.rpartition("/")[2], Retraining(**SMALL)).record("split")
    assert isinstance(record, Split)
    parts = parquet_of(store.read(record.parts.key))
    return parts[parts["side"] != "test"]


def pictures(store: DirectoryStore, version: Version) -> list[bytes]:
    """The files of the lesions that the model learned from, one each."""
    return [store.read(str(key)) for key in one_per_lesion(learned(store, version))["key"]]


def answers(store: DirectoryStore, files: list[bytes], days: int = 1) -> list[Trace]:
    """What an app would keep of these, all answered in the last days."""
    model = in_use(store)
    draw, made = np.random.default_rng(4), []
    for data in files:
        (image,) = pictures_of(data, Retraining(**SMALL), for_now()).each
        assert isinstance(image, Decoded)
        melanoma = float(draw.random())
        rest = [name for name in model.classes if name != "melanoma"]
        told = dict.fromkeys(rest, (1 - melanoma) / len(rest)) | {"melanoma": melanoma}
        hours = int(draw.integers(1, 24 * days))
        made += traces_of(
            [image],
            now=NOW - timedelta(hours=hours),
            lesion=new_lesion(),
            version=model.version,
            model_sha256=model.model_sha256,
            probabilities=told,
            decision="melanoma" if melanoma >= model.threshold else "not melanoma",
            refused=[()],
        )
    return made


def blue(data: bytes) -> bytes:
    """The same picture by a device with another lamp and another format of file."""
    with Image.open(BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int) + np.array([-35, 0, 35])
    buffer = BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_reference_is_what_the_model_learned_from_and_is_made_once(
    kept: DirectoryStore,
) -> None:
    version = version_of(kept)
    files = pictures(kept, version)
    made = reference_of(kept, version)
    keys = [entry.key for entry in kept.list(FOLDER)]

    assert len(made.learned) == len(files) == made.facts.lesions_learned
    assert set(made.learned["format"]) == {"JPEG"}
    assert made.learned["encoding"].str.startswith("quality").all()
    assert set(made.answered["answered"]) <= set(version.classes)
    if made.facts.refused:  # what the app would refuse leaves no answer
        refused, of = made.facts.refused
        assert len(made.answered) == of - refused
    assert reference_of(kept, version).facts == made.facts
    assert [entry.key for entry in kept.list(FOLDER)] == keys
    # A trace of the same file has the same figures as the reference.
    traced = answers(kept, files[:5])
    columns = ["width", "height", "red", "green", "blue", "sharpness", "border_red"]
    known = {tuple(row) for row in made.learned[columns].round(6).to_numpy().tolist()}
    for trace in traced:
        assert tuple(round(float(getattr(trace, name)), 6) for name in columns) in known
        assert trace.encoding in set(made.learned["encoding"])


def test_the_same_images_have_not_drifted_and_another_device_has(
    kept: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = version_of(kept)
    files = pictures(kept, version)
    write(kept, answers(kept, files))
    first = watch(kept, 3, NOW).watched
    # Answers and refusals are drawn here, and not those of the model.
    assert not {"file", "light", "sharpness", "lesion"} & set(first.moved)

    write(kept, answers(kept, [blue(each) for each in files]))
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert main(["drift", "--store", kept.uri, "--days", "3", "--output", str(page)]) == 0
    said = capsys.readouterr().out

    assert said.startswith("Drift. ")
    assert "SYNTHETIC: the model learned from drawn lesions" in said
    assert "red of the skin" in said
    assert "file format" in said
    assert page.read_text() == kept.read("monitoring/drift.html").decode()
    last = history_in(kept).tests[-1]
    assert (last.verdict, last.news) == ("drift", True)
    assert {"file", "light", "lesion"} <= set(last.moved)
    assert "drift" in kept.read("monitoring/history.html").decode()

    assert main(["drift", "--store", kept.uri, "--days", "4", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["verdict"], again["news"]) == ("drift", True)  # repeated within its hour
    tomorrow = watch(kept, 4, NOW + timedelta(days=1)).watched
    assert (tomorrow.verdict, tomorrow.news) == ("drift", False)  # it is not news a second time
    assert promotions_in(kept).champion == in_use(kept)  # and nothing was promoted


def test_a_reference_of_an_earlier_version_is_read_and_says_that_its_lesions_are_drawn(
    kept: DirectoryStore,
) -> None:
    version = version_of(kept)
    made = reference_of(kept, version)
    assert made.facts.synthetic is True
    (key,) = (each.key for each in kept.list(FOLDER) if each.key.endswith("reference.json"))
    was = kept.read(key)
    earlier = json.loads(was)
    del earlier["synthetic"]
    kept.replace(key, json.dumps(earlier).encode())
    assert reference_of(kept, version).facts == made.facts
    kept.replace(key, was)


def test_an_erasure_takes_the_reference_and_the_next_one_lacks_the_image(
    registered_run: Run, tmp_path: Path
) -> None:
    store = with_champion(registered_run, tmp_path / "store")
    version = version_of(store)
    rows = learned(store, version)
    lesions = rows["lesion_id"].fillna(rows["image_id"])
    alone = str(rows.loc[~lesions.duplicated(keep=False), "image_id"].iloc[0])
    before = reference_of(store, version)
    assert main(["erase", "--store", store.uri, "--image", alone, "--reason", "a test"]) == 0

    assert list(store.list(FOLDER)) == []
    after = reference_of(store, version)
    assert len(after.learned) == len(before.learned) - 1
    assert (after.learned["red"] > 0).all()  # no black pixels


def test_a_changed_reference_is_refused_and_its_folder_named(kept: DirectoryStore) -> None:
    version = version_of(kept)
    made = reference_of(kept, version)
    was = kept.read(made.facts.learned.key)
    kept.replace(made.facts.learned.key, was[:-1] + b"?")
    with pytest.raises(Corrupt, match="learned from cannot be read"):
        reference_of(kept, version)
    kept.replace(made.facts.learned.key, was)


def test_without_a_model_in_use_there_is_nothing_to_watch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drift", "--store", str(tmp_path / "empty")]) == BadInput.exit_code
    assert "no model was ever promoted" in capsys.readouterr().err


def test_a_page_that_exists_is_not_overwritten(
    kept: DirectoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")

    assert main(["drift", "--store", kept.uri, "--output", str(page)]) == BadInput.exit_code
    assert "a file that does not exist" in capsys.readouterr().err
    assert page.read_text() == "mine"


def test_a_store_without_the_models_run_is_refused(kept: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not known what the model in use learned from"):
        reference_of(DirectoryStore(tmp_path / "other"), version_of(kept))
