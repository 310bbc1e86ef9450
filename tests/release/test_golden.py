"""Golden images: which ones become golden, and what verify says of wrong ones."""

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import Corrupt
from tasks.intake.manifest import pixels_of
from tasks.model_file import answers_of, from_bytes
from tasks.records.evaluated import Evaluated
from tasks.records.split import Split
from tasks.registry.served import compared
from tasks.release.evidence import MANIFEST, SECOND, Bundle, Manifest
from tasks.release.golden import ANSWERS, LEAST, PIXELS, chosen, golden_from
from tasks.release.served import golden_of
from tasks.release.verify import verify
from tests.support.bundles import reseal
from tests.support.deliveries import run_of

# Which images become golden ---------------------------------------------------------------------


def test_part(labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image_id": [f"ISIC_{n:07d}" for n in range(len(labels))], "label": labels}
    ).astype(str)


test_part.__test__ = False  # type: ignore[attr-defined]  # no test, by its name one


@given(labels=st.lists(st.integers(0, 40), min_size=1, max_size=150))
def test_golden_images_are_of_every_class_and_enough(labels: list[int]) -> None:
    places = chosen(test_part(labels))

    assert len(set(places)) == len(places) == min(len(labels), max(LEAST, len(set(labels))))
    assert {labels[place] for place in places} == set(labels)


@given(
    labels=st.lists(st.integers(0, 8), min_size=1, max_size=99),
    seed=st.randoms(use_true_random=False),
)
def test_the_choice_does_not_depend_on_the_order_of_the_images(
    labels: list[int], seed: random.Random
) -> None:
    test = test_part(labels)
    order = list(range(len(labels)))
    seed.shuffle(order)
    shuffled = test.iloc[order]

    named = [test["image_id"].iloc[place] for place in chosen(test)]
    assert [shuffled["image_id"].iloc[place] for place in chosen(shuffled)] == named


def test_a_rare_class_is_golden_as_often_as_a_common_one_while_it_lasts() -> None:
    labels = [0] * 100 + [1] * 3 + [2] * 100
    found = [labels[place] for place in chosen(test_part(labels))]

    assert (found.count(1), found.count(0) + found.count(2)) == (3, LEAST - 3)
    assert abs(found.count(0) - found.count(2)) <= 1


# What a bundle holds of them ----------------------------------------------------------------------


def test_a_bundle_holds_the_pixels_and_the_recorded_answers(run: Run, sealed: Path) -> None:
    bundle = Bundle(str(sealed))
    golden, labels = golden_from(bundle.read)
    split = bundle.record("split")
    assert isinstance(split, Split)
    parts = bundle.table("split", split.parts).set_index("image_id").loc[list(golden.image_ids)]
    recorded = pd.read_parquet(sealed / "evaluate/predictions.parquet").set_index("image_id")

    assert len(labels) >= LEAST
    assert list(parts["label"]) == list(labels)
    assert set(parts["side"]) == {"test"}
    assert (golden.pixels == pixels_of(run, parts.reset_index())).all()
    stated = recorded.loc[list(golden.image_ids), list(golden.classes)].to_numpy(float)
    assert (golden.answers == stated).all()


# What verify says of wrong ones -------------------------------------------------------------------


def pixels_as(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


def keep(content: Any, pixels: Any, places: list[int]) -> Any:
    content["images"] = [content["images"][place] for place in places]
    return pixels[places]


def few(content: Any, pixels: Any) -> Any:
    return keep(content, pixels, list(range(LEAST - 1)))


def twice(content: Any, pixels: Any) -> Any:
    return keep(content, pixels, [0, 0, *range(2, len(pixels))])


def one_class_less(content: Any, pixels: Any) -> Any:
    last = content["images"][-1]
    for each in content["images"]:
        if each["label"] == content["images"][0]["label"]:
            each |= {"label": last["label"]}
    return pixels


def another_answer(content: Any, pixels: Any) -> Any:
    content["images"][3]["probabilities"][0] += 1e-6
    return pixels


def another_image(content: Any, pixels: Any) -> Any:
    return np.concatenate([pixels[1:2], pixels[1:]])


def a_stranger(content: Any, pixels: Any) -> Any:
    content["images"][0]["image_id"] = "ISIC_9999999"
    return pixels


def larger(content: Any, pixels: Any) -> Any:
    return pixels.repeat(2, axis=1).repeat(2, axis=2)


def numbers_of_another_kind(content: Any, pixels: Any) -> Any:
    return pixels.astype(np.float32)


def other_classes(content: Any, pixels: Any) -> Any:
    content["classes"] = content["classes"][::-1]
    return pixels


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (few, "too few golden images"),
        (twice, "is there twice"),
        (one_class_less, "images of the test part"),
        (another_answer, "answered otherwise than in the predictions"),
        (another_image, "are of another image"),
        (a_stranger, "images of the test part"),
        (larger, "another size"),
        (numbers_of_another_kind, "cannot be read"),
        (other_classes, "other classes"),
    ],
)
def test_wrong_golden_images_are_named_though_sealed_anew(
    copied: Path, alter: Callable[[Any, Any], Any], told: str
) -> None:
    content = json.loads((copied / ANSWERS).read_text())
    pixels = alter(content, np.load(copied / PIXELS))
    reseal(copied, {ANSWERS: json.dumps(content).encode(), PIXELS: pixels_as(pixels)})
    with pytest.raises(Corrupt, match=told):
        verify(str(copied))


def test_a_missing_class_is_named_though_sealed_anew(copied: Path) -> None:
    """With as many images as before, all of them true."""
    golden, labels = golden_from(Bundle(str(copied)).read)
    rare = min(set(labels), key=labels.count)
    predictions = pd.read_parquet(copied / "evaluate/predictions.parquet")
    more = predictions[(predictions["label"] != rare)].head(LEAST)
    content = {
        "classes": golden.classes,
        "images": [
            {
                "image_id": row["image_id"],
                "label": row["label"],
                "probabilities": [row[name] for name in golden.classes],
            }
            for row in more.to_dict("records")
        ],
    }
    reseal(copied, {ANSWERS: json.dumps(content).encode()})
    with pytest.raises(Corrupt, match="every class"):
        verify(str(copied))


def test_a_bundle_without_golden_images_holds_only_in_an_earlier_format(copied: Path) -> None:
    for path in (PIXELS, ANSWERS):
        (copied / path).unlink()
    reseal(copied, {})
    with pytest.raises(Corrupt, match="holds no golden images"):
        verify(str(copied))

    now = Bundle(str(copied)).manifest
    earlier = Manifest(format=SECOND, run=now.run, files=now.files).sealed()
    (copied / MANIFEST).write_bytes(earlier.data)
    assert "no golden images in a bundle of an earlier format" in " ".join(verify(str(copied)).held)


# Evidence of an earlier version of the program ----------------------------------------------------


@pytest.mark.slow
def test_of_an_old_bundle_golden_images_are_made_of_the_runs_pixels(
    store_of_format_1: Path,
) -> None:
    run = run_of(open_store(str(store_of_format_1)), "first")
    bundle = Bundle(f"{run.uri}/evidence")
    golden, remark = golden_of(bundle, run)
    evaluated = run.record("evaluate")
    assert golden
    assert isinstance(evaluated, Evaluated)

    assert "these are made of the run's pixels" in remark
    model = from_bytes(run.fetch(evaluated.model))
    assert "golden images" in compared(answers_of(model, golden.pixels), golden, "Version 1")
    shutil.rmtree(store_of_format_1 / "shared")
    assert golden_of(bundle, run) == (
        None,
        "; the evidence, of an earlier version of the program, holds no golden images, and the "
        "pixels of the run are gone: the model was asked nothing",
    )
