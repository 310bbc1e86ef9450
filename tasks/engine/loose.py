"""Read the loose entries that the program's first version wrote instead of a ledger's chain.

``ledger/sides/<number>.parquet`` holds the id that decided the side of each image.
``ledger/evaluations/*.json`` holds which model was judged on which images. Neither has a checksum.
So their facts are taken over with the hash of each file, and a fact about an image is believed only
if a split of this store confirms it.
"""

import io
import json
import logging
from typing import Any

import pandas as pd

from tasks.engine.judged import DIGITS, Judged, as_lists, judged_of
from tasks.engine.spreadsheet import csv_of
from tasks.engine.store import EVALUATIONS, SIDES, Store
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256

log = logging.getLogger(__name__)


def taken_over(store: Store, files: dict[str, bytes]) -> dict[str, Any]:
    """The content of an adoption: the hash of every loose entry, and their facts.

    Args:
        store: Store with the runs that the entries name.
        files: Content of each loose entry, by its key.

    Raises:
        Corrupt: An entry is missing or cannot be read.
    """
    sides = {key: data for key, data in files.items() if key.startswith(SIDES)}
    judged = {key: data for key, data in files.items() if key.startswith(EVALUATIONS)}
    register, borne_out = _decided(sides), _as_proven(store)
    decided = sorted(pair for pair in register.items() if pair in borne_out)
    if len(decided) < len(register):
        log.warning(
            "Of %d images in the register of sides, %d are not believed: no split of this store "
            "put them on their side by an id of theirs. They are put on a side anew.",
            len(register), len(register) - len(decided),
        )  # fmt: skip
    return {
        "found": {key: sha256(data) for key, data in sorted(files.items())},
        "decided": [list(pair) for pair in decided],
        "not_believed": len(register) - len(decided),
        "evaluations": [_evaluation(store, key, data) for key, data in sorted(judged.items())],
    }


def _decided(sides: dict[str, bytes]) -> dict[str, str]:
    wanted = [f"{SIDES}{number:06d}.parquet" for number in range(1, len(sides) + 1)]
    if sorted(sides) != wanted:
        raise _damaged(f"entries {', '.join(sorted(sides))}")
    register: dict[str, str] = {}
    for key in wanted:
        try:
            rows = pd.read_parquet(io.BytesIO(sides[key]))
            named = zip(rows["image_id"].map(str), rows["decided_by"].map(str), strict=True)
        except (ValueError, OSError, KeyError) as error:  # pyarrow's own errors are of these
            raise _damaged(f"{key}, which cannot be read ({error})") from error
        register = dict(named) | register  # the earliest entry counts
    return register


def _as_proven(store: Store) -> set[tuple[str, str]]:
    """Pairs of an image id and the id of that image by which a split of this store decided."""
    proven: set[tuple[str, str]] = set()
    for entry in store.list("runs/"):
        if entry.key.count("/") != 3 or not entry.key.endswith("/split/record.json"):
            continue
        try:
            record = json.loads(store.read(entry.key))
            proof = store.read(record["proof"]["key"])
            if sha256(proof) != record["proof"]["sha256"]:
                raise ValueError("its proof is another one")
            rows = csv_of(proof)
            own = [rows[name] for name in ("image_id", "lesion_id", "patient_id") if name in rows]
            fits = pd.concat([column == rows["decided_by"] for column in own], axis=1).any(axis=1)
        except (BadInput, ValueError, KeyError, TypeError) as error:
            log.warning("%s says nothing about sides: %s", entry.key, error)
            continue
        proven |= set(zip(rows["image_id"][fits], rows["decided_by"][fits], strict=True))
    return proven


def _evaluation(store: Store, key: str, data: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(data)
        run, model = str(entry["run"]), str(entry["model_sha256"])
        pixels = {str(each) for each in entry["images"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(f"{key}, which cannot be read ({type(error).__name__})") from error
    images = _as_split(store, run, pixels) or [
        Judged("", each, "", None, None, "") for each in sorted(pixels)
    ]
    part = key.removeprefix(EVALUATIONS).partition("-")[0]
    return {"run": run, "model_sha256": model, "test_part": part, "images": as_lists(images)}


def _as_split(store: Store, run: str, pixels: set[str]) -> list[Judged]:
    """The images as the run's own split described them; none if that split is gone."""
    try:
        record = json.loads(store.read(f"runs/{run}/split/record.json"))
        parts = store.read(record["parts"]["key"])
        if sha256(parts) != record["parts"]["sha256"]:
            raise ValueError("its table of parts is another one")
        frame = pd.read_parquet(io.BytesIO(parts))
        test = frame[frame["side"] == "test"]
        return judged_of(test[test["pixel_hash"].str[:DIGITS].isin(pixels)])
    except (BadInput, ValueError, KeyError, TypeError, OSError) as error:
        log.warning("What run %s was judged on is known by its pixels only: %s", run, error)
        return []


def _damaged(received: str) -> Corrupt:
    return Corrupt(
        "The ledger of this store's first version is damaged.",
        expected=f"every entry under {SIDES}, from 000001.parquet on, and under {EVALUATIONS}, as "
        "it was written",
        received=received,
        do="restore the folder ledger/ of the store from a backup, whole",
    )
