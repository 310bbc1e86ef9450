"""Check the golden images: of the test part, of every class, with the recorded answers."""

import numpy as np
import pandas as pd

from tasks.intake.images import thumbnail_of
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.split import Split
from tasks.registry.served import Golden
from tasks.release.checks.flaw import check_same, flaw, record_of
from tasks.release.evidence import FIRST, SECOND, Bundle
from tasks.release.golden import ANSWERS, LEAST, PIXELS, chosen, golden_from

# Mean difference of a thumbnail's grey values, 0 to 255. Thumbnails that an earlier version of the
# program made differ by rounding: up to one grey value here and there.
GREY_VALUES = 1.0


def the_golden_images_are_of_the_test_part(bundle: Bundle) -> str:
    if bundle.manifest.format in (FIRST, SECOND):
        return "there are no golden images in a bundle of an earlier format"
    if not {PIXELS, ANSWERS} <= bundle.manifest.files.keys():
        raise flaw("it holds no golden images", f"{PIXELS} and {ANSWERS}", "no such files")
    evaluated = record_of(bundle, Evaluated)
    parts = bundle.table("split", record_of(bundle, Split).parts)
    test = parts[parts["side"] == "test"]
    golden, labels = golden_from(bundle.read)
    stay, gone = _chosen(bundle, test)
    fewest = min(LEAST, len(test)) - gone
    if len(golden.image_ids) < fewest:
        raise flaw(
            "it holds too few golden images", f"at least {fewest}", f"{len(golden.image_ids)}"
        )
    check_same(
        "golden images are images of the test part, each once",
        set(zip(golden.image_ids, labels, strict=True))
        - set(zip(test["image_id"].astype(str), test["label"].astype(str), strict=True)),
        set(),
    )
    if len(set(golden.image_ids)) != len(golden.image_ids):
        raise flaw("a golden image is there twice", "each once", f"{len(golden.image_ids)} images")
    for image_id in sorted(set(golden.image_ids) & bundle.erased):
        raise flaw("a golden image is of those that were erased", "no pixels of it", image_id)
    check_same("golden images are of every class of the test part", set(labels), stay)
    _check_answers(golden, evaluated, bundle.table("evaluate", evaluated.predictions))
    _check_pixels(golden, test, record_of(bundle, Ingested).packed_px)
    return (
        f"{len(golden.image_ids)} golden images, of all {len(set(labels))} classes of the test "
        "part, have the answers of the predictions" + (f"; {gone} more were erased" if gone else "")
    )


def _chosen(bundle: Bundle, test: pd.DataFrame) -> tuple[set[str], int]:
    """The classes of the golden images that a bundle must have, and how many were erased."""
    if not bundle.erased:
        return set(test["label"]), 0
    rows = test.reset_index(drop=True).iloc[chosen(test)]
    gone = rows["image_id"].isin(list(bundle.erased))
    return set(rows.loc[~gone, "label"]), int(gone.sum())


def _check_answers(golden: Golden, evaluated: Evaluated, predictions: pd.DataFrame) -> None:
    if golden.classes != evaluated.classes:
        raise flaw(
            "golden images are answered with other classes",
            ", ".join(evaluated.classes),
            ", ".join(golden.classes),
        )
    rows = predictions.drop_duplicates("image_id").set_index("image_id")
    recorded = rows.loc[list(golden.image_ids), list(golden.classes)].to_numpy(float)
    other = (recorded != golden.answers).any(axis=1)
    if other.any():
        place = int(other.argmax())
        raise flaw(
            f"golden image {golden.image_ids[place]} is answered otherwise than in the predictions",
            f"{recorded[place].tolist()}",
            f"{golden.answers[place].tolist()}",
        )


def _check_pixels(golden: Golden, test: pd.DataFrame, packed_px: int) -> None:
    """Compare the pixels with the thumbnails that ingest made of the same images."""
    if golden.pixels.shape[1:] != (packed_px, packed_px, 3):
        raise flaw(
            "golden images have another size",
            f"{packed_px} x {packed_px} pixels",
            " x ".join(map(str, golden.pixels.shape[1:3])),
        )
    thumbnails = test.drop_duplicates("image_id").set_index("image_id")["thumbnail"]
    for image_id, pixels in zip(golden.image_ids, golden.pixels, strict=True):
        theirs = np.frombuffer(thumbnails[image_id], np.uint8).astype(float)
        ours = np.frombuffer(thumbnail_of(pixels)[0], np.uint8)
        apart = float(np.abs(ours - theirs).mean())
        if apart > GREY_VALUES:
            raise flaw(
                f"the pixels of golden image {image_id} are of another image",
                f"the thumbnail of ingest, within {GREY_VALUES} grey values",
                f"{apart:.1f} grey values",
            )
