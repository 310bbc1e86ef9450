"""check_balance and oversample: the imbalance is measured, and only training is evened out."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.balancing.copies import Artist, Sketch, draw, operations, turned
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.intake.manifest import pixels_of
from tasks.records.balance import Balance
from tasks.records.oversampled import Oversampled
from tasks.records.record import Artifact
from tasks.records.split import Split
from tests.support.deliveries import do, put_lesions, run_of, table_of
from tests.support.records import record_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = open_store(str(tmp_path_factory.mktemp("oversample") / "store"))
    put_lesions(store, "melanoma", range(100, 130))
    put_lesions(store, "nevus", range(200, 280))
    run = run_of(store)
    do(run, "ingest", "validate", "split", "check_balance", "oversample")
    return run


def records(run: Run) -> tuple[Split, Balance, Oversampled]:
    return record_of(run, Split), record_of(run, Balance), record_of(run, Oversampled)


def test_the_imbalance_is_that_of_the_training_part(run: Run) -> None:
    split, balance, _ = records(run)
    assert balance.counts == split.counts["train"]
    assert (balance.rarest, balance.dominating) == ("melanoma", "nevus")
    ratio = balance.counts["nevus"] / balance.counts["melanoma"]
    assert balance.imbalance_ratio == pytest.approx(ratio, abs=1e-4)
    assert "nevus dominates" in balance.finding


def test_after_oversampling_all_classes_are_even(run: Run) -> None:
    _, balance, oversampled = records(run)
    assert set(oversampled.counts.values()) == {balance.counts["nevus"]}


def test_copies_are_drawn_from_training_images_only(run: Run) -> None:
    split, balance, oversampled = records(run)
    parts = table_of(run, split.parts).set_index("key")
    copies = table_of(run, oversampled.copies)
    assert len(copies) == sum(balance.plan.values()) > 0
    sources = parts.loc[copies["source_key"]]
    assert set(sources["side"]) == {"train"}
    assert list(sources["label"]) == list(copies["label"])
    assert list(sources["group"]) == list(copies["group"])


def test_each_image_is_copied_once_before_any_is_copied_again(run: Run) -> None:
    *_, oversampled = records(run)
    times = table_of(run, oversampled.copies)["source_key"].value_counts()
    assert times.max() - times.min() <= 1


def test_a_copy_resembles_its_source_and_no_two_copies_are_the_same(run: Run) -> None:
    split, _, oversampled = records(run)
    copies = table_of(run, oversampled.copies)
    sources = table_of(run, split.parts).set_index("key").loc[copies["source_key"]].reset_index()
    drawn, shown = pixels_of(run, copies), pixels_of(run, sources)
    assert drawn.shape == shown.shape
    assert len({image.tobytes() for image in drawn}) == len(drawn)
    # The mean colour survives flips and small turns; pixels of noise have no other likeness.
    apart = np.abs(drawn.mean(axis=(1, 2)) - shown.mean(axis=(1, 2)))
    assert apart.max() < 20


def test_another_store_gives_the_same_copies_and_another_seed_does_not(
    run: Run, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 130))
    put_lesions(store, "nevus", range(200, 280))
    steps = ("ingest", "validate", "split", "check_balance", "oversample")
    same = do(run_of(store, "same"), *steps)
    other = do(run_of(store, "other", seed=21), *steps)
    first = run.record("oversample")
    assert first is not None
    assert same.content_hash == first.content_hash
    assert same.shards[0].sha256 != other.shards[0].sha256
    assert same.counts == other.counts


def test_even_classes_need_no_copies(tmp_path: Path) -> None:
    from tasks.balancing.oversample import oversample

    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(100, 140))
    put_lesions(store, "nevus", range(200, 240))
    run = run_of(store)
    split = do(run, "ingest", "validate", "split")
    even = Balance(
        counts={"melanoma": 20, "nevus": 20},
        rarest="melanoma",
        dominating="nevus",
        imbalance_ratio=1,
        target=20,
        plan={"melanoma": 0, "nevus": 0},
        capped=(),
        finding="",
    )
    record = oversample(Run(run.store, run.name, run.config, "oversample"), split, even)
    assert isinstance(record, Oversampled)
    assert record.shards == ()
    assert len(table_of(run, record.copies)) == 0


# Policies ----------------------------------------------------------------------------------------

COUNTS = {"melanoma": 100, "nevus": 300, "dermatofibroma": 2}


@pytest.mark.parametrize(
    ("policy", "config", "plan"),
    [
        ("max", {}, {"melanoma": 200, "nevus": 0, "dermatofibroma": 40}),
        ("max", {"copies_per_image": 1000}, {"melanoma": 200, "nevus": 0, "dermatofibroma": 298}),
        ("median", {}, {"melanoma": 0, "nevus": 0, "dermatofibroma": 40}),
        ("fixed", {"balance_target": 400}, {"melanoma": 300, "nevus": 100, "dermatofibroma": 40}),
        ("fixed", {"balance_target": 1}, {"melanoma": 0, "nevus": 0, "dermatofibroma": 0}),
        ("none", {}, {"melanoma": 0, "nevus": 0, "dermatofibroma": 0}),
    ],
)
def test_the_plan_follows_the_policy(
    tmp_path: Path, policy: str, config: dict[str, Any], plan: dict[str, int]
) -> None:
    from tasks.balancing.check_balance import check_balance

    run = run_of(open_store(str(tmp_path)), balance_policy=policy, **config)
    balance = check_balance(run, split_of(COUNTS))
    assert balance.plan == plan
    for name, copies in plan.items():
        assert copies <= run.config.copies_per_image * COUNTS[name]
    assert balance.capped == (("dermatofibroma",) if plan["dermatofibroma"] == 40 else ())
    assert ("balance suffices" in balance.finding) == (config == {"balance_target": 1})
    assert ("No copies are wanted" in balance.finding) == (policy == "none")


def split_of(counts: dict[str, int]) -> Split:
    artifact = Artifact(key="k", sha256="0" * 64, size_bytes=0)
    return Split(
        parts=artifact,
        proof=artifact,
        left_out=artifact,
        counts={"train": counts},
        groups={"train": 402},
        strata=(),
        bridging=0,
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (150, 48, 48, 3), np.uint8)
SEEDS = [str(number) for number in range(150)]
GOLD = "3449d1c0ce0f226d62d571951a719b7a6ca0c758d86df99e52ecb4748a5448e7"


@pytest.mark.parametrize("threads", [2, 7])
def test_any_number_of_threads_draws_the_same_copies(threads: int) -> None:
    alone, applied = draw(PIXELS, SEEDS, Artist())
    with ThreadPoolExecutor(threads) as workers:
        together, applied_together = draw(PIXELS, SEEDS, Artist(), workers.map)
    assert (alone == together).all()
    assert applied == applied_together
    assert set(" ".join(applied).split()) == {"Flip", "RotateRange", "Zoom"}


def test_a_copy_depends_on_its_seed_and_image_alone() -> None:
    copies, applied = draw(PIXELS, SEEDS, Artist())
    random.seed(5)  # what other code draws, or how many copies there are, changes nothing
    few, applied_to_few = draw(PIXELS[[40, 3]], [SEEDS[40], SEEDS[3]], Artist())
    assert (few == copies[[40, 3]]).all()
    assert applied_to_few == [applied[40], applied[3]]
    other, _ = draw(PIXELS, [f"other {seed}" for seed in SEEDS], Artist())
    assert (other != copies).any(axis=(1, 2, 3)).mean() > 0.8


def picture(width: int, height: int, seed: int) -> np.ndarray:
    """Like a photograph: skin that varies slowly, a spot with an edge, hairs and noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(90, 200, (6, 6, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    y, x = np.mgrid[0:height, 0:width]
    pixels[(x - 0.55 * width) ** 2 + (y - 0.45 * height) ** 2 < (0.25 * height) ** 2] *= 0.45
    for start in random.integers(0, width, 4):
        pixels[np.abs(x - start - 0.4 * y) < 0.8] = 40
    return (pixels + random.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)


PICTURES = np.stack([picture(180, 180, seed) for seed in range(60)])


def by_augmentor(pixels: np.ndarray, seed: str) -> tuple[np.ndarray, str]:
    import Augmentor.Operations

    random.seed(hashlib.sha256(seed.encode()).digest())
    images, names = [Image.fromarray(pixels)], []
    for operation in operations(Augmentor.Operations):
        if random.uniform(0, 1) < operation.probability:
            images = operation.perform_operation(images)
            names.append(type(operation).__name__)
    return np.asarray(images[0]), " ".join(names)


def test_a_copy_is_what_augmentor_makes_of_its_image_with_that_seed() -> None:
    copies, applied = draw(PICTURES, SEEDS[:60], Artist())
    for number in range(60):
        theirs, names = by_augmentor(PICTURES[number], SEEDS[number])
        apart = np.abs(theirs.astype(int) - copies[number])
        assert (apart <= 1).mean() > 0.99
        assert apart.max() < 16  # beside a hair, where a cubic overshoots and is cut off
        assert names == applied[number]
    others = [by_augmentor(PICTURES[number], f"other {number}")[0] for number in range(60)]
    assert np.abs(np.stack(others).astype(int) - copies).mean() > 5


@pytest.mark.parametrize("size", [(180, 180), (97, 60)])
@pytest.mark.parametrize("degrees", [each for each in range(-10, 11) if each])
def test_what_is_cropped_of_a_turned_image_is_what_pillow_turns(
    degrees: int, size: tuple[int, int]
) -> None:
    bicubic = Image.Resampling.BICUBIC
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    for image in (Image.fromarray(noise), Image.fromarray(picture(*size, 1))):
        whole = image.rotate(degrees, expand=True, resample=bicubic)
        sketch = Sketch(size).rotate(degrees, expand=True, resample=bicubic)
        assert sketch.size == whole.size
        for box in ((0, 0, *whole.size), (7, 9, whole.width - 8, whole.height - 5)):
            turn = sketch.crop(box).turn
            assert turn == (degrees, box)
            ours, theirs = (
                np.asarray(each).astype(int) for each in (turned([image], turn)[0], whole.crop(box))
            )
            assert np.abs(ours - theirs).max() <= 1
            assert np.abs(ours - theirs).mean() < 0.02
            further = image.rotate(degrees + 1, expand=False, resample=bicubic)
            exact = image.rotate(degrees, expand=False, resample=bicubic)
            off = np.abs(np.asarray(further).astype(int) - np.asarray(exact)).mean()
            assert off > 50 * np.abs(ours - theirs).mean()


def test_what_is_flat_stays_flat_when_turned_and_what_lies_beyond_is_black() -> None:
    turn = Sketch((60, 40)).rotate(7, expand=True, resample=Image.Resampling.BICUBIC).turn
    assert turn
    for grey in (0, 1, 127, 254, 255):
        shown = np.asarray(turned([Image.new("RGB", (60, 40), (grey,) * 3)], turn)[0])
        assert set(np.unique(shown)) == {0, grey}
    assert (shown[0, 0] == 0).all()
    assert (shown[shown.shape[0] // 2, shown.shape[1] // 2] == 255).all()


def test_images_are_turned_together_as_they_are_alone() -> None:
    images = [Image.fromarray(each) for each in PIXELS[:9]]
    turn = (-4, (3, 4, 44, 43))
    together = turned(images, turn)
    for image, shown in zip(images, together, strict=True):
        assert turned([image], turn)[0].tobytes() == shown.tobytes()
    assert together[0].tobytes() != together[1].tobytes()


def test_the_bytes_of_copies_are_the_same_everywhere_and_for_ever() -> None:
    copies, _ = draw(PIXELS, SEEDS, Artist())
    assert hashlib.sha256(copies.data).hexdigest() == GOLD
