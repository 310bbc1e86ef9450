"""Planted shortcuts are found, and sound deliveries do not alarm: 100 draws of each.

On drawn lesions, and on real ones if `SHORTCUT_IMAGES` names a folder that holds the nine-class
set's ``Train``. Real ones are those of one archive, ISIC without HAM10000, because the archive
itself tells melanoma in this set. Images under two labels are left out. Labels are the real ones,
and, in the rows "permuted", dealt out anew in each draw, so that nothing but the mark can tell.
"""

import io
import os
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.intake.drawn_lesions import KINDS, draw
from tasks.lesions import MELANOMA, Diagnosis, image_id_from, source_from
from tests.support.campaigns import found
from tests.support.planted_shortcuts import MARKS, Images, Mark, images_of

Array = np.ndarray[Any, Any]

DRAWS = int(os.environ.get("DRAWS", "100"))
LESIONS = (100, 200)  # of melanoma, and of the others, in each draw
ENOUGH = 200  # from here on, 95 of 100 planted shortcuts must be found; fewer are told of only
REAL = os.environ.get("SHORTCUT_IMAGES")


@dataclass(frozen=True)
class Kept:
    """Pixels, uint8 ``(n, 180, 180, 3)``, and which of them show a melanoma."""

    pixels: Array
    melanoma: Array


@cache
def drawn_lesions() -> Kept:
    """Half of them melanomas, the others in the shares of the drawn set."""
    rng = np.random.default_rng(1)
    others: list[Diagnosis] = [name for name in KINDS if name != MELANOMA]
    weights = np.array([KINDS[name].images for name in others], float)
    labels = [MELANOMA] * 320 + list(rng.choice(others, 320, p=weights / weights.sum()))
    pixels = np.stack([draw(name, *rng.spawn(2)) for name in labels])
    return Kept(pixels, np.array(labels) == MELANOMA)


@cache
def real_lesions() -> Kept:
    files = sorted(Path(str(REAL)).glob("*/*.jpg"))
    named = [(image_id_from(file.name), file) for file in files]
    own = [each for each in named if source_from(each[0]) == "ISIC, not HAM10000"]
    folders = Counter(name for name, _ in own)
    once = [file for name, file in own if folders[name] == 1]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(each.read_bytes()))) for each in once])
    return Kept(pixels, np.array([each.parent.name == MELANOMA for each in once]))


@cache
def marked(lesions: str, mark: Mark) -> Images:
    kept = drawn_lesions() if lesions == "drawn" else real_lesions()
    names = pd.Series(np.arange(len(kept.pixels)).astype(str))
    return images_of(kept.pixels, kept.melanoma, names, mark)


def alarms(images: Images, n: int, *, of_others: float, of_melanomas: float, deal: bool) -> int:
    count = 0
    for number in range(DRAWS):
        rng = np.random.default_rng(number)
        dealt = replace(images, melanoma=rng.permutation(images.melanoma)) if deal else images
        count += dealt.asked(rng, n, of_others=of_others, of_melanomas=of_melanomas)
    return count


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("lesions", ["drawn", "real", "real, permuted"])
@pytest.mark.parametrize("n", LESIONS)
def test_a_planted_shortcut_is_found_and_a_sound_delivery_does_not_alarm(
    n: int, lesions: str, mark: Mark
) -> None:
    if lesions != "drawn" and not REAL:
        pytest.skip("SHORTCUT_IMAGES names no folder of the nine-class set")
    images, deal = marked(lesions.partition(",")[0], mark), "permuted" in lesions
    planted = alarms(images, n, of_others=0.2, of_melanomas=1, deal=deal)
    sound = alarms(images, n, of_others=0.4, of_melanomas=0.4, deal=deal)
    figures = {"draws": DRAWS, "found where planted": planted, "alarms where sound": sound}
    found("shortcuts", {f"{mark}, {lesions} lesions, {n} melanomas and {n} others": figures})
    assert n < ENOUGH or planted >= 0.95 * DRAWS
    assert sound <= 0.05 * DRAWS
