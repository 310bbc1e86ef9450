"""How often the drift test raises a false alarm, and which drifts it finds.

    python -m tests.benchmarks.drift_alarms IMAGES [--days 4000] [--trials 50] [--json OUT.json]

IMAGES is a folder with a folder for each diagnosis. Each image stands for a lesion; its label, with
a drawn melanoma probability, stands for the model's answer, and 5 % are refused.

**False alarms.** Each day, the images are dealt anew by chance: some for what the model learned
from, some for its test part, some for what the app is asked about. So there is no difference, and
each "drift" is a false alarm. **Dependent lesions**: the same, but what is asked about comes as
patients with three lesions that are the same in every figure, the worst that can be. Lesions come
in about 60 hours; those of a patient come in one.

**Drifts.** What is asked about is changed as another device, file format or case mix would change
it, all of it or 30 %. Counted is how often the test says drift, and names the cause.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import beta

from tasks.config import Retraining
from tasks.evaluation.descriptor import VERSION, descriptors_of
from tasks.evaluation.traces import ACQUISITION, acquisition_of
from tasks.intake.contents import pictures_of
from tasks.intake.folders import label_of
from tasks.intake.images import Decoded, Refused
from tasks.intake.pseudonyms import for_now
from tasks.lesions import MELANOMA, is_image
from tasks.monitoring import causes
from tasks.monitoring.compare import LEVEL
from tasks.monitoring.reference import Facts, Reference
from tasks.monitoring.watch import watched
from tasks.monitoring.watched import Watched
from tasks.records.record import Artifact

LEARNED, TESTED = 1000, 250  # images of the reference, and of the test part
ASKED = (100, 200)  # lesions that the app is asked about
HOURS = 60  # in which lesions come
PATIENT = 3  # lesions of a patient, where they are dependent
SHARE = 0.3  # of what is asked about, where a drift is of a part
PACKED = 180
CONFIG, NOBODY = Retraining(packed_size=PACKED), for_now()
UNTIL = datetime(2026, 11, 30, tzinfo=UTC)
NOTHING = Artifact(key="k", sha256="0" * 64, size_bytes=0)
Row = dict[str, Any]


def as_pixels(levels: np.ndarray) -> np.ndarray:
    return np.asarray(levels.clip(0, 255).astype(np.uint8))


def device(pixels: np.ndarray) -> np.ndarray:
    """Another lamp and another white balance, and a little less focus."""
    soft = gaussian_filter(pixels.astype(float), (0.7, 0.7, 0))
    return as_pixels(soft * [0.92, 1.0, 1.08] + [0, 0, 6])


def lamp(pixels: np.ndarray) -> np.ndarray:
    """5 % less red and 5 % more blue: about what two dermatoscopes of one maker differ by."""
    return as_pixels(pixels * np.array([0.95, 1.0, 1.05]))


def focus(pixels: np.ndarray) -> np.ndarray:
    return as_pixels(gaussian_filter(pixels.astype(float), (1.2, 1.2, 0)))


def compressed(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def converted(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


DEVICES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "another device": device,
    "another lamp": lamp,
    "less focus": focus,
}
FILES = {"JPEG of quality 60": compressed, "PNG": converted}
# What each drift should be taken for.
CAUSES = {
    "another device": causes.DEVICE,
    "another lamp": causes.DEVICE,
    "less focus": causes.DEVICE,
    "JPEG of quality 60": causes.PROCESSED,
    "PNG": causes.FILE,
    "melanomas three times as often": causes.CASES,
}


def decoded(data: bytes) -> Decoded | Refused:
    return pictures_of(data, CONFIG, NOBODY).each[0]


def described(image: Decoded) -> Row:
    """The figures of an image that a trace holds."""
    pixels = image.pixels[None]
    return {
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "encoding": image.encoding,
        **dict(zip(ACQUISITION, acquisition_of(pixels)[0].tolist(), strict=True)),
        "descriptor": descriptors_of(pixels)[0],
    }


def rows_of(path: Path) -> dict[str, Row] | None:
    """The figures of an image and of what each drift makes of it; None where it has no pixels."""
    image = decoded(path.read_bytes())
    if not isinstance(image, Decoded):
        return None
    found = {"": described(image)}
    for name, change in DEVICES.items():
        changed = Decoded(**vars(image) | {"pixels": change(image.pixels)})
        found[name] = described(changed)
    with Image.open(path, formats=["JPEG", "PNG"]) as opened:
        full = np.asarray(opened.convert("RGB"))
    for name, write in FILES.items():
        again = decoded(write(full))
        assert isinstance(again, Decoded)
        found[name] = described(again)
    return found


def pool_of(folder: Path, most: int, processes: int) -> dict[str, pd.DataFrame]:
    """A table of all images, and one of what each drift makes of them, in the same order."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and is_image(p.name))
    labels = {path: label_of(path.parent.name) for path in paths}
    known = [path for path in paths if labels[path]]
    draw = np.random.default_rng(1)
    some = [known[at] for at in np.sort(draw.permutation(len(known))[:most])]
    with ProcessPoolExecutor(processes) as pool:
        read = list(pool.map(rows_of, some, chunksize=16))
    kept = [(labels[path], row) for path, row in zip(some, read, strict=True) if row]
    named = np.array([label for label, _ in kept])
    melanoma = np.where(
        named == MELANOMA, draw.beta(5, 3, len(named)), draw.beta(1.5, 8, len(named))
    )
    answers = {"answered": named, "melanoma_probability": melanoma}
    answers["refused"] = draw.random(len(named)) < 0.05
    return {
        name: pd.DataFrame([row[name] for _, row in kept]).assign(**answers) for name in kept[0][1]
    }


def reference_of(rows: pd.DataFrame, tested: pd.DataFrame) -> Reference:
    facts = Facts(
        version=1,
        run="store/runs/first",
        model_sha256="a" * 64,
        threshold=0.4,
        packed_px=PACKED,
        descriptor_version=VERSION,
        lesions_learned=len(rows),
        encodings_known=True,
        refused=(int(tested["refused"].sum()), len(tested)),
        made="",
        learned=NOTHING,
        answered=NOTHING,
    )
    return Reference(facts, rows.reset_index(drop=True), tested.reset_index(drop=True))


def asked_about(rows: pd.DataFrame, patient: int, draw: np.random.Generator) -> pd.DataFrame:
    """Rows of the pool as traces, one lesion each; so many of each patient follow each other."""
    refused = rows["refused"].to_numpy()
    hours = np.repeat(draw.integers(0, HOURS, -(-len(rows) // patient)), patient)[: len(rows)]
    return rows.reset_index(drop=True).assign(
        hour=[f"2026-11-{20 + hour // 10}T{8 + hour % 10:02d}" for hour in hours],
        lesion=[f"{number:016x}" for number in range(len(rows))],
        model_sha256="a" * 64,
        packed_px=PACKED,
        descriptor_version=VERSION,
        answered=rows["answered"].reset_index(drop=True).mask(refused),
        melanoma_probability=np.where(refused, np.nan, rows["melanoma_probability"]),
        decision=np.where(refused, "cannot judge", "not melanoma"),
    )


def outcome(reference: Reference, rows: pd.DataFrame, number: int, patient: int = 1) -> Watched:
    """One test; `number` makes its draws its own."""
    until = UNTIL + timedelta(hours=number)
    traces = asked_about(rows, patient, np.random.default_rng([9, number]))
    return watched(reference, traces, since=until - timedelta(days=7), until=until)


def dealt(
    pool: pd.DataFrame, asked: int, draw: np.random.Generator
) -> tuple[Reference, np.ndarray]:
    """A reference, and the places of so many other images, all by chance."""
    order = draw.permutation(len(pool))
    learned, tested, new = np.split(order[: LEARNED + TESTED + asked], [LEARNED, LEARNED + TESTED])
    return reference_of(pool.iloc[learned], pool.iloc[tested]), new


def quiet_day(pool: pd.DataFrame, asked: int, patient: int, number: int) -> tuple[str, list[str]]:
    """The answer of a test of a day without drift, and the figures that moved."""
    draw = np.random.default_rng([7, asked, patient, number])
    reference, new = dealt(pool, asked // patient, draw)
    found = outcome(reference, pool.iloc[np.repeat(new, patient)], number, patient)
    return found.verdict, [each.figure for each in found.figures if each.drifted]


def drifted_rows(
    pool: dict[str, pd.DataFrame], name: str, share: float, asked: int, number: int
) -> tuple[Reference, pd.DataFrame]:
    """A reference, and what the app is asked about under a drift, of which a share is changed."""
    draw = np.random.default_rng([8, asked, int(100 * share), number])
    usual = pool[""]
    reference, new = dealt(usual, len(usual) - LEARNED - TESTED, draw)
    if name in pool:
        changed = round(share * asked)
        parts = [pool[name].iloc[new[:changed]], usual.iloc[new[changed:asked]]]
        return reference, pd.concat(parts)
    melanoma = (usual["answered"] == MELANOMA).to_numpy()
    wanted = min(0.9, 3 * melanoma.mean()) * share + melanoma.mean() * (1 - share)
    count = min(round(wanted * asked), int(melanoma[new].sum()))
    chosen = [new[melanoma[new]][:count], new[~melanoma[new]][: asked - count]]
    return reference, usual.iloc[np.concatenate(chosen)]


def drifted_day(
    pool: dict[str, pd.DataFrame], name: str, share: float, asked: int, number: int
) -> tuple[str, tuple[str, ...]]:
    """The answer of a test of a day with a drift, and the causes that it names."""
    reference, rows = drifted_rows(pool, name, share, asked, number)
    # Else all that is changed would come first, in hours of its own.
    mixed = rows.iloc[np.random.default_rng([10, number]).permutation(len(rows))]
    found = outcome(reference, mixed, number)
    return found.verdict, found.causes


def false_alarms(pool: pd.DataFrame, days: int, processes: int) -> list[Row]:
    rows = []
    for asked, patient in [*((each, 1) for each in ASKED), (ASKED[0], PATIENT)]:
        day = partial(quiet_day, pool, asked, patient)
        with ProcessPoolExecutor(processes) as workers:
            said = list(workers.map(day, range(days), chunksize=25))
        alarms = sum(verdict == "drift" for verdict, _ in said)
        figures = Counter(figure for _, moved in said for figure in moved)
        rows.append(
            {
                "lesions": asked,
                "lesions of a patient": patient,
                "days": days,
                "false alarms": alarms,
                "a year": 365 * alarms / days,
                "at most, 95 %": 365 * float(beta.ppf(0.95, alarms + 1, days - alarms)),
                "answers": dict(Counter(verdict for verdict, _ in said)),
                "figures": dict(figures),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def drifts(pool: dict[str, pd.DataFrame], trials: int, processes: int) -> list[Row]:
    rows = []
    for name, cause in CAUSES.items():
        for share in (1.0, SHARE):
            for asked in ASKED:
                day = partial(drifted_day, pool, name, share, asked)
                with ProcessPoolExecutor(processes) as workers:
                    said = list(workers.map(day, range(trials), chunksize=5))
                named = Counter("; ".join(causes_found) for _, causes_found in said)
                rows.append(
                    {
                        "drift": name,
                        "share": share,
                        "lesions": asked,
                        "trials": trials,
                        "found": sum(verdict == "drift" for verdict, _ in said),
                        "cause named": sum(cause in found for _, found in said),
                        "causes": dict(named),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--days", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--most", type=int, default=2400, help="images of the pool")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pool = pool_of(given.images, given.most, given.processes)
    print(f"{len(pool[''])} images; level {LEVEL:.5f} a test", flush=True)
    result = {
        "images": len(pool[""]),
        "level": LEVEL,
        "false alarms": false_alarms(pool[""], given.days, given.processes),
        "drifts": drifts(pool, given.trials, given.processes),
    }
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
