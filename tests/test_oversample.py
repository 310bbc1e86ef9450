"""check_balance and oversample: the imbalance is measured, and only training is evened out."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from deliveries import do, put_lesions, run_of, table_of
from PIL import Image

from tasks.contracts import Artifact, Split
from tasks.manifest import pixels_of
from tasks.oversample import Artists, Unturned, draw, operations
from tasks.run import Run
from tasks.storage import open_store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = open_store(str(tmp_path_factory.mktemp("oversample") / "store"))
    put_lesions(store, "melanoma", range(100, 130))
    put_lesions(store, "nevus", range(200, 280))
    run = run_of(store)
    do(run, "ingest", "validate", "split", "check_balance", "oversample")
    return run


def records(run: Run) -> tuple[object, ...]:
    return tuple(run.record(step) for step in ("split", "check_balance", "oversample"))


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
    from tasks.contracts import Balance, Oversampled
    from tasks.oversample import oversample

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
    tmp_path: Path, policy: str, config: dict[str, int], plan: dict[str, int]
) -> None:
    from tasks.check_balance import check_balance

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


@pytest.mark.parametrize("threads", [2, 7])
def test_any_number_of_threads_draws_the_same_copies(threads: int) -> None:
    alone, applied = draw(PIXELS, SEEDS, Artists())
    with ThreadPoolExecutor(threads) as workers:
        together, applied_together = draw(PIXELS, SEEDS, Artists(), workers.map)
    assert (alone == together).all()
    assert applied == applied_together
    assert set(" ".join(applied).split()) == {"Flip", "RotateRange", "Zoom"}


def test_a_copy_depends_on_its_seed_and_image_alone() -> None:
    copies, applied = draw(PIXELS, SEEDS, Artists())
    random.seed(5)  # what other code draws, or how many copies there are, changes nothing
    few, applied_to_few = draw(PIXELS[[40, 3]], [SEEDS[40], SEEDS[3]], Artists())
    assert (few == copies[[40, 3]]).all()
    assert applied_to_few == [applied[40], applied[3]]
    other, _ = draw(PIXELS, [f"other {seed}" for seed in SEEDS], Artists())
    assert (other != copies).any(axis=(1, 2, 3)).mean() > 0.8


def test_a_copy_is_what_augmentor_makes_of_its_image_with_that_seed() -> None:
    import Augmentor.Operations

    copies, applied = draw(PIXELS, SEEDS, Artists())
    for number in range(150):
        random.seed(hashlib.sha256(SEEDS[number].encode()).digest())
        images, names = [Image.fromarray(PIXELS[number])], []
        for operation in operations(Augmentor.Operations):
            if random.uniform(0, 1) < operation.probability:
                images = operation.perform_operation(images)
                names.append(type(operation).__name__)
        assert (np.asarray(images[0]) == copies[number]).all()
        assert " ".join(names) == applied[number]


@pytest.mark.parametrize("size", [(180, 180), (97, 60)])
@pytest.mark.parametrize("degrees", range(-10, 11))
def test_what_is_cropped_of_a_turned_image_is_what_pillow_turns(
    degrees: int, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, bicubic = Image.fromarray(pixels), Image.Resampling.BICUBIC
    whole = image.rotate(degrees, expand=True, resample=bicubic)
    lazy = Unturned(image).rotate(degrees, expand=True, resample=bicubic)
    assert lazy.size == whole.size
    for box in ((0, 0, *whole.size), (7, 9, whole.width - 8, whole.height - 5)):
        assert (np.asarray(lazy.crop(box)) == np.asarray(whole.crop(box))).all()
    assert (np.asarray(lazy.crop((7, 9, 27, 29))) != np.asarray(whole.crop((8, 9, 28, 29)))).any()
