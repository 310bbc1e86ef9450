"""How many altered copies of real images the near-duplicate search finds, and how many it invents.

    python tests/benchmarks/near_duplicates.py IMAGES [--number 400]

Takes a seeded sample of the images below IMAGES, alters each in each way, and searches originals
and copies together. A pair of an image and its own copy is found; any other pair that is not among
the originals already is invented.
"""

import argparse
import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from tasks.figures import percent
from tasks.intake.images import THUMBNAIL_PX
from tasks.intake.likeness import near_duplicates
from tasks.lesions import IMAGE_SUFFIXES
from tasks.statistics.proportions import proportion

Alteration = Callable[[Image.Image], Image.Image]


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("RGB")


def cropped(share: float) -> Alteration:
    """Without this share of the width and height at each border."""

    def crop(image: Image.Image) -> Image.Image:
        across, down = round(image.width * share), round(image.height * share)
        return image.crop((across, down, image.width - across, image.height - down))

    return crop


ALTERATIONS: dict[str, Alteration] = {
    "JPEG, quality 30": recompressed,
    "a quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "20 % less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "1 % cropped": cropped(0.01),
    "2 % cropped": cropped(0.02),
    "5 % cropped": cropped(0.05),
    "turned by 5 degrees": lambda image: image.rotate(5),
}


def thumbnails(images: list[Image.Image]) -> "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]":
    """uint8 ``(n, 32, 32)``, as ingest makes them."""
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.stack(
        [np.asarray(each.convert("L").resize(side, Image.Resampling.LANCZOS)) for each in images]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--number", type=int, default=400)
    chosen = parser.parse_args()
    files = sorted(f for f in chosen.images.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    some = random.Random(1).sample(files, min(chosen.number, len(files)))
    images = [Image.open(file).convert("RGB") for file in some]
    originals = thumbnails(images)
    n, known = len(images), len(near_duplicates(originals))
    print(f"{n} images; pairs among them as they are: {known}")
    print(f"{'alteration':22}{'found':>8}   exact 95 % interval   invented pairs")
    for name, alter in ALTERATIONS.items():
        both = np.concatenate([originals, thumbnails([alter(image) for image in images])])
        pairs = near_duplicates(both)
        found = proportion(int((pairs["second"] - pairs["first"] == n).sum()), n)
        interval = f"{percent(found.lower, 1)} to {percent(found.upper, 1)}"
        invented = len(pairs) - found.successes - known
        print(f"{name:22}{percent(found.estimate, 1):>8}   {interval:19}   {invented:>14}")


if __name__ == "__main__":
    main()
