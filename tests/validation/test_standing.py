"""What a model was judged on stands, whatever is delivered later, until a person supersedes it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.records.split import Split
from tasks.records.validated import Validated
from tasks.splitting.looks import enter_look
from tests.support.deliveries import delivered, do, picture, put_lesions, run_of, table_of
from tests.support.records import record_of

pytestmark = pytest.mark.slow

MELANOMAS = range(100, 160)


@pytest.fixture
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, pd.DataFrame]:
    """A store after a model was judged, and the melanomas of its test part."""
    store = open_store(str(tmp_path_factory.mktemp("judged") / "store"))
    put_lesions(store, "melanoma", MELANOMAS)
    put_lesions(store, "nevus", range(200, 260))
    rows = "".join(f"ISIC_{n:07d},L{n},P{n}\n" for n in MELANOMAS)
    store.create("raw/m/labels.csv", f"image_id,lesion_id,patient_id\n{rows}".encode())
    run = run_of(store, "first")
    do(run, "ingest", "validate", "split")
    test = part_judged(run)
    enter_look(run, test, "f" * 64, threshold=0.5)
    return store, test[test["label"] == "melanoma"]


def part_judged(run: Run) -> pd.DataFrame:
    parts = table_of(run, record_of(run, Split).parts)
    return parts[parts["side"] == "test"]


def number_of(image: pd.Series) -> int:
    return int(image["image_id"].removeprefix("ISIC_"))


def put_again(store: Store, image: pd.Series) -> None:
    """The file itself, under another label."""
    store.create(f"raw/attack/nevus/{image['image_id']}.png", picture(number_of(image)))


def put_other_pixels(store: Store, image: pd.Series) -> None:
    """A larger picture under its id, which would be kept in its stead."""
    store.create(f"raw/attack/melanoma/{image['image_id']}.png", picture(9999, side=64))


def put_under_other_id(store: Store, image: pd.Series) -> None:
    """Its pixels under an id that sorts first."""
    store.create("raw/attack/melanoma/AAA.png", picture(number_of(image)))


def put_another_of_the_lesion(store: Store, image: pd.Series) -> None:
    """Another picture of the lesion, as a nevus: the lesion would be under two labels."""
    store.create("raw/attack/nevus/ISIC_0000900.png", picture(900))
    row = f"image_id,lesion_id\nISIC_0000900,{image['lesion_id']}\n"
    store.create("raw/attack/labels.csv", row.encode())


def put_diagnosis(store: Store, image: pd.Series) -> None:
    """A table of the archive that rules the label out."""
    store.create("raw/a/archive.csv", f"image_id,dx\n{image['image_id']},nv\n".encode())


def put_lesion(store: Store, image: pd.Series) -> None:
    """A table whose name sorts first, and that names another lesion: which is it?"""
    row = f"image_id,lesion_id\n{image['image_id']},another\n"
    store.create("raw/a/labels.csv", row.encode())


def put_patient(store: Store, image: pd.Series) -> None:
    """Another picture of the lesion, of another patient."""
    store.create("raw/attack/melanoma/ISIC_0000900.png", picture(900))
    row = f"image_id,lesion_id,patient_id\nISIC_0000900,{image['lesion_id']},nobody\n"
    store.create("raw/attack/labels.csv", row.encode())


ATTACKS = [
    *(put_again, put_other_pixels, put_under_other_id, put_another_of_the_lesion),
    *(put_diagnosis, put_lesion, put_patient),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.__name__)
def test_no_delivery_takes_a_judged_melanoma_out_of_the_test_part(
    judged: tuple[Store, pd.DataFrame], attack: Callable[[Store, pd.Series], None]
) -> None:
    store, before = judged
    attack(store, before.iloc[0])
    run = run_of(store, "second")
    validated = do(run, "ingest", "validate")
    do(run, "split")
    after = part_judged(run)
    columns = ["image_id", "pixel_hash", "label", "lesion_id", "patient_id"]
    still = after[after["image_id"].isin(before["image_id"])]
    told = [
        each[columns].sort_values("image_id").to_numpy(str).tolist() for each in (before, still)
    ]
    assert told[0] == told[1]
    finding = next(each for each in validated.findings if each.law == "contradicts_judged")
    assert finding.count == 1
    assert finding.severity == "error"


def test_what_stays_because_it_was_judged_is_not_told_as_quarantined(
    judged: tuple[Store, pd.DataFrame],
) -> None:
    """A table puts a judged melanoma and two nevi into one lesion: its word is not believed."""
    store, before = judged
    names = (before.iloc[0]["image_id"], "ISIC_0000200", "ISIC_0000201")
    rows = "".join(f"{name},ONE\n" for name in names)
    store.create("raw/attack/labels.csv", f"image_id,lesion_id\n{rows}".encode())
    run = run_of(store, "second")
    validated = do(run, "ingest", "validate")
    law = "lesion_under_two_labels"
    finding = next(each for each in validated.findings if each.law == law)
    assert finding.count == 1
    assert ", but for 3 of 3 files: " in finding.consequence
    assert set(names) <= set(table_of(run, validated.accepted)["image_id"])


def test_what_contradicts_nothing_that_was_judged_is_accepted(
    judged: tuple[Store, pd.DataFrame],
) -> None:
    store, before = judged
    image = before.iloc[0]
    store.create("raw/more/nevus/ISIC_0000900.png", picture(900))
    store.create("raw/more/melanoma/ISIC_0000901.png", picture(901))
    row = f"image_id,lesion_id,age\nISIC_0000901,{image['lesion_id']},50\n{image['image_id']},,51\n"
    store.create("raw/more/labels.csv", row.encode())
    number = number_of(image)
    store.create("raw/zzz/melanoma/ZZZ.png", picture(number))  # a copy that is not kept
    store.create(f"raw/zzz/melanoma/{image['image_id']}.png", picture(9999, side=40))  # nor this
    doubt = f"image_id,age\n{image['image_id']},52\n"  # whose age is in doubt is no other lesion
    store.create("raw/more/ages.csv", doubt.encode())
    run = run_of(store, "second")
    validated = do(run, "ingest", "validate")
    split = do(run, "split")
    finding = next(each for each in validated.findings if each.law == "contradicts_judged")
    assert finding.count == 0
    accepted = table_of(run, validated.accepted)
    assert {"ISIC_0000900", "ISIC_0000901"} <= set(accepted["image_id"])
    sides = table_of(run, split.parts).set_index("image_id")["side"]
    assert sides.get("ISIC_0000901", "test") == "test"  # it follows its lesion, or leaves


def test_where_nothing_new_is_delivered_a_judgement_changes_nothing(
    drawn: Path, tmp_path: Path
) -> None:
    """Though the delivery holds copies, contradictions and doubts from the start."""
    store = delivered(drawn, tmp_path / "store")
    config = {"minimum_groups": 4, "policy": "smoke"}
    first = run_of(store, "first", **config)
    before = do(first, "ingest", "validate")
    do(first, "split")
    enter_look(first, part_judged(first), "f" * 64, threshold=0.5)
    second = run_of(store, "second", **config)
    after = do(second, "ingest", "validate")
    assert after.provenance.reused_from is None
    assert after.content_hash == before.content_hash
    counts = {each.law: each.count for each in after.findings}
    assert counts["contradicts_judged"] == 0
    assert counts["contradictory_label"] > 0


def test_before_anything_is_judged_a_contradiction_quarantines_both(tmp_path: object) -> None:
    store = open_store(f"{tmp_path}/store")
    put_lesions(store, "melanoma", MELANOMAS)
    put_lesions(store, "nevus", range(200, 260))
    store.create("raw/attack/nevus/ISIC_0000100.png", picture(100))
    validated = do(run_of(store), "ingest", "validate")
    quarantined = table_of(run_of(store), validated.quarantine)
    assert (quarantined["image_id"] == "ISIC_0000100").sum() == 2


def test_a_named_person_supersedes_a_label_for_the_whole_lesion(
    judged: tuple[Store, pd.DataFrame], capfd: pytest.CaptureFixture[str]
) -> None:
    store, before = judged
    image = before.iloc[0]["image_id"]
    argv = ["supersede", "--store", store.uri, "--image", image, "--label", "nevus"]
    assert main([*argv, "--by", "Dr. Example", "--reason", "second histology"]) == 0
    put_again(store, before.iloc[0])
    run = run_of(store, "second")
    validated = do(run, "ingest", "validate")
    do(run, "split")
    assert isinstance(validated, Validated)
    test = part_judged(run).set_index("image_id")
    assert test.loc[image, "label"] == "nevus"
    assert main([*argv, "--by", "", "--reason", "none"]) == 64
    assert "a name and a reason" in capfd.readouterr().err


def test_a_label_may_be_superseded_by_a_diagnosis_only(
    judged: tuple[Store, pd.DataFrame], capfd: pytest.CaptureFixture[str]
) -> None:
    store, before = judged
    argv = ["supersede", "--store", store.uri, "--image", before.iloc[0]["image_id"]]
    assert main([*argv, "--label", "harmless", "--by", "Dr. Example", "--reason", "none"]) == 64
    assert "not known" in capfd.readouterr().err
