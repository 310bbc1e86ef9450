"""What Evidently says of pairs of tables; runs in an environment of its own, which has Evidently.

    PYTHON tests/benchmarks/evidently_verdicts.py FOLDER

FOLDER holds ``NNN-old.parquet`` and ``NNN-new.parquet``. Prints a JSON list: for each pair the
columns that Evidently's data drift preset says have drifted, by its own defaults, and the seconds.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd
from evidently import Report  # type: ignore[import-not-found]  # in an environment of its own
from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]


def drifted(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, object]:
    begun = time.perf_counter()
    metrics = Report([DataDriftPreset()]).run(new, old).dict()["metrics"]
    seconds = time.perf_counter() - begun
    found = []
    for each in metrics:
        config = each["config"]
        if "column" not in config:
            continue
        # P-values drift below their threshold, distances from it on.
        value, threshold = float(each["value"]), float(config["threshold"])
        is_chance = "p_value" in str(config["method"]) or "p_value" in each["metric_name"]
        if value < threshold if is_chance else value >= threshold:
            found.append(config["column"])
    return {"drifted": found, "columns": len(old.columns), "seconds": seconds}


def main() -> None:
    folder = Path(sys.argv[1])
    said = []
    for path in sorted(folder.glob("*-old.parquet")):
        new = pd.read_parquet(path.with_name(path.name.replace("-old", "-new")))
        said.append(drifted(pd.read_parquet(path), new))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
