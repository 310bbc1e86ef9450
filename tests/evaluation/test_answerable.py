"""The judge of images refuses what is no sound dermoscopic image, and answers about the rest."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tasks.errors import BadInput, Corrupt
from tasks.evaluation import fit_answerable
from tasks.evaluation.answerable import FORMAT, SHARES, Answerable
from tasks.evaluation.embedding import brightness, embedded, sharpness
from tasks.evaluation.fit_answerable import ALLOWED, fit, limits_of, material_of
from tasks.evaluation.refusal_kinds import Kind, kinds_of
from tasks.evaluation.unsound import MAKERS, UNSOUND, mildly_changed, unsound
from tasks.intake.images import Decoded, decode
from tasks.records.refusals import GROUNDS
from tests.support.paths import ROOT

Array = np.ndarray[Any, Any]

SIDE = 90


@dataclass(frozen=True)
class Parts:
    """Drawn lesions, and a judge that was fit on the first two parts."""

    training: Array
    validation: Array
    fresh: Array
    judge: Answerable


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """Few unsound pictures of each kind, so that the tests take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_answerable, "EACH", 30)
        yield


@pytest.fixture(scope="module")
def parts(drawn: Path, few: None) -> Parts:
    paths = sorted(drawn.rglob("*.jpg")) + sorted(drawn.rglob("*.png"))
    decoded = [decode(path.read_bytes(), packed_px=SIDE, maximum_megapixels=64) for path in paths]
    pixels = np.stack([each.pixels for each in decoded if isinstance(each, Decoded)])
    pixels = pixels[np.random.default_rng(5).permutation(len(pixels))]
    training, validation, fresh = np.split(pixels, [100, 150])
    assert len(fresh) >= 40
    judge = fit(material_of(training), validation)
    return Parts(training, validation, fresh, judge)


@pytest.fixture(scope="module")
def kinds(parts: Parts) -> dict[str, Kind]:
    return {each.name: each for each in kinds_of(parts.fresh)}


def refused(judge: Answerable, pixels: Array, side: int = 1000) -> list[set[str]]:
    """The grounds of each image that is refused."""
    sides = np.full(len(pixels), side)
    return [{ground for ground, _ in each} for each in judge.judge(pixels, sides, sides) if each]


# What is answered, and what is refused -----------------------------------------------------------


def test_no_more_of_the_validation_part_is_refused_than_allowed(parts: Parts) -> None:
    assert len(refused(parts.judge, parts.validation)) <= ALLOWED * len(parts.validation)


def test_most_lesions_that_nothing_was_fit_on_are_answered(parts: Parts) -> None:
    assert len(refused(parts.judge, parts.fresh)) <= 0.2 * len(parts.fresh)


def test_most_lesions_are_answered_whichever_way_the_camera_was_held(parts: Parts) -> None:
    turned = np.ascontiguousarray(np.rot90(parts.fresh, axes=(1, 2))[:, :, ::-1])
    assert len(refused(parts.judge, turned)) <= 0.2 * len(turned)


def test_another_device_shows_the_same_lesions(parts: Parts) -> None:
    """What the judge learns to be sound too: each picture is changed, and none beyond knowing."""
    changed = mildly_changed(parts.fresh, np.random.default_rng(3))
    assert changed.shape == parts.fresh.shape
    assert (changed != parts.fresh).any(axis=(1, 2, 3)).all()
    apart = np.abs(changed.mean(axis=(1, 2)) - parts.fresh.mean(axis=(1, 2)))
    assert np.median(apart) < 25


@pytest.mark.parametrize(
    "name",
    ["pages of print", "screens", "textures", "noise", "one flat colour", "half of the file grey"],
)
def test_what_shows_no_lesion_is_refused(parts: Parts, kinds: dict[str, Kind], name: str) -> None:
    assert len(refused(parts.judge, kinds[name].pixels)) >= 0.95 * len(kinds[name].pixels)


@pytest.mark.parametrize(
    ("name", "ground"),
    [
        ("dark", "too dark"),
        ("overexposed", "too bright"),
        ("blurred, 5 pixels of 180", "blurred"),
        ("skin without lesion", "no lesion"),
        ("pages of print", "not dermoscopy"),
        ("hue turned by 180 degrees", "far from what was learned"),
    ],
)
def test_the_ground_is_named(parts: Parts, kinds: dict[str, Kind], name: str, ground: str) -> None:
    found = refused(parts.judge, kinds[name].pixels)
    assert len(found) >= 0.8 * len(kinds[name].pixels)
    assert sum(ground in each for each in found) > len(found) / 2


def test_a_small_image_is_refused_whatever_it_shows(parts: Parts) -> None:
    small = parts.judge.smallest
    assert all("too small" in each for each in refused(parts.judge, parts.fresh, small - 1))
    assert len(refused(parts.judge, parts.fresh, small - 1)) == len(parts.fresh)
    assert not any("too small" in each for each in refused(parts.judge, parts.fresh, small))


def test_a_ground_is_told_with_its_figure_and_limit(parts: Parts) -> None:
    black = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    (found,) = parts.judge.judge(black, np.array([30]), np.array([400]))
    told = dict(found)
    assert told["too small"] == "30 x 400 pixels, at least 45 on the short side"
    limit = -parts.judge.limits["dark"]
    assert told["too dark"] == f"median light 0 of 255, at least {limit:.0f}"
    assert [ground for ground, _ in found] == [each for each in GROUNDS if each in told]


def test_each_image_is_judged_as_if_alone(parts: Parts) -> None:
    mixed = np.concatenate([parts.fresh[:4], 255 - parts.fresh[:4]])
    sides = np.full(8, 500)
    alone = [parts.judge.judge(each[None], sides[:1], sides[:1])[0] for each in mixed]
    assert parts.judge.judge(mixed, sides, sides) == alone


def test_pixels_that_are_packed_otherwise_are_bad_input(parts: Parts) -> None:
    with pytest.raises(BadInput, match="of this size"):
        parts.judge.judge(parts.fresh[:, ::2, ::2], np.array([9]), np.array([9]))


# How it is fit -----------------------------------------------------------------------------------


def test_every_unsound_kind_is_made_the_same_from_the_same_numbers(parts: Parts) -> None:
    for kind in UNSOUND:
        ground, once = unsound(kind, parts.training, 3, np.random.default_rng(4))
        _, again = unsound(kind, parts.training, 3, np.random.default_rng(4))
        assert ground in GROUNDS
        assert once.shape == (3, SIDE, SIDE, 3)
        assert once.dtype == np.uint8
        assert (once == again).all()
        assert (once != parts.training[:3]).any(axis=(1, 2, 3)).all()


def test_a_kind_that_is_left_out_is_not_learned_from(parts: Parts) -> None:
    without = fit(
        material_of(parts.training), parts.validation, frozenset(["derived: underexposed"])
    )
    assert "too dark" in parts.judge.classes
    assert set(parts.judge.classes) - set(without.classes) == {"too dark"}
    assert set(parts.judge.classes) == {"sound", *(ground for ground, _ in MAKERS.values())}


@pytest.mark.parametrize("together", [False, True])
def test_limits_give_up_what_is_allowed_over_all_scores_together(together: bool) -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=400)
    scores = {name: one if together else rng.normal(size=400) for name in SHARES}
    limits = limits_of(scores)
    given = np.any([scores[name] > limit for name, limit in limits.items()], axis=0).sum()
    assert 0.8 * ALLOWED * 400 <= given <= ALLOWED * 400
    alone = {name: (scores[name] > limit).sum() for name, limit in limits.items()}
    assert alone["unlike"] == max(alone.values())


def test_of_a_few_images_none_is_given_up() -> None:
    scores = {name: np.arange(5.0) for name in SHARES}
    assert set(limits_of(scores).values()) == {4.0}


# Its bytes ---------------------------------------------------------------------------------------


def test_bytes_give_the_same_judge_back(parts: Parts) -> None:
    data = parts.judge.to_bytes()
    again = Answerable.from_bytes(data)
    both = np.concatenate([parts.fresh, 255 - parts.fresh])
    sides = np.full(len(both), 500)

    assert again.to_bytes() == data
    assert len(data) < 400_000
    assert again.judge(both, sides, sides) == parts.judge.judge(both, sides, sides)


def test_its_bytes_are_those_of_any_python() -> None:
    """Of a judge of round numbers, as Python 3.11.2 and 3.11.7 wrote it."""
    judge = Answerable(
        side=64,
        middle=np.zeros(2, np.float32),
        spread=np.ones(2, np.float32),
        whitening=np.eye(2, dtype=np.float32),
        weights=np.zeros((5, 2), np.float32),
        classes=("sound", "blurred"),
        smallest=64,
        limits=dict.fromkeys(SHARES, 1.0),
    )
    assert hashlib.sha256(judge.to_bytes()).hexdigest()[:12] == "fa2f055ed948"


def _odd(judge: Answerable, **changes: Any) -> bytes:
    return replace(judge, **changes).to_bytes()


def _with_an_object(judge: Answerable) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, told=np.array([{}], object), middle=judge.middle)
    return buffer.getvalue()


BROKEN: dict[str, Callable[[Answerable], bytes]] = {
    "empty": lambda judge: b"",
    "cut off": lambda judge: judge.to_bytes()[:-100],
    "another format": lambda judge: judge.to_bytes().replace(
        FORMAT.encode(), FORMAT.replace("1", "9").encode()
    ),
    "a pickle": _with_an_object,
    "no limit for blur": lambda judge: _odd(judge, limits={"far": 1.0}),
    "weights of other figures": lambda judge: _odd(judge, weights=judge.weights[1:]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_bytes_that_are_no_judge_are_corrupt(parts: Parts, how: str) -> None:
    with pytest.raises(Corrupt, match="judge of images cannot be read"):
        Answerable.from_bytes(BROKEN[how](parts.judge))


def test_the_judge_holds_nothing_of_a_single_image(parts: Parts) -> None:
    """Else an image that is erased would have to leave it."""
    shapes = {name: getattr(parts.judge, name).shape for name in ("middle", "weights")}
    fewer = fit(material_of(parts.training[:60]), parts.validation)
    assert {name: getattr(fewer, name).shape for name in shapes} == shapes
    assert len(fewer.to_bytes()) == pytest.approx(len(parts.judge.to_bytes()), abs=100)


def test_to_judge_takes_numpy_and_scipy_alone() -> None:
    code = "import sys, tasks.evaluation.answerable; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {"PIL", "cv2", "keras", "pandas", "sklearn", "tensorflow"}


# The embedding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [48, 64, 90, 180, 224])
def test_the_embedding_has_the_same_figures_for_each_side(side: int) -> None:
    rng = np.random.default_rng(1)
    pixels = np.stack([rng.integers(0, 256, (side, side, 3), np.uint8), np.zeros((side, side, 3))])
    found = embedded(pixels.astype(np.uint8))
    assert found.shape == (2, 164)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert embedded(pixels[:0].astype(np.uint8)).shape == (0, 164)


def test_blur_lowers_the_sharpness_and_contrast_does_not(parts: Parts) -> None:
    plain = sharpness(parts.fresh)
    blurred = np.stack([gaussian_filter(image, (2, 2, 0)) for image in parts.fresh])
    paler = (parts.fresh.astype(float) * 0.6 + 80).round().astype(np.uint8)
    assert (sharpness(blurred) < plain - 0.5).all()
    assert np.abs(sharpness(paler) - plain).max() < 0.3


def test_brightness_is_the_median_light_and_a_few_black_corners_do_not_matter() -> None:
    pixels = np.full((1, 90, 90, 3), 150, np.uint8)
    assert brightness(pixels)[0] == pytest.approx(150, abs=0.1)
    pixels[:, :20, :20] = 0
    assert brightness(pixels)[0] == pytest.approx(150, abs=0.1)
