"""score: the figures of evaluate on any folder, without what the model has learned from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.__main__ import main
from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Corrupt
from tasks.intake.synthesize import synthesize
from tasks.lesions import DIAGNOSES, MELANOMA, Code, Diagnosis
from tasks.monitoring.labelled import meaning
from tasks.monitoring.score import score
from tasks.monitoring.scored import Scored, in_words
from tasks.records.evaluated import Evaluated
from tasks.records.split import Split
from tasks.splitting.looks import looks_of
from tests.support.deliveries import table_of

pytestmark = pytest.mark.slow

MODEL = "models:/melanoma_classifier/1"


@pytest.fixture(scope="module")
def run(registered_run: Run) -> Run:
    return registered_run


@pytest.fixture(scope="module")
def model(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registered model as a bare file."""
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    path.write_bytes(run.fetch(evaluated.model))
    return path


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn lesions that the model has never seen, under names of their own."""
    drawn = tmp_path_factory.mktemp("drawn") / "other"
    synthesize(drawn, seed=99, scale=0.15)
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "images").mkdir()
    rows: list[dict[str, str]] = []
    for path in sorted(drawn.rglob("*.jpg")):
        name = path.stem.replace("SYNTHETIC", "CLINIC")
        if name in {row["image_id"] for row in rows} or path.stat().st_size < 1000:
            continue
        (folder / "images" / f"{name}.jpg").write_bytes(path.read_bytes())
        rows.append({"image_id": name, "diagnosis": path.parent.name, "lesion_id": f"C-{name}"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


def scored(run: Run, folder: Path, **changes: Any) -> Scored:
    options: dict[str, Any] = {"model": MODEL, "store": run.store} | changes
    return score(images=folder / "images", labels=folder / "labels.csv", **options)


def add(
    folder: Path, name: str, pixels: Any, diagnosis: str = "melanoma", lesion: str = ""
) -> None:
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    with (folder / "labels.csv").open("a") as file:
        file.write(f"{name},{diagnosis},{lesion}\n")


@pytest.fixture
def copy(clinic: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(clinic, tmp_path / "clinic"))


def test_a_registered_model_is_scored_with_all_figures_of_evaluate(run: Run, clinic: Path) -> None:
    found = scored(run, clinic)
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)

    assert found.images == found.figures.images > 50
    assert found.known_images_left_out == 0
    assert found.figures.threshold == evaluated.threshold
    assert found.model_sha256 == evaluated.model.sha256
    assert set(dict(found.figures)) == set(dict(evaluated.figures))
    assert found.figures.sensitivity.n > 0


def test_what_it_says_of_its_own_test_part_is_what_evaluate_said(run: Run, tmp_path: Path) -> None:
    """The same images by the same functions give the same figures."""
    split, evaluated = run.record("split"), run.record("evaluate")
    assert isinstance(split, Split)
    assert isinstance(evaluated, Evaluated)
    parts = table_of(run, split.parts)
    test = parts[parts["side"] == "test"]
    (tmp_path / "images").mkdir()
    for key in test["key"]:
        (tmp_path / "images" / Path(key).name).write_bytes(run.store.read(key))
    columns = {"label": "diagnosis", "age_years": "age"}
    table = test[["image_id", "label", "lesion_id", "age_years", "sex", "site"]]
    table.rename(columns=columns).to_csv(tmp_path / "labels.csv", index=False)
    found = scored(run, tmp_path).figures

    assert found.sensitivity == evaluated.figures.sensitivity
    assert found.specificity == evaluated.figures.specificity
    assert found.confusion == evaluated.figures.confusion
    assert found.auc.value == pytest.approx(evaluated.figures.auc.value, abs=1e-6)


@pytest.fixture
def own_test_part(run: Run, tmp_path: Path) -> Path:
    """Some images of the model's test part, from where they were delivered."""
    split = run.record("split")
    assert isinstance(split, Split)
    parts = table_of(run, split.parts)
    test = parts[parts["side"] == "test"].iloc[:6]
    (tmp_path / "images").mkdir()
    for key in test["key"]:
        (tmp_path / "images" / Path(key).name).write_bytes(run.store.read(key))
    labels = test[["image_id", "label"]].rename(columns={"label": "diagnosis"})
    labels.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def looks(run: Run) -> list[tuple[str, int]]:
    return [(look.by, len(look.images)) for look in looks_of(chain_of(run.store))]


def test_images_of_the_test_part_are_scored_only_where_the_look_is_counted(
    run: Run, own_test_part: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = looks(run)
    argv = ["score", "--model", str(model), "--evidence", f"{run.uri}/evidence"]
    argv += ["--images", f"{own_test_part}/images", "--labels", f"{own_test_part}/labels.csv"]
    assert main(argv) == 64
    assert "only if a ledger counts the look" in capfd.readouterr().err
    assert looks(run) == before
    assert main([*argv, "--store", run.store.uri]) == 0
    assert "6 of them are in its test part" in capfd.readouterr().out
    assert looks(run) == [*before, ("score", 6)]
    assert main([*argv, "--store", run.store.uri]) == 0  # the same look again
    assert looks(run) == [*before, ("score", 6)]


def test_a_look_is_counted_by_the_ledger_of_the_model_and_by_no_other(
    run: Run, own_test_part: Path, model: Path, tmp_path: Path
) -> None:
    other = open_store(str(tmp_path / "other"))
    with pytest.raises(Corrupt, match="ledger is damaged, or was cut short or replaced"):
        score(
            str(model),
            own_test_part / "images",
            own_test_part / "labels.csv",
            evidence=f"{run.uri}/evidence",
            store=other,
        )
    assert not list(other.list(""))


def test_images_that_the_model_learned_from_are_left_out_each_with_a_reason(
    run: Run, clinic: Path, copy: Path
) -> None:
    split = run.record("split")
    assert isinstance(split, Split)
    parts = table_of(run, split.parts)
    known = parts[(parts["side"] == "train") & parts["lesion_id"].notna()].iloc[0]
    tuned = parts[parts["side"] == "validation"].iloc[0]

    def picture_of(row: pd.Series) -> Any:
        with Image.open(Path(run.store.uri, row["key"])) as image:
            return np.asarray(image.convert("RGB"))

    noise = np.random.default_rng(1).integers(0, 255, (48, 48, 3), np.uint8)
    add(copy, str(known["image_id"]), noise)
    add(copy, "CLINIC_same_pixels", picture_of(tuned))
    add(copy, "CLINIC_same_lesion", noise[::-1], lesion=str(known["lesion_id"]))
    add(copy, "CLINIC_turned", np.rot90(picture_of(known)))
    add(copy, "CLINIC_fresh", noise[:, ::-1] // 2)
    reasons = {each.image_id: each.reason for each in scored(run, copy).left_out}

    assert "the same image as" in reasons[str(known["image_id"])]
    assert "the same pixels as" in reasons["CLINIC_same_pixels"]
    assert "the same lesion as" in reasons["CLINIC_same_lesion"]
    assert "a near duplicate" in reasons["CLINIC_turned"]
    assert "CLINIC_fresh" not in reasons
    others = {each.image_id for each in scored(run, clinic).left_out}
    assert len(set(reasons) - others) == 4  # and no other


def test_a_model_without_evidence_is_scored_and_the_doubt_said(
    run: Run, clinic: Path, model: Path
) -> None:
    with pytest.raises(BadInput, match="not known what this model calls melanoma"):
        scored(run, clinic, model=str(model))
    found = scored(run, clinic, model=str(model), threshold=0.2)

    assert found.known_images_left_out is None
    assert "NOT known whether the model learned" in in_words(found)
    with_evidence = scored(run, clinic, model=str(model), evidence=f"{run.uri}/evidence")
    assert with_evidence.known_images_left_out == 0
    assert with_evidence.figures == scored(run, clinic).figures


def test_evidence_of_another_model_is_refused(run: Run, clinic: Path, tmp_path: Path) -> None:
    from tasks.model_file import to_bytes
    from tasks.training.notebook_networks import build

    other = build("baseline", image_size=32, classes=9, learning_rate=0.001, seed=1)
    (tmp_path / "other.keras").write_bytes(to_bytes(other))
    with pytest.raises(Corrupt, match="another model"):
        scored(run, clinic, model=str(tmp_path / "other.keras"), evidence=f"{run.uri}/evidence")


def test_a_code_that_is_coarser_than_the_classes_is_refused_by_name_unless_mapped(
    run: Run, copy: Path
) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (48, 48, 3), np.uint8)
    add(copy, "CLINIC_coarse", noise, diagnosis="bkl")
    with pytest.raises(BadInput, match="coarser") as refused:
        scored(run, copy)
    assert "bkl (1 images" in refused.value.received
    mapped = scored(run, copy, coarse={"bkl": "pigmented benign keratosis"})
    plain = copy / "labels.csv"
    plain.write_text("\n".join(plain.read_text().splitlines()[:-1]) + "\n")

    name: Diagnosis = "pigmented benign keratosis"
    assert mapped.figures.per_class[name].recall.n == (
        scored(run, copy).figures.per_class[name].recall.n + 1
    )


@pytest.mark.parametrize(
    ("told", "label"),
    [
        ([("labels", "Melanoma")], MELANOMA),
        ([("HAM10000", "bkl")], None),
        ([], None),
        ([("HAM10000", "akiec"), ("ISIC 2019", "AK")], "actinic keratosis"),
    ],
)
def test_a_diagnosis_is_read_as_ingest_reads_it(
    told: list[tuple[str, str]], label: str | None
) -> None:
    codes = tuple(Code(archive, (code,)) for archive, code in told)
    assert meaning(codes, {})[0] == label


def test_what_cannot_be_scored_is_refused_or_named(run: Run, copy: Path, tmp_path: Path) -> None:
    (copy / "images" / "CLINIC_broken.jpg").write_bytes(b"no image")
    with (copy / "labels.csv").open("a") as file:
        file.write("CLINIC_broken,nevus,\n")
    (copy / "images" / "CLINIC_unlabelled.jpg").write_bytes(b"")
    reasons = {each.image_id: each.reason for each in scored(run, copy).left_out}
    assert "not that of an image" in reasons["CLINIC_broken.jpg"]
    assert "no row" in reasons["CLINIC_unlabelled.jpg"]

    (tmp_path / "empty").mkdir()
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    labels = copy / "labels.csv"
    for given, match in (
        ((MODEL, tmp_path / "empty", labels), "no images"),
        ((MODEL, copy / "images", tmp_path / "none.csv"), "table of labels is not recognized"),
        ((MODEL, copy / "images", tmp_path / "absent.csv"), "labels cannot be read"),
        (("models:/melanoma_classifier/99", copy / "images", labels), "no such registered"),
        (("models:/other@champion", copy / "images", labels), "no such registered"),
        (("model.h5", copy / "images", labels), "no such model"),
    ):
        with pytest.raises(BadInput, match=match):
            score(*given, store=run.store)


def test_the_command_line_prints_figures_for_people_and_programs(
    run: Run, clinic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["score", "--model", MODEL, "--images", str(clinic / "images")]
    argv += ["--labels", str(clinic / "labels.csv"), "--store", run.store.uri]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["figures"]["per_class"]) == [
        name for name in DIAGNOSES if name in found["figures"]["classes"]
    ]
    assert main(argv) == 0
    said = capsys.readouterr().out
    sensitivity = found["figures"]["sensitivity"]
    assert f"{sensitivity['successes']} of {sensitivity['n']}" in said
