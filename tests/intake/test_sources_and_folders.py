"""Sources that a person names, and folders that are coarser than a class."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tasks.intake.folders import folder_means, label_of
from tasks.intake.guide import Guide, guide_of, parse_guide, source_by
from tasks.lesions import DIAGNOSES, OTHER
from tests.support.deliveries import do, picture, put_lesions, run_of, table_of
from tests.support.validated import add_table, count, quarantined, remark, validated

# Sources -----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """What folders mean does not depend on where they lie: test_ingest tries every backend."""
    return open_store(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("sources", "key", "source"),
    [
        ({"clinic": "A"}, "raw/clinic/nevus/1.png", "A"),
        ({"CLINIC": "A"}, "raw/clinic/nevus/1.png", "A"),
        ({"nevus": "A"}, "raw/clinic/nevus/1.png", "A"),
        ({"IMG_*": "camera 2"}, "raw/clinic/nevus/img_0001.jpg", "camera 2"),
        ({"IMG_*": "one", "clinic": "two"}, "raw/clinic/nevus/IMG_1.jpg", "one"),
        ({"clinic/IMG_*": "A"}, "raw/clinic/nevus/IMG_1.jpg", "A"),
        ({"other/IMG_*": "A"}, "raw/clinic/nevus/IMG_1.jpg", "unknown"),
        ({"clinic": "A"}, "raw/clinic@2/nevus/1.png", "A"),
        ({"clin": "A"}, "raw/clinic/nevus/1.png", "unknown"),
        ({}, "raw/clinic/nevus/ISIC_0024306.jpg", "HAM10000"),
        ({"ISIC_*": "the archive"}, "raw/clinic/nevus/ISIC_0024306.jpg", "the archive"),
        ({"*": "A"}, "raw/clinic/nevus/SYNTHETIC_0000001.png", "SYNTHETIC"),
    ],
)
def test_a_source_is_named_by_folder_or_id(sources: dict[str, str], key: str, source: str) -> None:
    image_id = key.rpartition("/")[2].rpartition(".")[0]
    assert source_by(key, image_id, Guide(sources=sources)) == source


def test_what_a_delivery_says_of_its_sources_holds_for_no_other() -> None:
    said = b"sources: {'IMG_*': camera}"
    own = guide_of([("raw/clinic [a]/reading.yaml", said)])
    assert source_by("raw/clinic [a]/nevus/IMG_1.jpg", "IMG_1", own) == "camera"
    assert source_by("raw/clinic a/nevus/IMG_1.jpg", "IMG_1", own) == "unknown"
    for key in ("raw/metadata/reading.yaml", "raw/metadata@2/reading.yaml", "reading.yaml"):
        of_all = guide_of([(key, said)])
        assert source_by("raw/other/nevus/IMG_1.jpg", "IMG_1", of_all) == "camera"


@pytest.mark.parametrize("name", ["SYNTHETIC", "synthetic 2", "", "x" * 61])
def test_no_source_is_called_as_drawn_lesions_are(name: str) -> None:
    with pytest.raises(ValueError, match="sources"):
        Guide(sources={"a": name})


def test_the_manifest_follows_the_named_sources(store: Store) -> None:
    put_lesions(store, "melanoma", range(2))
    store.create("raw/clinic/nevus/a.png", picture(50))
    store.create("raw/clinic/reading.yaml", b"sources: {'*': Clinic A}\n")
    run = run_of(store)
    record = do(run, "ingest")
    manifest = table_of(run, record.manifest).set_index("image_id")
    assert manifest.at["a", "source"] == "Clinic A"
    assert manifest.at["ISIC_0000000", "source"] == "ISIC, not HAM10000"
    assert record.reading.sources == {"ISIC, not HAM10000": 2, "Clinic A": 1}


@pytest.mark.parametrize(
    ("names", "drafted"),
    [
        (["IMG_1", "IMG_2", "DSC_1"], {"set/DSC_*": "DSC", "set/IMG_*": "IMG"}),
        (["1", "2", "x"], {"set": "set"}),
        (["ISIC_0000001"], {}),
    ],
)
def test_inspect_shows_sources_and_drafts_what_is_unknown(
    names: list[str],
    drafted: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "set/nevus"
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        (folder / f"{name}.png").write_bytes(picture(number))
    argv = ["inspect", "--images", str(tmp_path / "set")]
    assert main([*argv, "--write", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sum(said["sources"].values()) == len(names)
    guide = parse_guide((tmp_path / "set/reading.yaml").read_bytes(), "reading.yaml")
    assert guide.sources == drafted


# Folders -----------------------------------------------------------------------------------------


@given(st.sampled_from(DIAGNOSES), st.sampled_from(["Not{}", "non-{}", "no_{}", "not {}"]))
def test_a_negated_folder_may_hold_every_other_class(name: str, form: str) -> None:
    means = folder_means(form.format(name))
    assert means is not None
    assert set(means) == {*DIAGNOSES, OTHER} - {name}


@pytest.mark.parametrize(
    ("folder", "holds", "rules_out"),
    [
        ("benign", "nevus", "melanoma"), ("Malignant", "melanoma", "nevus"),
        ("MEL_other", "melanoma", "nevus"), ("bkl", "seborrheic keratosis", "nevus"),
        ("nevus and melanoma", "nevus", "dermatofibroma"),
        ("melanoma in situ", "melanoma", "nevus"), ("nmsc", "basal cell carcinoma", "melanoma"),
    ],
)  # fmt: skip
def test_a_coarse_folder_holds_some_classes(folder: str, holds: str, rules_out: str) -> None:
    means = folder_means(folder)
    assert means is not None
    assert holds in means
    assert rules_out not in means
    assert label_of(folder) is None


@pytest.mark.parametrize("folder", ["images", "P0017", "other", "misc", "melanoma", "Train", "1"])
def test_a_folder_that_says_nothing_rules_nothing_out(folder: str) -> None:
    assert folder_means(folder) is None


@pytest.mark.parametrize("folder", ["benign", "NotMelanoma"])
def test_a_table_that_says_what_its_folder_rules_out_is_a_contradiction(
    folder: str, store: Store
) -> None:
    put_lesions(store, "melanoma", range(4))
    put_lesions(store, "nevus", range(10, 14))
    put_lesions(store, folder, range(20, 23))
    rows = "image_id,diagnosis\nISIC_0000020,melanoma\nISIC_0000021,nevus\nISIC_0000022,nevus\n"
    add_table(store, rows)
    run, record = validated(store)
    assert count(record, "label_disagrees_with_archive") == 1
    assert quarantined(run, record, "label_disagrees_with_archive") == ["ISIC_0000020.png"]
    table = table_of(run, record.quarantine).set_index("image_id")
    reason = table.at["ISIC_0000020", "reason"]
    assert reason == f"a table says melanoma, which the folder {folder!r} rules out"
    accepted = table_of(run, record.accepted).set_index("image_id")
    assert accepted.at["ISIC_0000021", "label"] == "nevus"  # the folder agrees


def test_a_delivery_without_a_label_ends_with_what_to_do(store: Store) -> None:
    put_lesions(store, "melanomas", range(4))
    with pytest.raises(BadInput, match="Too little is left"):
        validated(store)


def test_a_code_that_is_nearly_one_is_suggested_in_the_finding(store: Store) -> None:
    put_lesions(store, "melanoma", range(3))
    put_lesions(store, "nevus", range(10, 13))
    add_table(store, "image_id,diagnosis\nISIC_0000000,melanomaa\nISIC_0000010,zebra\n")
    _, record = validated(store)
    said = remark(record, "code_not_understood")
    assert "'melanomaa' in 1 rows (melanoma? Then say so in reading.yaml)" in said
    assert "'zebra' in 1 rows" in said
