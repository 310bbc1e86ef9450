"""The laws between rows, tables and pixels."""

from pathlib import Path

import pytest

from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tests.support.deliveries import do, picture, put_lesions, run_of, table_of
from tests.support.validated import add_table, count, quarantined, remark, validated

pytestmark = pytest.mark.slow


def test_a_label_that_the_archive_rules_out_is_quarantined(shelf: Store) -> None:
    add_table(shelf, "image_id,dx\nISIC_0000100,nv\nISIC_0000101,mel\nISIC_0000200,bkl\n")
    run, record = validated(shelf)
    assert count(record, "label_disagrees_with_archive") == 2
    assert quarantined(run, record, "label_disagrees_with_archive") == [
        "ISIC_0000100.png",
        "ISIC_0000200.png",
    ]
    reason = table_of(run, record.quarantine)["reason"].iloc[0]
    assert "labelled melanoma, but the archive says HAM10000=nv" in reason


def test_a_coarser_code_disagrees_with_no_class_that_it_may_mean(shelf: Store) -> None:
    put_lesions(shelf, "seborrheic keratosis", range(400, 404))
    put_lesions(shelf, "pigmented benign keratosis", range(500, 504))
    add_table(shelf, "image_id,dx\nISIC_0000400,bkl\nISIC_0000500,bkl\n")
    _, record = validated(shelf)
    assert count(record, "label_disagrees_with_archive") == 0


def test_two_archives_together_may_rule_out_what_neither_does_alone(shelf: Store) -> None:
    put_lesions(shelf, "squamous cell carcinoma", range(400, 404))
    add_table(shelf, "image_id,dx\nISIC_0000400,akiec\nISIC_0000401,akiec\n")
    add_table(
        shelf, "image,MEL,NV,AK,SCC,UNK\nISIC_0000400,0,0,1,0,0\nISIC_0000401,0,0,0,0,1\n", "g"
    )
    run, record = validated(shelf)
    assert quarantined(run, record, "label_disagrees_with_archive") == ["ISIC_0000400.png"]


def test_the_archive_resolves_a_contradiction_if_the_policy_says_so(shelf: Store) -> None:
    shelf.create("raw/first/Train/nevus/ISIC_0000100.png", picture(100))
    shelf.create("raw/first/Train/nevus/ISIC_0000101.png", picture(101))
    add_table(shelf, "image_id,dx\nISIC_0000100,mel\n")
    policy = {"laws_that_resolve": ("contradictory_label",)}
    _, strict = validated(shelf, name="strict")
    _, record = validated(shelf, name="resolving", **policy)
    assert count(strict, "contradictory_label") == count(record, "contradictory_label") == 2
    assert (strict.relabelled, strict.classes["melanoma"]) == (0, 4)
    assert (record.relabelled, record.classes["melanoma"]) == (1, 5)  # 101 is not spoken of


@pytest.mark.parametrize("breaks", [True, False])
def test_a_law_that_fails_ends_the_run_and_only_if_it_is_broken(shelf: Store, breaks: bool) -> None:
    if breaks:
        shelf.create("raw/first/Train/melanoma/ISIC_0000999.png", picture(100))
        with pytest.raises(BadInput, match="ends the run") as told:
            validated(shelf, laws_that_fail=("duplicate_pixels",))
        assert "duplicate_pixels 1" in told.value.received
        assert run_of(shelf).record("validate") is None
    else:
        _, record = validated(shelf, laws_that_fail=("duplicate_pixels",))
        assert record.quarantined == 0


def test_what_another_law_settled_is_told_as_kept(shelf: Store) -> None:
    """Of a lesion under two labels the wrong image leaves, for the archive rules its label out."""
    shelf.create("raw/first/Train/nevus/ISIC_0000800.png", picture(800))
    add_table(shelf, "image_id,lesion_id,dx\nISIC_0000800,L,mel\nISIC_0000100,L,mel\n")
    run, record = validated(shelf)
    told = {each.law: each.consequence for each in record.findings}
    assert quarantined(run, record, "label_disagrees_with_archive") == ["ISIC_0000800.png"]
    assert told["label_disagrees_with_archive"] == "quarantined"
    assert "lesion_under_two_labels" not in set(table_of(run, record.quarantine)["law"])
    assert told["lesion_under_two_labels"].endswith(
        ", but for 1 of 2 files: what is accepted no longer contradicts them"
    )


def test_a_lesion_under_two_labels_is_quarantined_whole(shelf: Store) -> None:
    add_table(shelf, "image_id,lesion_id\nISIC_0000100,L\nISIC_0000200,L\nISIC_0000201,M\n")
    run, record = validated(shelf)
    assert count(record, "lesion_under_two_labels") == 1
    assert quarantined(run, record, "lesion_under_two_labels") == [
        "ISIC_0000100.png",
        "ISIC_0000200.png",
    ]
    assert not [each for each in record.findings if "but for" in each.consequence]


def test_a_lesion_of_two_patients_is_quarantined_and_two_lesions_of_one_are_not(
    shelf: Store,
) -> None:
    rows = "ISIC_0000100,L,P\nISIC_0000101,L,Q\nISIC_0000102,M,P\nISIC_0000103,N,P\n"
    add_table(shelf, "image_id,lesion_id,patient_id\n" + rows)
    run, record = validated(shelf)
    assert count(record, "lesion_of_two_patients") == 1
    assert len(quarantined(run, record, "lesion_of_two_patients")) == 2


def test_a_test_image_that_shares_anything_with_train_leaks(shelf: Store) -> None:
    shelf.create("raw/first/Test/melanoma/ISIC_0000900.png", picture(100))  # pixels
    shelf.create("raw/first/Test/melanoma/ISIC_0000101.png", picture(901))  # image id
    shelf.create("raw/first/Test/melanoma/ISIC_0000902.png", picture(902))  # lesion
    shelf.create("raw/first/Test/melanoma/ISIC_0000903.png", picture(903))  # nothing
    shelf.create("raw/first/Test/nevus/ISIC_0000904.png", smooth(1, turns=1))  # near duplicate
    shelf.create("raw/first/Train/nevus/ISIC_0000905.png", smooth(1))
    add_table(shelf, "image_id,lesion_id\nISIC_0000902,L\nISIC_0000102,L\n")
    _, record = validated(shelf)
    assert count(record, "delivered_split_leaks") == 4
    assert "of 5 test images; 3 share an image or lesion" in remark(record, "delivered_split_leaks")


def smooth(number: int, turns: int = 0, quality: int | None = None) -> bytes:
    """A blurred random picture, turned by quarter turns, perhaps recompressed."""
    import io

    import numpy as np
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(number).normal(size=(96, 96, 3))
    plane = gaussian_filter(noise, (6, 6, 0))
    pixels = np.interp(plane, (plane.min(), plane.max()), (0, 255)).astype(np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(np.rot90(pixels, turns))
    image.save(buffer, "PNG") if quality is None else image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def test_a_picture_turned_and_recompressed_is_a_near_duplicate_and_stays_with_its_like(
    shelf: Store,
) -> None:
    put_lesions(shelf, "melanoma", range(110, 160))
    shelf.create("raw/first/Train/nevus/ISIC_0000900.png", smooth(1))
    shelf.create("raw/first/Train/nevus/ISIC_0000901.jpg", smooth(1, turns=3, quality=60))
    shelf.create("raw/first/Train/nevus/ISIC_0000902.png", smooth(2))
    run, record = validated(shelf)
    assert count(record, "near_duplicate") == 1
    named = table_of(run, record.accepted).set_index("image_id")["near_duplicate"].dropna()
    assert sorted(named.index) == ["ISIC_0000900", "ISIC_0000901"]
    assert named.nunique() == 1
    parts = table_of(run, do(run, "split").parts).set_index("image_id")
    assert parts.loc[parts.index.isin(named.index), "side"].nunique() == 1


def test_an_image_delivered_again_at_another_size_is_recognized(shelf: Store) -> None:
    shelf.create("raw/second/melanoma/ISIC_0000100.png", picture(100, side=96))
    run, record = validated(shelf)
    assert count(record, "delivered_again") == 1
    assert record.quarantined == 1
    accepted = table_of(run, record.accepted).set_index("image_id")
    assert accepted.loc["ISIC_0000100", "width"] == 96


def test_a_source_that_tells_a_class_apart_is_told(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 110))  # not HAM10000
    put_lesions(store, "nevus", range(25000, 25010))  # HAM10000
    put_lesions(store, "nevus", range(200, 202))
    _, record = validated(store)
    said = remark(record, "source_confounded")
    assert "'ISIC, not HAM10000': sensitivity 100.0 %, specificity 83.3 %" in said.replace(
        "\xa0", " "
    )
    assert count(record, "source_confounded") == 2


def test_classes_mixed_within_each_source_are_not_confounded(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for start in (100, 25000):
        put_lesions(store, "melanoma", range(start, start + 5))
        put_lesions(store, "nevus", range(start + 50, start + 55))
    _, record = validated(store)
    assert count(record, "source_confounded") == 0


def test_rows_without_image_and_images_without_row_are_counted(shelf: Store) -> None:
    add_table(shelf, "image_id,age\nISIC_0000100,50\nISIC_7777777,60\nISIC_8888888,60\n")
    _, record = validated(shelf)
    assert count(record, "metadata_row_without_image") == 2
    assert count(record, "image_without_metadata") == 17
    assert record.quarantined == 0


def test_more_of_the_same_is_no_shift_and_another_mixture_is(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(1000, 1060))
    put_lesions(store, "nevus", range(2000, 2060))
    _, first = validated(store, name="first")
    assert "no earlier run" in remark(first, "distribution_shift")
    put_lesions(store, "melanoma", range(1060, 1080))
    put_lesions(store, "nevus", range(2060, 2080))
    _, same = validated(store, name="same")
    assert count(same, "distribution_shift") == 0
    put_lesions(store, "dermatofibroma", range(3000, 3060))
    _, other = validated(store, name="other")
    finding = next(f for f in other.findings if f.law == "distribution_shift")
    assert finding.remark == "60 lesions of the new files against what run same accepted"
    assert any(example.startswith("label (difference") for example in finding.told)


def test_an_export_of_the_isic_archive_is_read_and_its_other_columns_are_kept(
    tmp_path: Path,
) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 104))
    put_lesions(store, "nevus", range(200, 204))
    add_table(
        store,
        "isic_id,diagnosis_1,diagnosis_2,diagnosis_3,lesion_id,patient_id,age_approx,sex,"
        "anatom_site_general,melanoma_thickness_mm\n"
        "ISIC_0000100,Malignant,Malignant melanocytic proliferations (Melanoma),"
        "Melanoma in situ,IL_1,IP_1,60,male,head/neck,0.4\n"
        "ISIC_0000200,Malignant,Malignant epidermal proliferations,Squamous cell carcinoma in "
        "situ,IL_2,IP_2,60,male,head/neck,\n",
    )
    run, record = validated(store)
    assert quarantined(run, record, "label_disagrees_with_archive") == ["ISIC_0000200.png"]
    row = table_of(run, record.accepted).set_index("image_id").loc["ISIC_0000100"]
    assert (row["patient_id"], row["site"], row["age_years"]) == ("IP_1", "head/neck", 60)
    assert row["other_metadata"] == '{"melanoma_thickness_mm": "0.4"}'


def test_a_coarse_code_names_no_label_unless_the_config_says_which(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 104))
    put_lesions(store, "nevus", range(200, 204))
    store.create("raw/flat/images/ISIC_0000300.png", picture(300))
    store.create("raw/flat/images/ISIC_0000301.png", picture(301))
    add_table(store, "image_id,dx\nISIC_0000300,bkl\nISIC_0000301,bkl\n")
    run, record = validated(store, name="strict")
    assert count(record, "unknown_label") == 2
    reason = table_of(run, record.quarantine)["reason"].iloc[0]
    assert "which may be pigmented benign keratosis or seborrheic keratosis" in reason
    _, told = validated(store, name="told", coarse_codes={"bkl": "seborrheic keratosis"})
    assert told.classes["seborrheic keratosis"] == 2


def test_the_delivered_test_part_is_kept_whole_and_what_it_touches_leaves_training(
    shelf: Store,
) -> None:
    put_lesions(shelf, "melanoma", range(800, 810), part="Test")
    put_lesions(shelf, "melanoma", range(110, 150))
    put_lesions(shelf, "nevus", range(210, 250))
    put_lesions(shelf, "dermatofibroma", range(310, 350))
    shelf.create("raw/first/Train/nevus/ISIC_0000800.png", picture(800))  # contradicts a test image
    add_table(shelf, "image_id,lesion_id\nISIC_0000801,L\nISIC_0000110,L\n")
    run, record = validated(shelf, test_part="delivered")
    told = {each.law: each.consequence for each in record.findings}["contradictory_label"]
    assert ", but for 1 of 2 files: " in told
    assert told.endswith("or they are in the delivered test part")
    parts = table_of(run, do(run, "split").parts)
    assert sorted(parts.loc[parts["side"] == "test", "image_id"]) == [
        f"ISIC_{number:07d}" for number in range(800, 810)
    ]
    assert not {"raw/first/Train/nevus/ISIC_0000800.png"} & set(parts["key"])
    assert "ISIC_0000110" not in set(parts["image_id"])


@pytest.mark.parametrize(
    ("lesions", "labels", "words"),
    [
        (("L", "L"), ("nevus", "nevus"), ["1 pair whose", "1 of one lesion", "2 % and 100 %"]),
        (("L", "M"), ("nevus", "melanoma"), ["0 of one lesion", "0 % and 98 %", "two labels"]),
        (("L", None), ("nevus", "nevus"), ["the precision of the search cannot be told"]),
    ],
)
def test_the_precision_of_the_search_is_told_with_its_interval_and_no_more(
    shelf: Store, lesions: tuple[str, str], labels: tuple[str, str], words: list[str]
) -> None:
    for number, (lesion, label) in enumerate(zip(lesions, labels, strict=True), 900):
        image = smooth(1, turns=number - 900)
        shelf.create(f"raw/first/Train/{label}/ISIC_{number:07d}.png", image)
        text = f"image_id,lesion_id,age\nISIC_{number:07d},{lesion or ''},50\n"
        add_table(shelf, text, str(number))
    _, record = validated(shelf)
    said = remark(record, "near_duplicate").replace("\xa0", " ")
    assert all(each in said for each in words), said
    assert ("two labels" in said) == (len(set(labels)) == 2)


@pytest.mark.parametrize(
    ("column", "first", "said", "quarantined"),
    [("sex", "female", "male", 0), ("lesion_id", "sex", "L9", 1), ("patient_id", "P1", "sex", 1)],
)
def test_only_a_doubt_about_lesion_or_patient_quarantines_whatever_its_words_are(
    shelf: Store, column: str, first: str, said: str, quarantined: int
) -> None:
    for table, value in (("a", first), ("b", said)):
        shelf.create(
            f"raw/{table}.csv", f"image_id,{column},age\nISIC_0000100,{value},5\n".encode()
        )
    validated = do(run_of(shelf), "ingest", "validate")
    found = {finding.law: finding for finding in validated.findings}["contradictory_metadata"]

    assert found.count == 1
    assert f"{column} {first} or {said}" in found.remark
    assert validated.quarantined == quarantined


@pytest.mark.parametrize("policy", ["synthetic", "smoke", "melanoma"])
@pytest.mark.parametrize("drawn", ["none", "all", "one"])
def test_a_policy_that_is_not_for_these_lesions_is_refused_before_anything_is_learned(
    tmp_path: Path, drawn: str, policy: str
) -> None:
    """Real lesions are judged by a policy for real ones only, and drawn ones by one for drawn."""
    store = open_store(str(tmp_path / "store"))
    for number in range(18):
        kind = ("melanoma", "nevus", "dermatofibroma")[number % 3]
        prefix = "SYNTHETIC" if drawn == "all" or (drawn == "one" and not number) else "ISIC"
        store.create(f"raw/first/{kind}/{prefix}_{number:07d}.png", picture(number))
    run = run_of(store, policy=policy)

    if (drawn, policy == "melanoma") in (("none", True), ("all", False)):
        assert do(run, "ingest", "validate")
        return
    other = "synthetic" if policy == "melanoma" else "melanoma"
    counted = {"none": "0 drawn and 18 real", "all": "18 drawn and 0", "one": "1 drawn and 17"}
    with pytest.raises(BadInput, match=f'{counted[drawn]}[^$]*"policy": "{other}"'):
        do(run, "ingest", "validate")
    assert run.record("validate") is None


def test_the_check_of_the_policy_is_not_passed_over_by_reuse(shelf: Store) -> None:
    first, before = validated(shelf, policy="melanoma")
    with pytest.raises(BadInput, match="policy does not fit"):
        validated(shelf, name="second", policy="synthetic")
    _, again = validated(shelf, name="third", policy="melanoma")
    assert again.provenance
    assert again.provenance.reused_from == first.name
    assert again.content_hash == before.content_hash
