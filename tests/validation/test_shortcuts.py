"""What tells melanoma without its lesion is found; a sound delivery does not alarm."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.engine.storage import open_store
from tasks.intake.acquisition import acquisitions_of
from tasks.intake.surroundings import GROUPS, OF_PIXELS, WHOLE, figures_of, measured_on
from tasks.records.validated import Finding
from tasks.validation.shortcuts import FEWEST, SOURCE, beside_of, out_of_fold
from tests.support.deliveries import do, run_of
from tests.support.planted_shortcuts import (
    MARKS,
    Images,
    Mark,
    as_jpeg,
    images_of,
    skins,
    with_mark,
)

LESIONS = 90  # of each kind
TOLD_BY: dict[Mark, str] = {
    "ruler": "lines on the border",
    "sticker": "marks on the border",
    "black corners": "corners",
    "frame": "frame",
    "JPEG quality": "file",
}


@cache
def skin_with(mark: Mark) -> Images:
    pixels = skins(2 * LESIONS)
    melanoma = np.arange(len(pixels)) % 2 == 0
    return images_of(pixels, melanoma, pd.Series(np.arange(len(pixels)).astype(str)), mark)


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_on_every_melanoma_and_a_fifth_of_the_others_is_found(mark: Mark) -> None:
    rng = np.random.default_rng(1)
    assert skin_with(mark).asked(rng, LESIONS, of_others=0.2, of_melanomas=1)


@pytest.mark.parametrize("mark", MARKS)
def test_what_tells_is_named(mark: Mark) -> None:
    rng = np.random.default_rng(1)
    beside = skin_with(mark).beside(rng, LESIONS, of_others=0, of_melanomas=1)
    told = {each.about: each.most for each in beside.things if each.shortcut}
    assert TOLD_BY[mark] in told
    assert all(most in GROUPS[about] for about, most in told.items())
    assert "dimensions" not in told
    assert (beside.melanomas, beside.others) == (LESIONS, LESIONS)


@pytest.mark.parametrize("mark", MARKS)
def test_the_same_mark_on_as_many_of_both_is_no_shortcut(mark: Mark) -> None:
    rng = np.random.default_rng(2)
    draws = [skin_with(mark).asked(rng, LESIONS, of_others=0.4, of_melanomas=0.4) for _ in range(3)]
    assert not any(draws)


def test_too_few_lesions_show_nothing_whatever_is_on_them() -> None:
    rng = np.random.default_rng(3)
    enough = skin_with("frame").beside(rng, FEWEST, of_others=0, of_melanomas=1)
    assert enough.things[0].shortcut
    every = [*(name for names in GROUPS.values() for name in names), "source", *WHOLE]
    table = pd.DataFrame({name: np.arange(58) % 2 for name in every})
    assert beside_of(table, np.arange(58) % 2 == 0, pd.Series(range(58)).astype(str)) is None


def test_no_lesion_is_asked_about_by_who_has_seen_it() -> None:
    """A table that names each lesion tells nothing about the others."""
    names = np.repeat(np.arange(100), 3)
    melanoma = names % 2 == 0
    fold = names % 5
    scores = out_of_fold(np.eye(100)[names], melanoma, fold)
    assert abs(scores[melanoma].mean() - scores[~melanoma].mean()) < 0.05
    seen = out_of_fold(np.eye(100)[names], melanoma, np.arange(300) % 5)
    assert seen[melanoma].min() > seen[~melanoma].max()  # the opposite: lesions torn over folds


def test_what_does_not_vary_tells_nothing() -> None:
    scores = out_of_fold(np.ones((50, 3)), np.arange(50) % 2 == 0, np.arange(50) % 5)
    assert (scores == 0).all()


@pytest.mark.parametrize("side", [32, 48, 96, 180])
def test_a_plain_image_measures_as_it_is(side: int) -> None:
    grey = np.full((3, side, side, 3), 120, np.uint8)
    found = pd.DataFrame(measured_on(grey), columns=list(OF_PIXELS))
    assert np.allclose(found[["red", "red of the border", "light of the edge"]], 120, atol=0.01)
    zero = ["lines", "dark share", "pale share", "spread of red", "oddest colour", "oddest light"]
    assert np.allclose(found[zero], 0, atol=0.01)
    black = pd.DataFrame(measured_on(grey * 0), columns=list(OF_PIXELS))
    assert np.allclose(black[["dark share", "dark share of the corners"]], 1, atol=1e-4)


def test_the_lesion_in_the_middle_changes_nothing_of_the_border() -> None:
    pixels = skins(4)
    beside = [name for names in list(GROUPS.values())[2:] for name in names]
    other = pixels.copy()
    other[:, 24:-24, 24:-24] = 0
    plain, without = (
        pd.DataFrame(measured_on(each), columns=list(OF_PIXELS)) for each in (pixels, other)
    )
    assert np.allclose(plain[beside], without[beside])
    assert not np.allclose(plain[list(WHOLE)], without[list(WHOLE)])


def test_more_bytes_than_its_detail_needs_is_seen() -> None:
    pixels = skins(40)
    sizes = np.array([len(as_jpeg(each, 80)) for each in pixels])
    sizes[0] *= 2
    files = pd.DataFrame({"size_bytes": sizes})
    files = files.assign(width=96, height=96, format="JPEG", mode="RGB")
    measured = pd.DataFrame(measured_on(pixels), columns=list(OF_PIXELS))
    assert figures_of(files, measured)["bytes for its detail"].idxmax() == 0


# Sources --------------------------------------------------------------------------------------


def frame_of(ids: list[str], **columns: Any) -> pd.DataFrame:
    plain: dict[str, Any] = {"source": "A", "width": 10, "height": 10}
    given = plain | {"format": "JPEG", "mode": "RGB"} | columns
    return pd.DataFrame({"image_id": ids}).assign(**given)


def test_a_gap_in_the_numbers_another_size_or_format_is_another_source() -> None:
    ids = [f"ISIC_{n:07d}" for n in (*range(25), *range(5000, 5030))]
    assert acquisitions_of(frame_of(ids)).unique().tolist() == [
        "A, numbers 0 to 99",
        "A, numbers 5000 to 5099",
    ]
    one = frame_of(ids[:25])
    assert acquisitions_of(one).unique().tolist() == ["A"]
    mixed = pd.concat([one, frame_of(ids[:25], width=20, format="PNG")], ignore_index=True)
    assert acquisitions_of(mixed).unique().tolist() == ["A, 10 x 10, JPEG", "A, 20 x 10, PNG"]


def test_another_camera_or_setting_of_the_encoder_is_another_source() -> None:
    made = [("quality 95", "A 1")] * 25 + [("quality 75", "A 1")] * 25 + [("quality 75", "")] * 25
    told = [dict(zip(("encoding", "camera"), each, strict=True)) for each in made]
    frame = frame_of([f"a{n}" for n in range(75)]).assign(**pd.DataFrame(told))
    assert acquisitions_of(frame).unique().tolist() == [
        "A, quality 95, A 1",
        "A, quality 75, A 1",
        "A, quality 75",
    ]
    assert acquisitions_of(frame.drop(columns=["encoding", "camera"])).unique().tolist() == ["A"]
    assert acquisitions_of(frame[25:50]).unique().tolist() == ["A"]  # one of each names nothing


def test_an_encoder_that_only_melanomas_went_through_is_a_shortcut() -> None:
    rng, melanoma = np.random.default_rng(3), np.arange(200) % 2 == 0
    files = pd.DataFrame({"width": 96, "height": 96, "format": "JPEG", "mode": "RGB"}, range(200))
    files["size_bytes"] = rng.integers(9_000, 11_000, 200)
    pixels = rng.normal(120, 10, (200, len(OF_PIXELS)))
    measured = pd.DataFrame(pixels, columns=list(OF_PIXELS)).abs()

    def told(encoding: Any) -> bool:
        figures = figures_of(files.assign(encoding=encoding), measured).assign(**{SOURCE: "one"})
        beside = beside_of(figures, melanoma, pd.Series(range(200)))
        assert beside
        return any(each.shortcut and each.most == "encoding" for each in beside.things)

    assert told(np.where(melanoma, "quality 95", "quality 75"))
    assert not told(rng.choice(["quality 95", "quality 75"], 200))
    assert not told([f"tables {n}" for n in range(200)])  # each rare: told as one


def test_few_images_of_a_size_or_a_run_are_counted_together() -> None:
    ids = [f"ISIC_{n:07d}" for n in (*range(25), *range(5000, 5030), 9000, 20000)]
    sizes = [10] * 55 + [77, 78]
    assert (
        acquisitions_of(frame_of(ids, width=sizes)).iloc[-2:].tolist()
        == ["A, other numbers, another size"] * 2
    )


def test_names_without_numbers_have_no_runs() -> None:
    assert acquisitions_of(frame_of([f"patient-{n}-a" for n in range(50)])).unique() == ["A"]


# The law --------------------------------------------------------------------------------------


def finding_of(to: Path, of_others: float, of_melanomas: float) -> Finding:
    """The finding of a store of 80 lesions, with black corners on shares of both classes."""
    store, rng = open_store(str(to)), np.random.default_rng(4)
    for number, image in enumerate(skins(80, side=48)):
        name, rate = [("melanoma", of_melanomas), ("nevus", of_others)][number % 2]
        marked = rng.random() < rate
        shown = with_mark("black corners", image, rng) if marked else image
        store.create(f"raw/first/{name}/c{number}.jpg", as_jpeg(shown, 90))
    record = do(run_of(store), "ingest", "validate")
    found: Finding = next(each for each in record.findings if each.law == "shortcut")
    return found


@pytest.mark.slow
def test_validate_tells_of_a_shortcut_and_keeps_every_image(tmp_path: Path) -> None:
    finding = finding_of(tmp_path / "store", of_others=0, of_melanomas=1)
    assert finding.count >= 1
    assert finding.severity == "warning"
    assert all(": AUC " in each for each in finding.told)
    assert any(each.startswith("corners: AUC") for each in finding.told)
    beside = finding.beside
    assert beside
    assert beside.images == 80
    assert f"{beside.melanomas} melanoma lesions and {beside.others} others" in finding.remark
    assert finding.remark.count("AUC") == 2


@pytest.mark.slow
def test_validate_is_silent_about_a_sound_delivery_and_tells_what_was_asked(tmp_path: Path) -> None:
    finding = finding_of(tmp_path / "store", of_others=0.5, of_melanomas=0.5)
    assert finding.count == 0
    assert finding.severity == "information"
    assert "0.5 is chance" in finding.remark
