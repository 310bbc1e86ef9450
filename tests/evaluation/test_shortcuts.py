"""A model that looks at rulers or corners is told from one that looks at lesions."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.overlays import OVERLAYS, SHEETS, Overlay, drawn_on
from tasks.evaluation.shortcuts import ask_again, changed, column_of, probes_of
from tasks.evaluation.taken_off import REMOVABLE, Removable, without
from tasks.records.shortcuts import CHANGES, Change, Probe, Probes
from tests.support.planted_shortcuts import skins

Array = np.ndarray[Any, Any]

EACH = 20  # lesions of each kind
SIDE = 96


def lesions() -> tuple[pd.DataFrame, Array]:
    """Melanomas with a dark middle, others with a fair one, all on the same skin."""
    pixels = skins(2 * EACH, side=SIDE)
    pixels[:, 20:-20, 20:-20] = np.clip(pixels[:, 20:-20, 20:-20], 130, 255)
    melanoma = np.arange(2 * EACH) % 2 == 0
    pixels[melanoma, 36:-36, 36:-36] = (60, 40, 35)
    names = [f"m{number:02d}" for number in range(2 * EACH)]
    labels = np.where(melanoma, "melanoma", "nevus")
    return pd.DataFrame({"image_id": names, "lesion": names, "label": labels}), pixels


def by_the_lesion(shown: Array) -> Array:
    """High where the middle is dark."""
    return np.asarray((shown[:, 40:-40, 40:-40].mean(axis=(1, 2, 3)) < 100) * 0.8 + 0.1)


def by_the_corner(shown: Array) -> Array:
    """High where any corner is black, whatever the lesion."""
    corners = [shown[:, a, b].mean(axis=-1) for a in (2, -2) for b in (2, -2)]
    return np.asarray((np.min(corners, axis=0) < 30) * 0.8 + 0.1)


def probes(predict: Any, pixels: Array, table: pd.DataFrame) -> dict[Change, Probe]:
    table = table.assign(melanoma=predict(pixels))
    table = table.assign(**ask_again(predict, table, pixels))
    found = probes_of(table, 0.5)
    assert found
    return {each.change: each for each in found.probes}


def test_a_model_that_looks_at_lesions_keeps_its_answers_until_the_lesion_is_masked() -> None:
    table, pixels = lesions()
    found = probes(by_the_lesion, pixels, table)
    for change in ("border masked", "in grey", "ruler drawn on", "black corners drawn on"):
        for turned in (found[change].melanomas, found[change].others):
            assert (turned.lesions, turned.right_before) == (EACH, EACH)
            assert (turned.lost, turned.gained) == (0, 0)
            assert turned.lower > -0.15
    assert found["centre masked"].melanomas.lost == EACH
    assert found["centre masked"].auc.value == 0.5


def test_a_model_that_looks_at_corners_is_seen_by_drawing_and_by_masking_them() -> None:
    table, pixels = lesions()
    melanoma = (table["label"] == "melanoma").to_numpy()
    pixels[melanoma] = drawn_on("black corners", pixels[melanoma])
    found = probes(by_the_corner, pixels, table)
    drawn = found["black corners drawn on"]
    assert (drawn.others.lost, drawn.melanomas.lost) == (EACH, 0)
    assert drawn.others.upper < -0.7
    masked = found["border masked"].melanomas
    assert (masked.right_before, masked.lost) == (EACH, EACH)
    assert found["centre masked"].auc.value == 1  # the opposite of a model that looks at lesions
    off = found["black corners taken off"]
    assert (off.melanomas.lesions, off.melanomas.lost, off.others.lesions) == (EACH, EACH, 0)


def test_answers_are_counted_by_lesion_and_only_where_asked() -> None:
    column = column_of("hair taken off")
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c", "d"],
            "lesion": ["one", "one", "two", "three"],
            "label": ["melanoma", "melanoma", "nevus", "nevus"],
            "melanoma": [0.9, 0.5, 0.2, 0.7],
            column: [0.1, np.nan, np.nan, 0.3],
        }
    )
    found = probes_of(table, 0.6)
    assert found
    (probe,) = found.probes
    assert (probe.melanomas.lesions, probe.others.lesions) == (1, 1)
    assert (probe.melanomas.right_before, probe.melanomas.lost) == (1, 1)  # 0.7 to 0.3
    assert (probe.others.right_before, probe.others.gained) == (0, 1)
    assert probes_of(table.drop(columns=column), 0.6) is None


def test_the_answers_do_not_depend_on_the_order_of_the_images() -> None:
    table, pixels = lesions()
    table = table.assign(melanoma=by_the_lesion(pixels))
    order = np.random.default_rng(1).permutation(len(table))

    def light(shown: Array) -> Array:
        return np.asarray(shown.mean(axis=(1, 2, 3)))

    first = ask_again(light, table, pixels)
    second = ask_again(light, table.iloc[order].reset_index(drop=True), pixels[order])
    for change in CHANGES:
        there = first[column_of(change)][order]
        assert np.array_equal(there, second[column_of(change)], equal_nan=True)


# What is drawn on, and taken off ----------------------------------------------------------------


@pytest.mark.parametrize("kind", OVERLAYS)
@pytest.mark.parametrize("side", [32, 64, 180])
def test_a_drawing_changes_some_of_each_image_and_always_the_same(kind: Overlay, side: int) -> None:
    pixels = np.full((SHEETS, side, side, 3), (200, 160, 150), np.uint8)
    drawn = drawn_on(kind, pixels)
    share = (np.abs(drawn.astype(int) - pixels).max(axis=-1) > 20).mean(axis=(1, 2))
    assert (share > 0.003).all()
    assert (share < 0.6).all()
    assert (drawn == drawn_on(kind, pixels)).all()
    assert (pixels == (200, 160, 150)).all()
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.parametrize("kind", REMOVABLE)
def test_what_was_drawn_on_is_recognized_and_mostly_taken_off(kind: Removable) -> None:
    plain = skins(SHEETS, side=180)
    drawn = drawn_on(kind, plain)
    before = np.abs(drawn.astype(int) - plain).mean()
    after = []
    for image, own in zip(drawn, plain, strict=True):
        bare = without(kind, image)
        assert bare is not None
        after.append(np.abs(bare.astype(int) - own).mean())
    assert np.mean(after) < before / 2


@pytest.mark.parametrize("kind", REMOVABLE)
def test_where_nothing_is_there_nothing_is_taken_off(kind: Removable) -> None:
    assert [without(kind, each) for each in skins(6, side=180)] == [None] * 6
    images, there = changed(f"{kind} taken off", skins(3))  # type: ignore[arg-type]  # a `Change`
    assert (len(images), len(there)) == (0, 0)


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_touches_the_images_that_it_is_given(change: Change) -> None:
    pixels = drawn_on("black corners", skins(3))
    before = pixels.copy()
    images, there = changed(change, pixels)
    assert (pixels == before).all()
    assert images.shape[1:] == pixels.shape[1:]
    assert images.dtype == np.uint8
    assert len(images) == len(there)


def test_the_record_is_read_back_as_written() -> None:
    table, pixels = lesions()
    table = table.assign(melanoma=by_the_lesion(pixels))
    found = probes_of(table.assign(**ask_again(by_the_lesion, table, pixels)), 0.5)
    assert found
    assert Probes.model_validate_json(found.model_dump_json()) == found
