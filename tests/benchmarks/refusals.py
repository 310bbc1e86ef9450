"""What the judge of images refuses: sound images, and kinds that should be refused.

    .venv/bin/python -m tests.benchmarks.refusals DATA [--photographs FOLDER] [--elsewhere]

DATA holds the folders ``isic9``, ``isic2017`` and ``metadata``, and ``ph2`` for ``--elsewhere``. A
judge is fit on three quarters of ``isic9/Train``, its limits are set on the other quarter; lesions
are not divided. The sound images are those of ``isic9/Test`` and ``isic2017`` whose lesions are not
in ``isic9/Train``. Each kind that should be refused is made of images of ``isic9/Test``. FOLDER
holds more photographs; crops of each photograph are counted. ``--elsewhere`` also asks about
``ph2``, which is looked at, and on which nothing is chosen.
"""

import argparse
import hashlib
import platform
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.answerable import Answerable
from tasks.evaluation.fit_answerable import Material, fit, material_of
from tasks.evaluation.refusal_kinds import (
    EACH,
    WITHOUT_IMAGES,
    Kind,
    crops,
    kinds_of,
    opened,
    resized,
)
from tasks.evaluation.refusals import refused_kind
from tasks.evaluation.unsound import UNSOUND, unsound
from tasks.figures import percent
from tasks.intake.images import Decoded, decode
from tasks.lesions import image_id_from
from tasks.statistics.proportions import proportion

Array = np.ndarray[Any, Any]

SIDE = 180  # of the packed pixels


@dataclass(frozen=True)
class Images:
    """Images with their ids and lesions.

    Attributes:
        pixels: uint8 ``(n, SIDE, SIDE, 3)``.
        names: Ids of the images.
        widths, heights: Of the images as they came.
        melanoma: Whether each is labelled melanoma.
    """

    pixels: Array
    names: Array
    widths: Array
    heights: Array
    melanoma: Array

    def where(self, kept: Array) -> "Images":
        return Images(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))


def read(paths: list[Path], melanomas: set[str]) -> Images:
    """Decode files, the first of each id; what cannot be decoded is left out and told."""
    found: dict[str, Decoded] = {}
    for path in paths:
        name = image_id_from(path.name)
        if name not in found:
            decoded = decode(path.read_bytes(), packed_px=SIDE, maximum_megapixels=64)
            if isinstance(decoded, Decoded):
                found[name] = decoded
            else:
                print(f"left out: {path.name}: {decoded.reason}")
    every = list(found.values())
    return Images(
        np.stack([each.pixels for each in every]),
        np.array(list(found)),
        np.array([each.width for each in every]),
        np.array([each.height for each in every]),
        np.array([name in melanomas for name in found]),
    )


def lesions_of(data: Path) -> dict[str, str]:
    """The lesion of each image for which a table names one."""
    found: dict[str, str] = {}
    for name, column in (
        ("ISIC_2019_Training_Metadata.csv", "image"),
        ("HAM10000_metadata.csv", "image_id"),
    ):
        table = pd.read_csv(data / "metadata" / name, dtype="str").dropna(subset=["lesion_id"])
        found |= dict(zip(table[column], table["lesion_id"], strict=True))
    return {name.removesuffix("_downsampled"): lesion for name, lesion in found.items()}


def share_of(text: str) -> float:
    """A number from 0 to 1 that depends on nothing but the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))


@dataclass(frozen=True)
class Sound:
    """Images that should be answered about."""

    training: Images
    validation: Images
    others: dict[str, Images]


def sound_images(data: Path, elsewhere: bool) -> Sound:
    lesions = lesions_of(data)
    folders = {part: files(data / "isic9" / part) for part in ("Train", "Test")}
    melanomas = {
        image_id_from(path.name)
        for paths in folders.values()
        for path in paths
        if path.parent.name == "melanoma"
    }
    for name in ("isic2017", "ph2"):
        table = pd.read_csv(data / name / "labels.csv", dtype="str")
        melanomas |= set(table.loc[table["diagnosis"] == "melanoma", "image_id"])

    def lesion(names: Array) -> Array:
        return np.array([lesions.get(str(name), str(name)) for name in names])

    learned = read(folders["Train"], melanomas)
    known = set(lesion(learned.names))
    shares = np.array([share_of(each) for each in lesion(learned.names)])
    others = {"isic9/Test": read(folders["Test"], melanomas)}
    others["isic2017"] = read(files(data / "isic2017" / "images"), melanomas)
    for name, images in others.items():
        kept = ~np.isin(lesion(images.names), list(known))
        print(f"{name}: {len(kept)} images, {kept.sum()} of lesions that are not in isic9/Train")
        others[name] = images.where(kept)
    if elsewhere:
        others["ph2 (another hospital)"] = read(files(data / "ph2" / "images"), melanomas)
    return Sound(learned.where(shares < 0.75), learned.where(shares >= 0.75), others)


def skin_of(folder: Path) -> Kind | None:
    """Skin beside lesions at full sharpness: of each full-size image, the two corners, a third of
    the height wide, that spread least; black corners of the dermatoscope are left out."""
    found = []
    for path in files(folder):
        image = opened(path)
        size = image.shape[0] // 3
        corners = [
            image[a, b]
            for a in (np.s_[:size], np.s_[-size:])
            for b in (np.s_[:size], np.s_[-size:])
        ]
        light = [each for each in corners if np.quantile(each.mean(axis=-1), 0.02) > 60]
        light.sort(key=lambda each: float(each.std(axis=(0, 1)).sum()))
        found += [resized(each, SIDE) for each in light[:2]]
    if not found:
        return None
    pixels = np.stack(found)
    return Kind(
        "skin beside lesions, cut from full-size images",
        "derived from test images",
        True,
        pixels,
        np.full(len(pixels), 300),
    )


def photographs_of(folder: Path) -> list[Kind]:
    """Crops of the photographs in each folder of a folder."""
    found = []
    for number, inner in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        photographs = [opened(path) for path in sorted(inner.iterdir())]
        pixels = crops(photographs, SIDE, 2 * EACH, np.random.default_rng([3, number]))
        name = f"{inner.name} ({len(photographs)} pictures, crops)"
        found.append(Kind(name, "photographs", False, pixels, np.full(len(pixels), 400)))
    return found


def told_sound(judge: Answerable, name: str, images: Images) -> str:
    found = judge.judge(images.pixels, images.widths, images.heights)
    gone = np.array([bool(each) for each in found])
    of_all = proportion(int(gone.sum()), len(gone))
    melanomas = int((gone & images.melanoma).sum())
    grounds = Counter(ground for each in found for ground, _ in each)
    said = ", ".join(f"{ground} {count}" for ground, count in grounds.most_common())
    return (
        f"| {name} | {of_all.successes} of {of_all.n} | {percent(of_all.estimate, 1)} "
        f"({percent(of_all.lower, 1)} to {percent(of_all.upper, 1)}) | "
        f"{melanomas} of {int(images.melanoma.sum())} | {said} |"
    )


def told_kind(judge: Answerable, kind: Kind) -> str:
    found = refused_kind(judge, kind)
    grounds = ", ".join(f"{ground} {count}" for ground, count in found.grounds.items())
    missed = "" if (found.refused.estimate or 0) >= found.target else " **missed**"
    return (
        f"| {found.kind} | {found.origin} | {found.refused.successes} of {found.refused.n} | "
        f"{percent(found.at_least, 1)} | {percent(found.target)}{missed} | {grounds} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--elsewhere", action="store_true")
    asked = parser.parse_args()
    sound = sound_images(asked.data, asked.elsewhere)
    begun = time.perf_counter()
    material = material_of(sound.training.pixels)
    judge = fit(material, sound.validation.pixels)
    print(
        f"Fit on {len(material.sound)} of {len(sound.training.names)} images in "
        f"{time.perf_counter() - begun:.1f} s; {len(judge.to_bytes()) // 1000} kB; "
        f"{platform.machine()}"
    )
    tell_time(judge, sound.validation)
    print("\n| sound images | refused | share (95 % interval) | melanomas refused | grounds |")
    print("|---|---|---|---|---|")
    for name, images in {"validation part": sound.validation, **sound.others}.items():
        print(told_sound(judge, name, images))
    print("\n| kind | from | refused | at least (one-sided 95 %) | should be | grounds |")
    print("|---|---|---|---|---|---|")
    test = np.concatenate([sound.others[name].pixels for name in ("isic9/Test", "isic2017")])
    kinds = kinds_of(test)
    if asked.photographs:
        kinds = photographs_of(asked.photographs) + kinds
    skin = skin_of(asked.data / "fullsize")
    for kind in [*kinds, skin] if skin else kinds:
        print(told_kind(judge, kind))
    for name in WITHOUT_IMAGES:
        print(f"| {name} | | not measured | | | |")
    tell_left_out(material, sound.validation.pixels, test)


def tell_time(judge: Answerable, images: Images) -> None:
    """Milliseconds to judge one image, one after another."""
    took = []
    for number in range(200):
        one = images.where(np.arange(len(images.names)) == number % len(images.names))
        begun = time.perf_counter()
        judge.judge(one.pixels, one.widths, one.heights)
        took.append(1000 * (time.perf_counter() - begun))
    middle, high = np.quantile(took, [0.5, 0.99])
    print(f"One image: {middle:.1f} ms (median of {len(took)}), {high:.1f} ms (99 %)")


def tell_left_out(material: Material, validation: Array, test: Array) -> None:
    """Of each kind that the judge is fit on: what a judge refuses that was not fit on it."""
    print("\n| kind, left out of the fit | refused | with it |")
    print("|---|---|---|")
    full = fit(material, validation)
    for number, kind in enumerate(UNSOUND):
        judge = fit(material, validation, frozenset([kind]))
        rng = np.random.default_rng([5, number])
        _, pixels = unsound(kind, test, EACH, rng)
        sides = np.full(EACH, SIDE)
        hits = [sum(map(bool, each.judge(pixels, sides, sides))) for each in (judge, full)]
        print(f"| {kind} | {hits[0]} of {EACH} | {hits[1]} of {EACH} |")


if __name__ == "__main__":
    main()
