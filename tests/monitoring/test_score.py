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
from tasks.engine.spreadsheet import csv_of
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Corrupt
from tasks.intake.synthesize import synthesize
from tasks.lesions import DIAGNOSES, MELANOMA, Diagnosis
from tasks.monitoring import pictures
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
    assert (found.drops, found.drift) == ((), None)
    assert "Its own figures are not known" in in_words(found)
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


def test_a_coarser_code_counts_for_melanoma_alone_unless_its_class_is_named(
    run: Run, copy: Path
) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (48, 48, 3), np.uint8)
    before = scored(run, copy)
    add(copy, "CLINIC_coarse", noise, diagnosis="bkl")
    coarse = scored(run, copy)
    mapped = scored(run, copy, coarse={"bkl": "pigmented benign keratosis"})

    name: Diagnosis = "pigmented benign keratosis"

    def counts(found: Scored) -> tuple[int, int, int, int]:
        made = found.figures
        return found.of_no_class, made.specificity.n, made.accuracy.n, made.per_class[name].recall.n

    none, others, classed, own = counts(before)
    assert none == 0
    assert counts(coarse) == (1, others + 1, classed, own)
    assert counts(mapped) == (0, others + 1, classed + 1, own + 1)
    assert "--coarse names" in in_words(coarse)
    assert "--coarse names" not in in_words(mapped)


def test_it_says_whether_the_model_is_worse_here_and_how_the_lesions_differ(
    run: Run, clinic: Path, own_test_part: Path
) -> None:
    found = scored(run, clinic)
    assert [each.figure for each in found.drops] == ["sensitivity", "specificity", "auc"]
    for each in found.drops:
        assert each.words in in_words(found)
        assert each.drop.value == pytest.approx((each.own or 0) - (each.here or 0))
    assert found.drift is not None
    assert "source" in {each.figure for each in found.drift}  # no id of a clinic is an archive's
    moved = scored(run, clinic, threshold=0.9)
    assert [each.figure for each in moved.drops] == ["auc"]
    assert "at another threshold" in in_words(moved)
    own = scored(run, own_test_part)
    assert own.drops == ()  # a part is no other sample than itself
    assert "6 of the images are of that part" in in_words(own)


def test_each_image_and_row_stands_in_the_predictions_once(
    run: Run, copy: Path, tmp_path: Path
) -> None:
    (copy / "images" / "CLINIC_unlabelled.jpg").write_bytes(b"")
    noise = np.random.default_rng(3).integers(0, 255, (48, 48, 3), np.uint8)
    add(copy, "CLINIC_coarse", noise, diagnosis="benign")
    with (copy / "labels.csv").open("a") as file:
        file.write("CLINIC_gone,nevus,\n")
    to = tmp_path / "answers.csv"
    found = scored(run, copy, predictions=to)
    table = csv_of(to.read_bytes())

    files = {path.name for path in (copy / "images").iterdir()}
    assert sorted(table["file"].dropna()) == sorted(files)
    answered = table[table["left_out"].isna()]
    assert len(answered) == found.images
    made = answered[list(found.figures.classes)].astype(float)
    assert np.allclose(made.sum(axis=1), 1)
    called = answered["decision"] == MELANOMA
    assert (called == (made[MELANOMA] >= found.figures.threshold)).all()
    melanoma = answered["label"] == MELANOMA  # one image of each lesion
    assert int((called & melanoma).sum()) == found.figures.sensitivity.successes
    assert int((~called & ~melanoma).sum()) == found.figures.specificity.successes
    rest = table[table["left_out"].notna()].set_index("image_id")["left_out"].to_dict()
    assert "no row" in rest["CLINIC_unlabelled"]
    assert "no such image" in rest["CLINIC_gone"]
    row = answered.set_index("image_id").loc["CLINIC_coarse"]
    assert (row["label"], row["labels_say"]) == ("not melanoma", "labels=benign")
    with pytest.raises(BadInput, match="there is such a file"):
        scored(run, copy, predictions=to)


def test_how_many_images_are_in_memory_at_once_changes_no_answer(
    run: Run, clinic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scored(run, clinic)
    monkeypatch.setattr(pictures, "AT_ONCE", 7)
    in_turn = scored(run, clinic)
    assert in_turn.figures.sensitivity == whole.figures.sensitivity
    assert in_turn.figures.confusion == whole.figures.confusion
    assert in_turn.figures.subgroups == whole.figures.subgroups
    assert in_turn.figures.auc.value == pytest.approx(whole.figures.auc.value, abs=1e-6)


def test_what_cannot_be_scored_is_refused_or_named(run: Run, copy: Path, tmp_path: Path) -> None:
    (copy / "images" / "CLINIC_broken.jpg").write_bytes(b"no image")
    with (copy / "labels.csv").open("a") as file:
        file.write("CLINIC_broken,nevus,\n")
    (copy / "images" / "CLINIC_unlabelled.jpg").write_bytes(b"")
    reasons = {each.image_id: each.reason for each in scored(run, copy).left_out}
    assert "not that of an image" in reasons["CLINIC_broken"]
    assert "no row" in reasons["CLINIC_unlabelled"]

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
