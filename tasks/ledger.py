"""The ledger of evaluations: which models were judged on which test images.

Whoever tries many models on one test part finds one that passes by chance. So each evaluation
leaves an entry, created once and never rewritten, before the test part is looked at:
``ledger/evaluations/<test part>-<model>.json``.
"""

import json
from contextlib import suppress

import pandas as pd

from tasks.errors import AlreadyExists
from tasks.run import Run, sha256
from tasks.storage import read_many

FOLDER = "ledger/evaluations/"
# A test part grows with each delivery: it is the same one as long as half of it is.
SAME = 0.5
DIGITS = 12  # of an image's hash in an entry: 48 bits tell a million images apart


def hash_of_test_part(test: pd.DataFrame) -> str:
    """SHA-256 over the images of a test part and their labels, in any order.

    Args:
        test: Rows with ``image_id``, ``pixel_hash`` and ``label``.
    """
    rows = test[["image_id", "pixel_hash", "label"]].astype(str).agg("\t".join, axis=1)
    return sha256("\n".join(sorted(rows)).encode())


def enter_evaluation(run: Run, test: pd.DataFrame, model_sha256: str) -> None:
    """Write down that a model is about to be judged on these images."""
    entry = {"run": run.name, "model_sha256": model_sha256, "images": sorted(_images(test))}
    key = f"{FOLDER}{hash_of_test_part(test)[:16]}-{model_sha256[:16]}.json"
    with suppress(AlreadyExists):  # the same model on the same images is the same look
        run.store.create(key, json.dumps(entry).encode())


def earlier_evaluations(run: Run, test: pd.DataFrame, model_sha256: str) -> int:
    """How many other models were judged on at least half of these images."""
    images = _images(test)
    keys = [entry.key for entry in run.store.list(FOLDER)]
    others = set()
    for data in read_many(run.store, keys):
        entry = json.loads(data)
        if len(images & set(entry["images"])) >= SAME * len(images):
            others.add(str(entry["model_sha256"]))
    return len(others - {model_sha256})


def outside_state(run: Run) -> str:
    """What the ledger holds, as far as reuse is concerned: SHA-256 over its entries' names."""
    return sha256("\n".join(sorted(entry.key for entry in run.store.list(FOLDER))).encode())


def _images(test: pd.DataFrame) -> set[str]:
    return {str(digest)[:DIGITS] for digest in test["pixel_hash"]}
