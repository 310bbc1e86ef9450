"""How many altered copies of real images the searches find, and how many pairs they invent.

    python -m tests.benchmarks.near_duplicates IMAGES [METADATA] [--number 150] [--scale 100000]

Takes a seeded sample of the images below IMAGES, alters each in each way, and searches originals
and copies together, by thumbnails and by local features. Then the opposite: all images under the
same ruler, stamp, corners or frame, in which no new pair may be found. METADATA are tables with
lesion_id: pairs of two known lesions among the images as they are count as invented.

With --scale: the time of the search among generated features, of which no two pictures share any.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.figures import percent
from tasks.intake.copies import copies_among
from tasks.intake.images import PACKING, THUMBNAIL_PX, squeezed, thumbnail_of
from tasks.intake.likeness import near_duplicates
from tasks.intake.local_features import MOST, NUMBERS, LocalFeatures, features_of, together
from tasks.lesions import IMAGE_SUFFIXES, image_id_from
from tests.support.copies import COPIES
from tests.support.marks import MARKS

Array = np.ndarray[Any, Any]
PACKED_PX = 180


def packed(images: list[Image.Image]) -> Array:
    """uint8 ``(n, 180, 180, 3)``, as ingest packs them."""
    return np.stack(
        [squeezed(np.ascontiguousarray(each.convert("RGB")), PACKED_PX, PACKING) for each in images]
    )


def thumbnails(pixels: Array) -> Array:
    """uint8 ``(n, 32, 32)``, as ingest makes them."""
    planes = np.frombuffer(b"".join(thumbnail_of(each)[0] for each in pixels), np.uint8)
    return planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)


def ends(pairs: pd.DataFrame) -> set[tuple[int, int]]:
    return {(int(one), int(two)) for one, two in pairs[["first", "second"]].to_numpy()}


def lesions_of(files: list[Path], metadata: Path | None) -> list[str | None]:
    known: dict[str, str] = {}
    for file in sorted(metadata.glob("*.csv")) if metadata else []:
        frame = pd.read_csv(file)
        if "lesion_id" in frame:
            images = frame["image" if "image" in frame else "image_id"]
            told = frame.assign(image=images).dropna(subset=["lesion_id"])
            known |= dict(zip(told["image"], told["lesion_id"], strict=True))
    return [known.get(image_id_from(str(file))) for file in files]


def tell_copies(images: list[Image.Image], pixels: Array, features: LocalFeatures, n: int) -> None:
    some = random.Random(1).sample(range(len(images)), min(n, len(images)))
    print(f"\n| kind | strength | thumbnails | local features | both | (of {len(some)}) |")
    print("|---|---|---|---|---|---|")
    small, size = thumbnails(pixels), len(images)
    of = np.arange(size + len(some)) >= size
    for kind, strengths in COPIES.items():
        for strength, alter in strengths.items():
            copied = packed([alter(images[each]) for each in some])
            found = (
                ends(near_duplicates(np.concatenate([small, thumbnails(copied)]))),
                ends(copies_among(together([features, features_of(copied)]), of)),
            )
            true = {(each, size + place) for place, each in enumerate(some)}
            shares = (len(true & each) / len(some) for each in (*found, found[0] | found[1]))
            told = " | ".join(percent(each, 1) for each in shares)
            print(f"| {kind} | {strength} | {told} | |", flush=True)


def tell_invented(
    images: list[Image.Image], features: LocalFeatures, lesions: list[str | None]
) -> None:
    as_they_are = ends(copies_among(features))
    known = [(a, b) for a, b in as_they_are if lesions[a] and lesions[b]]
    other = sum(lesions[a] != lesions[b] for a, b in known)
    print(
        f"\n{len(images)} images as they are: {len(as_they_are)} pairs; both lesions are known of "
        f"{len(known)}, the tables name two of {other}"
    )
    for name, mark in MARKS.items():
        marked = ends(copies_among(features_of(packed([mark(each) for each in images]))))
        new = [pair for pair in marked - as_they_are if not _same(lesions, *pair)]
        rate = 1000 * len(new) / len(images)
        print(f"all with the same {name}: {len(new)} new pairs, {rate:.1f} in 1,000", flush=True)


def _same(lesions: list[str | None], one: int, two: int) -> bool:
    return lesions[one] is not None and lesions[one] == lesions[two]


def generated(number: int) -> LocalFeatures:
    """Features of pictures that share none."""
    draw = np.random.default_rng(1)
    codes = np.clip(draw.normal(0, 30, (number * MOST, NUMBERS)), -128, 127).astype(np.int8)
    places = draw.integers(0, 256, (number * MOST, 4), dtype=np.uint8)
    return LocalFeatures(np.full(number, MOST), codes, places)


def tell_growth(most: int) -> None:
    before: tuple[int, float] | None = None
    print("\n| pictures (generated features) | processor s | exponent |\n|---|---|---|")
    for number in [each for each in (1_000, 3_000, 10_000, 30_000, 100_000) if each <= most]:
        features = generated(number)
        start = time.process_time()
        copies_among(features)
        took = time.process_time() - start
        exponent = np.log(took / before[1]) / np.log(number / before[0]) if before else np.nan
        print(f"| {number:,} | {took:.1f} | {exponent:.2f} |", flush=True)
        before = number, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path, nargs="?")
    parser.add_argument("--number", type=int, default=150)
    parser.add_argument("--scale", type=int, default=0)
    chosen = parser.parse_args()
    files = sorted(f for f in chosen.images.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    images = [Image.open(file).convert("RGB") for file in files]
    pixels = packed(images)
    start = time.perf_counter(), time.process_time()
    features = features_of(pixels)
    took = time.perf_counter() - start[0], time.process_time() - start[1]
    size = (features.codes.nbytes + features.places.nbytes) / len(images)
    print(
        f"features of {len(images)} images: {took[0]:.1f} s, {took[1] / len(images) * 1000:.1f} ms "
        f"of processor time and {size / 1000:.1f} kB an image"
    )
    start = time.perf_counter(), time.process_time()
    copies_among(features)
    print(
        f"search: {time.perf_counter() - start[0]:.1f} s, {time.process_time() - start[1]:.1f} s "
        "of processor time"
    )
    tell_copies(images, pixels, features, chosen.number)
    tell_invented(images, features, lesions_of(files, chosen.metadata))
    if chosen.scale:
        tell_growth(chosen.scale)


if __name__ == "__main__":
    main()
