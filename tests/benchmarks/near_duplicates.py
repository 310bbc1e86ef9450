"""How many altered copies of real images the search finds, what it invents, and what it costs.

    python -m tests.benchmarks.near_duplicates kinds IMAGES [METADATA] [--peer PYTHON]
    python -m tests.benchmarks.near_duplicates pairs IMAGES METADATA
    python -m tests.benchmarks.near_duplicates growth IMAGES [--most 100000]

``kinds`` alters a sample in each way of `tests.support.copies` and looks for each copy among the
images as they are. PYTHON is the interpreter of an environment with cleanvision, which looks at the
same files. ``pairs`` searches the images as they are: METADATA are tables whose lesion_id says
which pairs are of one lesion and which are of two. Then one image of each lesion gets the same
ruler, stamp, corners or frame. ``growth`` draws ever larger sets from the features of the images.

All but ``growth`` ask `tasks.intake.looking_alike`, as validate does. ``--without FOLDER`` leaves
out what lies there too, such as images that limits were chosen on.
"""

import argparse
import json
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tasks.config import Retraining
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.intake.copies import confirmed, measured, proposed
from tasks.intake.feature_files import FOLDER as FEATURES
from tasks.intake.images import PACKING, squeezed, thumbnail_of
from tasks.intake.kept_features import features_at
from tasks.intake.local_features import MOST, LocalFeatures, features_of
from tasks.intake.looking_alike import alike_among, are_copies, look_like_one_lesion
from tasks.intake.manifest import to_npy
from tasks.lesions import IMAGE_SUFFIXES, image_id_from
from tasks.records.record import sha256
from tasks.statistics.proportions import proportion, upper_bound
from tests.support.copies import COPIES, Alteration
from tests.support.marks import MARKS

Array = np.ndarray[Any, Any]
PACKED_PX = 180
IN_SHARD = 1000
FIRST_OF_GROWTH = 2000
AS_THEY_ARE = "as they are"

# Cleanvision's own choice of hashes; each set is of files that one hash cannot tell apart.
PEER = """
import json, sys
from cleanvision import Imagelab
lab = Imagelab(data_path=sys.argv[1])
lab.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, n_jobs=1, verbose=False)
print(json.dumps([*lab.info["near_duplicates"]["sets"], *lab.info["exact_duplicates"]["sets"]]))
"""


class Timed:
    """Wall and processor time in seconds, of what a ``with`` block does."""

    wall = processor = 0.0


@contextmanager
def timed() -> Iterator[Timed]:
    told, wall, processor = Timed(), time.perf_counter(), time.process_time()
    yield told
    told.wall, told.processor = time.perf_counter() - wall, time.process_time() - processor


@contextmanager
def stored() -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as folder:
        yield Run(open_store(f"{folder}/store"), "near-duplicates", Retraining(), "validate")


def rows_of(run: Run, images: list[Image.Image], names: list[str]) -> pd.DataFrame:
    """The images packed into the store as ingest does, with what the search reads of them."""
    found = []
    for start in range(0, len(images), IN_SHARD):
        pixels = [
            squeezed(np.ascontiguousarray(each.convert("RGB")), PACKED_PX, PACKING)
            for each in images[start : start + IN_SHARD]
        ]
        shard = run.share("shards", to_npy(pixels), ".npy")
        found += [
            {
                "key": name,
                "shard": shard.key,
                "shard_sha256": shard.sha256,
                "index": index,
                "pixel_hash": sha256(each.tobytes()),
                "thumbnail": thumbnail_of(each)[0],
            }
            for index, (name, each) in enumerate(
                zip(names[start : start + IN_SHARD], pixels, strict=True)
            )
        ]
    return pd.DataFrame(found)


def lesions_of(files: list[Path], metadata: Path | None) -> dict[str, str]:
    """The lesion of each file, by name, as far as the tables know one."""
    known: dict[str, str] = {}
    for table in sorted(metadata.glob("*.csv")) if metadata else []:
        frame = pd.read_csv(table)
        if "lesion_id" in frame:
            images = frame["image" if "image" in frame else "image_id"]
            told = frame.assign(image=images).dropna(subset=["lesion_id"])
            known |= dict(zip(told["image"], told["lesion_id"], strict=True))
    ids = {str(file): image_id_from(str(file)) for file in files}
    return {name: known[each] for name, each in ids.items() if each in known}


def of_two_lesions(pairs: pd.DataFrame, lesions: dict[str, str]) -> pd.DataFrame:
    """The pairs of which the tables name two lesions."""
    one, two = pairs["first"].map(lesions), pairs["second"].map(lesions)
    return pairs[one.notna() & two.notna() & (one != two)]


def in_words(found: int, n: int) -> str:
    """A share with its n and its exact interval."""
    told = proportion(found, n)
    low, high = 100 * told.lower, 100 * told.upper
    return f"{found} of {n}, {100 * found / max(n, 1):.1f} % ({low:.1f} to {high:.1f})"


def per_thousand(found: int, n: int) -> str:
    """So many in 1,000, with the exact one-sided bound."""
    return f"{1000 * found / n:.2f} in 1,000 (at most {1000 * upper_bound(found, n):.2f})"


# Kinds of copies ------------------------------------------------------------------------------


def tell_kinds(chosen: argparse.Namespace, files: list[Path], images: list[Image.Image]) -> None:
    lesions = lesions_of(files, chosen.metadata)
    some = random.Random(chosen.seed).sample(range(len(images)), min(chosen.number, len(images)))
    with stored() as run:
        known = rows_of(run, images, [str(each) for each in files])
        every = alike_among(run, known, np.ones(len(known), bool))
        before = set(every[["first", "second"]].itertuples(index=False, name=None))
        peer = _by_peer(chosen.peer, images, some) if chosen.peer else {}
        print(
            f"\n{len(some)} copies of each kind among {len(images)} images\n"
            "| copies | cleanvision | thumbnails | local features | found | called a copy |\n"
            "|---|---|---|---|---|---|"
        )
        invented: list[tuple[str, str]] = []
        for name, alter in _strengths():
            told, pairs = _kind(run, known, images, some, alter)
            # A copy is called like its original, with a mark in front.
            ends = pairs[["first", "second"]].apply(lambda each: each.str.removeprefix("copy "))
            wrong = of_two_lesions(ends, lesions)[["first", "second"]]
            invented += [
                each
                for each in wrong.itertuples(index=False, name=None)
                if not {each, each[::-1]} & before
            ]
            cells = [f"{peer[name] / len(some):.1%}" if peer else "-"]
            cells += [f"{each / len(some):.1%}" for each in told[:2]]
            cells += [in_words(told[2], len(some)), f"{told[3] / len(some):.1%}"]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        number = len(some) * len(list(_strengths()))
        print(
            f"{len(invented)} pairs of a copy with another lesion, "
            f"{per_thousand(len(invented), number)} copies"
        )


def _strengths() -> Iterator[tuple[str, Alteration]]:
    for kind, strengths in COPIES.items():
        for strength, alter in strengths.items():
            yield f"{kind}, {strength}", alter


def _kind(
    run: Run, known: pd.DataFrame, images: list[Image.Image], some: list[int], alter: Alteration
) -> tuple[list[int], pd.DataFrame]:
    """How many copies thumbnails, local features, and both find, how many are confirmed; and all
    pairs of a copy with anything but its own original."""
    names = [f"copy {known['key'].iloc[each]}" for each in some]
    copied = rows_of(run, [alter(images[each]) for each in some], names)
    both = pd.concat([known, copied], ignore_index=True)
    # From the side of the copies alone; validate looks from both.
    pairs = alike_among(run, both, np.arange(len(both)) >= len(known))
    own = dict(zip(names, known["key"].iloc[some], strict=True))
    true = (pairs["second"].map(own) == pairs["first"]) | (
        pairs["first"].map(own) == pairs["second"]
    )
    right = pairs[true]
    sure = are_copies(right) | right["correlation"].notna()
    told = [
        right["correlation"].notna().sum(), right["inliers"].notna().sum(), len(right), sure.sum(),
    ]  # fmt: skip
    return [int(each) for each in told], pairs[~true]


def _as_it_is(image: Image.Image) -> Image.Image:
    return image


def _by_peer(python: Path, images: list[Image.Image], some: list[int]) -> dict[str, int]:
    """How many copies of each kind cleanvision puts into one set with their original."""
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, tuple[str, int]] = {}
        for name, alter in (("", _as_it_is), *_strengths()):
            for each in range(len(images)) if not name else some:
                path = f"{folder}/{len(files)}.png"
                alter(images[each]).save(path, compress_level=1)
                files[path] = name, each
        asked = [str(python), "-c", PEER, folder]
        said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    found: dict[str, set[int]] = {name: set() for name, _ in _strengths()}
    for alike in json.loads(said.splitlines()[-1]):
        told = [files[path] for path in alike]
        originals = {each for name, each in told if not name}
        for name, each in told:
            if name and each in originals:
                found[name].add(each)
    return {name: len(each) for name, each in found.items()}


# Images as they are ---------------------------------------------------------------------------


def tell_pairs(chosen: argparse.Namespace, files: list[Path], images: list[Image.Image]) -> None:
    names, lesions = [str(each) for each in files], lesions_of(files, chosen.metadata)
    with stored() as run:
        rows = rows_of(run, images, names)
        every = np.ones(len(rows), bool)
        with timed() as described:
            features_at(run, rows)
        with timed() as searched:
            pairs = alike_among(run, rows, every)
        with timed() as again:
            alike_among(run, rows, every)
        kept = sum(each.size_bytes for each in run.store.list(FEATURES))
    print(
        f"{len(rows)} images: features {described.wall:.1f} s, {described.processor:.1f} s of "
        f"processor time, {1000 * described.processor / len(rows):.1f} ms and "
        f"{kept / len(rows) / 1000:.1f} kB an image; search {searched.wall:.1f} s, "
        f"{searched.processor:.1f} s of processor time; again {again.wall:.1f} s"
    )
    _tell_known(rows, pairs, lesions)
    _tell_marked(images, names, lesions, chosen)


def _tell_known(rows: pd.DataFrame, pairs: pd.DataFrame, lesions: dict[str, str]) -> None:
    """What the tables say of the pairs that are found, and of those that could be."""
    known = rows[rows["key"].isin(lesions.keys())]
    wrong = of_two_lesions(pairs, lesions)
    print(
        f"{len(pairs)} pairs. Of {len(known)} images the lesion is known; pairs of two lesions: "
        f"{len(wrong)}, {per_thousand(len(wrong), len(known))} images; "
        f"{are_copies(wrong).sum()} called copies"
    )
    for one, two in wrong[["first", "second"]].itertuples(index=False, name=None):
        print(f"  {Path(one).name} of {lesions[one]}, {Path(two).name} of {lesions[two]}")
    facts = known.assign(
        lesion=known["key"].map(lesions), image=[image_id_from(each) for each in known["key"]]
    )[["key", "lesion", "image", "pixel_hash"]]
    both = facts.merge(facts, on="lesion")
    both = both[both["key_x"] < both["key_y"]]
    others = both[
        (both["image_x"] != both["image_y"]) & (both["pixel_hash_x"] != both["pixel_hash_y"])
    ]
    ends = pd.DataFrame(np.sort(pairs[["first", "second"]].to_numpy(str), axis=1), pairs.index)
    found = others.merge(
        pairs.assign(key_x=ends[0].astype("str"), key_y=ends[1].astype("str")),
        on=["key_x", "key_y"],
    )
    copies = (~look_like_one_lesion(found)).sum()
    print(
        f"second photographs of one lesion: {in_words(len(found), len(others))} look alike; "
        f"{in_words(int(copies), len(others))} are called copies"
    )


def _tell_marked(
    images: list[Image.Image],
    names: list[str],
    lesions: dict[str, str],
    chosen: argparse.Namespace,
) -> None:
    """What is found among images of different lesions that carry the same mark."""
    first = {lesions[name]: at for at, name in reversed(list(enumerate(names))) if name in lesions}
    places = sorted(first.values())
    places = sorted(random.Random(chosen.seed).sample(places, min(chosen.marked, len(places))))
    plain: set[tuple[str, str]] = set()
    for mark, alter in {AS_THEY_ARE: _as_it_is, **MARKS}.items():
        with stored() as run:
            rows = rows_of(run, [alter(images[at]) for at in places], [names[at] for at in places])
            pairs = alike_among(run, rows, np.ones(len(rows), bool))
        found = set(pairs[["first", "second"]].itertuples(index=False, name=None))
        plain = plain or found
        new = found - plain if mark != AS_THEY_ARE else found
        sure = int(are_copies(pairs).sum())
        print(
            f"one image each of {len(places)} lesions, {mark}: {len(new)} pairs"
            f"{' more' if mark != AS_THEY_ARE else ''}, {per_thousand(len(new), len(places))} "
            f"images; {sure} called copies",
            flush=True,
        )


# Growth ---------------------------------------------------------------------------------------


def drawn_from(features: LocalFeatures, number: int, seed: int = 1) -> LocalFeatures:
    """Features of so many pictures that share none, as dense among each other as real ones.

    Each feature of a picture is drawn from all real ones; noise as wide as each of its numbers
    scatters is added, so that it is no copy of the real one (the correlation is the square root of
    one half); its place stays. What lies together in a real picture comes apart.
    """
    draw = np.random.default_rng(seed)
    width = features.codes.std(axis=0).astype(np.float32)
    codes = np.empty((number * MOST, features.codes.shape[1]), np.int8)
    places = np.empty((number * MOST, 4), np.uint8)
    for start in range(0, len(codes), 200_000):
        of = draw.integers(len(features.codes), size=min(200_000, len(codes) - start))
        noise = draw.standard_normal((len(of), len(width)), np.float32) * width
        drawn = (features.codes[of] + noise) / np.sqrt(2)  # as wide as the real ones again
        codes[start : start + len(of)] = np.clip(np.round(drawn), -128, 127)
        places[start : start + len(of)] = features.places[of]
    return LocalFeatures(np.full(number, MOST), codes, places)


def tell_growth(chosen: argparse.Namespace, files: list[Path], images: list[Image.Image]) -> None:
    pixels = [squeezed(np.ascontiguousarray(each), PACKED_PX, PACKING) for each in images]
    real = features_of(np.stack(pixels))
    print(
        "| pictures | candidates, processor s | exponent | pairs compared | processor s | peak MB |"
    )
    print("|---|---|---|---|---|---|")
    before: tuple[int, float] | None = None
    numbers = [FIRST_OF_GROWTH * 4**power for power in range(10)]
    for number in sorted({*(each for each in numbers if each < chosen.most), chosen.most}):
        features = drawn_from(real, number)
        with timed() as sought:
            asked = proposed(features)
        with timed() as compared:
            found = confirmed(measured(features, asked))
        exponent = (
            f"{np.log(sought.processor / before[1]) / np.log(number / before[0]):.2f}"
            if before
            else ""
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {number:,} | {sought.processor:.1f} | {exponent} | {len(asked):,} | "
            f"{compared.processor:.1f} | {peak:,.0f} |"
            + (f" {len(found)} found" if len(found) else ""),
            flush=True,
        )
        before = number, sought.processor


TELLS: dict[str, Callable[[argparse.Namespace, list[Path], list[Image.Image]], None]] = {
    "kinds": tell_kinds,
    "pairs": tell_pairs,
    "growth": tell_growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=TELLS)
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path, nargs="?")
    parser.add_argument("--without", type=Path, help="leave out images that lie here too")
    parser.add_argument("--of", type=int, help="take only so many images, drawn by the seed")
    parser.add_argument("--number", type=int, default=300, help="images to alter")
    parser.add_argument("--marked", type=int, default=500, help="images to mark")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer", type=Path, help="Python of an environment with cleanvision")
    parser.add_argument("--most", type=int, default=32_000, help="pictures of the largest set")
    chosen = parser.parse_args()
    there = _images_below(chosen.without) if chosen.without else []
    ids = {image_id_from(str(each)) for each in there}
    files = [each for each in _images_below(chosen.images) if image_id_from(str(each)) not in ids]
    if chosen.of and chosen.of < len(files):
        files = sorted(random.Random(chosen.seed).sample(files, chosen.of))
    TELLS[chosen.what](chosen, files, [Image.open(each).convert("RGB") for each in files])


def _images_below(folder: Path) -> list[Path]:
    return sorted(each for each in folder.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES)


if __name__ == "__main__":
    main()
