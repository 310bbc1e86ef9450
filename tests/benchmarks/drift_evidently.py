"""The drift test beside Evidently's, on the same days with and without drift.

    python -m tests.benchmarks.drift_evidently IMAGES PYTHON [--trials 30] [--json OUT.json]

IMAGES and the drifts are those of `tests.benchmarks.drift_alarms`. PYTHON is the interpreter of an
environment with Evidently, which is no library of this project. Evidently gets the same 14 single
figures; the descriptor is no column of a table, and is left to our test. Its preset decides by its
own defaults. Two readings of it are counted: any column drifted, and half of the columns, which is
its own verdict about a table.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.traces import ACQUISITION
from tests.benchmarks.drift_alarms import CAUSES, SHARE, drifted_day, drifted_rows, pool_of
from tests.support.paths import ROOT

ASKED = 100
NO_DRIFT = "no drift"
FIGURES = (
    *("width", "height", "format", "encoding", *ACQUISITION),
    *("answered", "melanoma_probability", "refused"),
)
Row = dict[str, Any]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[list(FIGURES)].reset_index(drop=True).astype({"refused": "str"})


def of_evidently(python: str, pairs: list[tuple[pd.DataFrame, pd.DataFrame]]) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for number, (old, new) in enumerate(pairs):
            table(old).to_parquet(f"{folder}/{number:03d}-old.parquet")
            table(new).to_parquet(f"{folder}/{number:03d}-new.parquet")
        script = str(ROOT / "tests/benchmarks/evidently_verdicts.py")
        done = subprocess.run([python, script, folder], capture_output=True, text=True, check=True)
    said: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return said


def compared(
    pool: dict[str, pd.DataFrame], name: str, share: float, trials: int, python: str
) -> Row:
    days = range(trials)
    drift = "" if name == NO_DRIFT else name
    pairs = [drifted_rows(pool, drift, share, ASKED, day) for day in days]
    theirs = of_evidently(python, [(old.learned, new) for old, new in pairs])
    begun = time.perf_counter()
    ours = [drifted_day(pool, drift, share, ASKED, day)[0] for day in days]
    seconds = (time.perf_counter() - begun) / trials
    half = [len(each["drifted"]) >= each["columns"] / 2 for each in theirs]
    return {
        "drift": name,
        "share": share,
        "trials": trials,
        "ours": sum(each == "drift" for each in ours),
        "Evidently, any column": sum(bool(each["drifted"]) for each in theirs),
        "Evidently, half of the columns": sum(half),
        "seconds, ours": round(seconds, 3),
        "seconds, Evidently": round(float(np.mean([each["seconds"] for each in theirs])), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("python")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--most", type=int, default=2400, help="images of the pool")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    pool = pool_of(given.images, given.most, processes=2)
    asked = [(NO_DRIFT, 1.0), *((name, share) for name in CAUSES for share in (1.0, SHARE))]
    rows = []
    for name, share in asked:
        rows.append(compared(pool, name, share, given.trials, given.python))
        print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
