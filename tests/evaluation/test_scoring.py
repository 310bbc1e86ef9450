"""Figures from predictions, traits of pictures, saliency: what evaluate measures, without Keras."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from tasks.evaluation.appearance import (
    THIRDS,
    cielab,
    sharpness,
    skin_tone,
    skin_tones,
    thirds,
    typology_angle,
)
from tasks.evaluation.saliency import GRID, drawn, occlusion
from tasks.evaluation.scoring import age_band, by_lesion, described, figures, operating_threshold
from tasks.lesions import DIAGNOSES, MELANOMA, OTHER, Diagnosis
from tests.support.judged import THRESHOLD, figures_of, of_archives, predictions
from tests.support.records import known

TWO: tuple[Diagnosis, ...] = ("melanoma", "nevus")


def scored(table: pd.DataFrame, prevalence: dict[Any, float] | None = None) -> Any:
    return figures(table, TWO, THRESHOLD, prevalence or {})


# Counting -----------------------------------------------------------------------------------------


def test_the_counts_are_those_of_the_predictions() -> None:
    found = figures_of(28, 32, 70, 91)
    assert (found.sensitivity.successes, found.sensitivity.n) == (28, 32)
    assert (found.specificity.successes, found.specificity.n) == (70, 91)
    assert (found.images, found.lesions) == (123, 123)
    assert found.confusion == ((28, 4), (21, 70))
    assert found.accuracy.successes == 98
    assert found.balanced_accuracy.value == pytest.approx((28 / 32 + 70 / 91) / 2)
    assert found.per_class["nevus"].recall.successes == 70
    assert found.per_class["nevus"].specificity.successes == 28


def test_images_of_one_lesion_count_once_by_their_mean() -> None:
    table = predictions(10, 10, 10, 10)
    doubtful = table.iloc[[0]].assign(image_id="ISIC_9999999", melanoma=0.0, nevus=1.0)
    found = scored(pd.concat([table, doubtful], ignore_index=True))
    assert (found.images, found.lesions) == (21, 20)
    assert found.sensitivity.successes == 9  # 0.95 - x and 0 together fall below the threshold
    assert found.accuracy_of_images.value == pytest.approx(20 / 21)


def test_the_figures_by_image_are_scikit_learns() -> None:
    table = predictions(28, 32, 70, 91)
    answers = table[list(TWO)].idxmax(axis=1)
    found = scored(table)
    expected = balanced_accuracy_score(table["label"], answers)
    assert found.balanced_accuracy_of_images.value == pytest.approx(expected)
    assert found.accuracy_of_images.lower < found.accuracy_of_images.value
    assert found.accuracy_of_images.value < found.accuracy_of_images.upper


def test_predictive_values_are_given_for_the_classes_whose_prevalence_is_stated() -> None:
    stated = scored(predictions(28, 32, 70, 91), {"nevus": 0.5})
    assert stated.ppv is None
    assert stated.per_class[MELANOMA].ppv is None
    found, spared = 70 / 91, 28 / 32
    expected = 0.5 * found / (0.5 * found + 0.5 * (1 - spared))
    assert stated.per_class["nevus"].ppv.value == pytest.approx(expected)


def test_every_estimate_has_its_value_inside_its_interval() -> None:
    found = figures_of(28, 32, 70, 91, DIAGNOSES)
    estimates = [
        found.auc, found.partial_auc, found.balanced_accuracy, found.accuracy_of_images,
        found.balanced_accuracy_of_images, found.calibration.brier,
        found.calibration.expected_error, found.ppv, *(e.auc for e in found.per_class.values()),
    ]  # fmt: skip
    for each in estimates:
        assert each is not None
        assert each.lower is not None
        assert each.upper is not None
        assert each.lower <= known(each.value) <= each.upper
        assert each.method
        # 0 to 1 would hold every value and say nothing; of one class there are 10 lesions.
        assert each.upper - each.lower < 0.45, each
    overall = (found.auc, found.accuracy_of_images, found.calibration.brier)
    assert all(known(each.upper) - known(each.lower) < 0.2 for each in overall)


def test_a_model_that_knows_the_archive_only_is_seen_through_inside_one() -> None:
    """All melanomas from one archive, other lesions from both; the score is the archive."""
    inside = predictions(40, 40, 0, 40, source="ISIC, not HAM10000")
    outside = predictions(0, 0, 200, 200, source="HAM10000")
    for column in ("image_id", "lesion", "group"):
        outside[column] = "other " + outside[column]
    table = pd.concat([inside, outside], ignore_index=True)
    table[MELANOMA] = np.where(table["source"] == "HAM10000", 0.1, 0.9)
    found = scored(table)
    assert found.auc.value > 0.9
    (within,) = found.within_source  # HAM10000 holds no melanoma
    assert (within.source, within.melanomas, within.nevi) == ("ISIC, not HAM10000", 40, 40)
    assert within.auc.value == pytest.approx(0.5)


def test_an_archive_of_one_kind_of_lesion_flatters_no_headline() -> None:
    both = predictions(28, 32, 40, 90, source="clinic")
    nevi, melanomas = (
        predictions(0, 0, 300, 300, source="nevi"),
        predictions(50, 50, 0, 0, source="melanomas"),
    )
    alone = scored(both).mixed
    found = scored(of_archives(both, nevi, melanomas))
    assert found.mixed.archives == ("clinic",)
    assert found.mixed.left_out == {"melanomas": 50, "nevi": 300}
    assert (found.mixed.sensitivity, found.mixed.specificity) == (
        alone.sensitivity, alone.specificity,
    )  # fmt: skip
    assert found.mixed.auc.value == pytest.approx(alone.auc.value)
    assert found.headline is found.mixed
    assert (found.specificity.successes, found.specificity.n) == (340, 390)
    assert found.specificity.estimate > 1.9 * found.mixed.specificity.estimate


def test_where_each_archive_holds_both_the_headline_is_over_all_lesions() -> None:
    one, other = (predictions(20, 25, 40, 50, source=name) for name in ("a", "b"))
    found = scored(of_archives(one, other))
    assert (found.mixed.archives, found.mixed.left_out) == (("a", "b"), {})
    for name in ("sensitivity", "specificity", "auc", "lesions"):
        assert getattr(found.mixed, name) == getattr(found, name)


def test_without_an_archive_of_both_there_is_no_other_headline() -> None:
    nevi, melanomas = (
        predictions(0, 0, 30, 40, source="nevi"),
        predictions(40, 50, 0, 0, source="melanomas"),
    )
    found = scored(of_archives(nevi, melanomas))
    assert (found.mixed.archives, found.mixed.sensitivity.n) == ((), 0)
    assert found.headline is found


def test_what_is_not_melanoma_and_of_no_class_counts_for_melanoma_alone() -> None:
    table = predictions(28, 32, 70, 91)
    table["label"] = table["label"].astype("object")
    others = np.flatnonzero(table["label"] != MELANOMA)[:30]
    open_ones = table.copy()
    open_ones.loc[others, "label"] = OTHER
    whole, found = scored(table), scored(open_ones)
    for name in ("sensitivity", "specificity", "auc", "partial_auc", "calibration", "lesions"):
        assert getattr(found, name) == getattr(whole, name)
    assert found.per_class["nevus"].recall.n == 61
    assert (found.accuracy.n, whole.accuracy.n) == (93, 123)
    assert np.sum(found.confusion) == 93
    assert found.accuracy == scored(open_ones[open_ones["label"] != OTHER]).accuracy


def test_a_set_without_one_class_has_the_figures_of_melanoma_and_none_of_classes() -> None:
    table = predictions(0, 0, 70, 91).assign(label=OTHER)
    found = scored(table)
    assert (found.specificity.successes, found.specificity.n) == (70, 91)
    assert (found.accuracy.n, found.accuracy_of_images.value) == (0, None)
    assert found.balanced_accuracy.value is None
    assert np.sum(found.confusion) == 0


def test_subgroups_add_up_and_small_ones_are_called_insufficient() -> None:
    found = figures_of(28, 32, 70, 91)
    by_sex = [each for each in found.subgroups if each.trait == "sex"]
    assert sum(each.lesions for each in by_sex) == found.lesions
    assert sum(each.sensitivity.successes for each in by_sex) == 28
    assert all(each.sufficient for each in by_sex)
    oldest = next(each for each in found.subgroups if each.value == "70 or older")
    assert oldest.sensitivity.n < 10
    assert not oldest.sufficient


def test_a_trait_that_nobody_knows_makes_no_subgroup() -> None:
    table = predictions(9, 10, 9, 10).assign(sex=None)
    assert not [each for each in scored(table).subgroups if each.trait == "sex"]


@pytest.mark.parametrize("part", [(0, 0, 5, 6), (5, 6, 0, 0), (1, 1, 1, 1)])
def test_a_test_part_with_a_class_missing_is_measured_as_far_as_it_goes(
    part: tuple[int, int, int, int],
) -> None:
    found = scored(predictions(*part), {MELANOMA: 0.05})
    if 0 in (part[1], part[3]):
        assert found.auc.value is None
        assert found.ppv is not None
        assert found.ppv.value is None
        assert found.within_source == ()


@given(st.floats(0, 120))
def test_every_age_has_one_band(years: float) -> None:
    band = age_band(years)
    assert band is not None
    low = int(band.split()[0])
    assert low <= years
    assert band.endswith("older") or years < int(band.split()[-1]) + 1
    assert age_band(None) is age_band(float("nan")) is None


def test_the_threshold_is_the_highest_that_finds_the_target_share() -> None:
    lesions = by_lesion(predictions(20, 20, 20, 20), TWO)
    threshold = operating_threshold(lesions, 0.95)
    scores = lesions.loc[lesions["label"] == MELANOMA, MELANOMA]
    assert (scores >= threshold).sum() == 19
    assert (scores > threshold).sum() < 19


# Pictures -----------------------------------------------------------------------------------------


def skin(colour: tuple[int, int, int], rim: bool = False) -> np.ndarray:
    """A dark lesion on skin; with the black corners of a dermatoscope if wanted."""
    image = np.full((60, 60, 3), colour, np.uint8)
    image[20:40, 20:40] = (60, 30, 20)
    if rim:
        image[:3] = image[-3:] = 0
    return image


# CIE 15 and IEC 61966-2-1: white, black, mid grey; and pure red, as in common tables.
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((128, 128, 128), (53.585, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
    ],
)
def test_colours_are_converted_as_the_standard_says(rgb: Any, lab: Any) -> None:
    assert cielab(np.array([rgb], np.uint8))[0] == pytest.approx(lab, abs=0.03)


def test_lighter_skin_has_a_larger_angle_and_the_rim_does_not_count() -> None:
    angles = [typology_angle(skin(c)) for c in ((245, 215, 200), (200, 150, 120), (90, 60, 45))]
    assert None not in angles
    assert angles == sorted(map(known, angles), reverse=True)
    assert typology_angle(skin((200, 150, 120), rim=True)) == pytest.approx(angles[1])
    assert typology_angle(np.zeros((60, 60, 3), np.uint8)) is None


@pytest.mark.parametrize(
    ("angle", "band"),
    [(56, "very light"), (55, "light"), (28.1, "intermediate"), (20, "tan"), (0, "brown"),
     (-30, "dark"), (-90, "dark"), (None, None)],
)  # fmt: skip
def test_the_bands_of_skin_tone_are_the_published_ones(angle: Any, band: Any) -> None:
    assert skin_tone(angle) == band


def test_a_blurred_picture_is_less_sharp() -> None:
    sharp = np.random.default_rng(1).integers(0, 256, (48, 48, 3), np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).resize((12, 12)).resize((48, 48)))
    values = sharpness(np.stack([sharp, blurred]))
    assert values[0] > 10 * values[1]
    assert thirds(np.arange(9.0)) == [name for name in THIRDS for _ in range(3)]


def test_what_is_known_of_a_picture_is_kept_beside_its_traits() -> None:
    rows = pd.DataFrame(
        {"image_id": ["a", "b"], "lesion_id": ["L", None], "label": "nevus", "sex": "female"},
        index=[7, 9],
    )
    table = described(rows, np.stack([skin((245, 215, 200)), np.zeros((60, 60, 3), np.uint8)]))
    assert list(table["lesion"]) == ["L", "b"]
    assert table["skin_tone"].isna().tolist() == [False, True]
    assert skin_tones(np.zeros((1, 60, 60, 3), np.uint8)) == [None]


# Saliency -----------------------------------------------------------------------------------------


def brightest_corner(images: np.ndarray) -> np.ndarray:
    """A model that looks at the upper left quarter only."""
    half = images.shape[1] // 2
    brightness: np.ndarray = images[:, :half, :half].mean(axis=(1, 2, 3)) / 255
    return brightness


def test_occlusion_finds_where_a_model_looks() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :32] = 255
    heat = occlusion(brightest_corner, image)
    assert heat.shape == (GRID, GRID)
    assert heat[:3, :3].min() > 0
    assert np.abs(heat[5:, 5:]).max() < 1e-9


def test_a_map_is_the_image_beside_itself_in_red_and_blue() -> None:
    image = np.full((64, 64, 3), 128, np.uint8)
    heat = np.zeros((GRID, GRID))
    heat[0, 0], heat[-1, -1] = 2.0, -2.0
    with Image.open(io.BytesIO(drawn(image, heat))) as picture:
        assert picture.size == (128, 64)
        pixels = np.asarray(picture).astype(int)
    assert (pixels[:, :64] == 128).all()
    assert pixels[2, 66, 0] > pixels[2, 66, 2] + 50  # red speaks for
    assert pixels[61, 125, 2] > pixels[61, 125, 0] + 50  # blue against
    with Image.open(io.BytesIO(drawn(image, np.full((GRID, GRID), 0.01)))) as picture:
        assert np.ptp(np.asarray(picture)[:, 64:].astype(int)) < 10  # nothing much, drawn pale
