"""Draw a second clinic: the same kinds of lesions by another device, for people without an external
set.

Its pictures differ from those of `tasks.intake.synthesize` as those of hospitals do: other colours,
light and sharpness, a wider view with dark corners, another size and JPEG quality, and fewer
melanomas. They say nothing about patients, and are marked as drawn in pixels, comment and name.
"""

from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tasks.intake.drawn_lesions import draw
from tasks.intake.scene import mark
from tasks.intake.synthesize import drawn_whole, save, save_table
from tasks.lesions import SYNTHETIC_PREFIX, Diagnosis

FIRST = 9_000_001  # number of the first picture; the first clinic's numbers are far below
WIDTH, HEIGHT = 240, 200  # pixels
QUALITY = 78  # of the JPEGs
IMAGES: dict[Diagnosis, int] = {
    "nevus": 110,
    "melanoma": 40,
    "pigmented benign keratosis": 24,
    "basal cell carcinoma": 16,
    "dermatofibroma": 6,
    "vascular lesion": 6,
}


def second_clinic(to: Path, *, seed: int = 21, scale: float = 1.0) -> int:
    """Draw a set into ``<to>/<class>/*.jpg`` and ``<to>/labels.csv``; the number of pictures.

    The same seed and scale give the same files. The directory appears whole or not at all.

    Args:
        to: A directory that does not exist yet or is empty.
        seed: Start of all random numbers, 0 or more.
        scale: 1 draws about 200 pictures; a class never has fewer than 2.

    Raises:
        BadInput: The directory holds something already or cannot be written.
    """
    with drawn_whole(to) as made:
        return _draw_set(made, seed, scale)


def _draw_set(to: Path, seed: int, scale: float) -> int:
    rng = default_rng(seed)
    wanted = [name for name, n in IMAGES.items() for _ in range(max(2, round(n * scale)))]
    rows = []
    for number, place in enumerate(rng.permutation(len(wanted))):
        diagnosis, name = wanted[place], f"{SYNTHETIC_PREFIX}{FIRST + number:07d}"
        lesion, view = default_rng([seed, number]), default_rng([seed, number, 0])
        save(to / diagnosis / f"{name}.jpg", _taken(draw(diagnosis, lesion, view), view), QUALITY)
        rows.append(
            {
                "image_id": name,
                "diagnosis": diagnosis,
                "lesion_id": f"SYNTHETIC_CLINIC_B_{number:05d}",
                "age": str(5 * int(rng.integers(5, 17))),
                "sex": str(rng.choice(["female", "male"])),
            }
        )
    save_table(to / "labels.csv", rows)
    return len(rows)


def _taken(pixels: NDArray[np.uint8], view: Generator) -> NDArray[np.uint8]:
    """The picture as the second device takes it: uint8 ``(HEIGHT, WIDTH, 3)``."""
    side = round(HEIGHT * view.uniform(0.82, 0.98))  # a wider view than the first device's
    picture = Image.fromarray(pixels[:-18]).resize((round(side * 1.1), side))  # without its mark
    across, down = WIDTH - picture.width, HEIGHT - picture.height
    margins = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    wide = Image.fromarray(np.pad(np.asarray(picture), margins, mode="reflect"))
    soft = wide.filter(ImageFilter.GaussianBlur(view.uniform(0.4, 0.9)))
    rgb = np.asarray(soft, np.float32) / 255
    rgb = rgb ** np.float32(view.normal(1.12, 0.03)) * np.array([0.95, 1.0, 1.06], np.float32)
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    corners = np.clip((1.28 - np.hypot(x, y)) * 14, 0, 1)[..., None]
    shade = np.clip(rgb * corners * 255, 0, 255).astype(np.uint8)
    return np.asarray(mark(Image.fromarray(shade), at=(WIDTH // 2 - 28, HEIGHT - 16)))
