"""Accuracy on the test folder as it was delivered, beside what is known to be wrong in it.

    .venv/bin/python -m tests.benchmarks.delivered_test_part IMAGES METADATA --store FOLDER
        [--seeds 0 1 2] [--config JSON]

Published results on the nine-class set are accuracies on its 118 test images. Here the pipeline
trains with ``test_part="delivered"``: every training image that shares a lesion, pixels or a near
duplicate with one of them is left out. All delivered test images count, also those whose class is
not learnable, which are always wrong. The labels are known to be wrong where the archive's own
diagnosis rules them out, and doubtful where the same image stands under two of them and the archive
is silent.
"""

import argparse
import os
import platform
import statistics
import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from tasks.config import parse_config
from tasks.engine.run import Run
from tasks.intake.manifest import read_parquet
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.statistics.proportions import proportion
from tasks.terms import archive_says
from tests.benchmarks.runs import run_until


def judged(given: argparse.Namespace, seed: int) -> Run:
    """One run of the pipeline up to the evaluation."""
    config = parse_config(given.config)
    told = config.model_copy(update={"test_part": "delivered", "seed": seed})
    name = f"seed-{seed}"
    return run_until("evaluate", given.images, given.metadata, given.store, name, told)


def delivered_images(run: Run) -> pd.DataFrame:
    """The test images: ``image_id``, ``label``, and why ``wrong`` or ``doubtful``, if they are."""
    ingested = run.record("ingest")
    assert isinstance(ingested, Ingested)
    files = read_parquet(run, ingested.manifest)
    labels = files.groupby("image_id")["label"].agg(lambda each: sorted(set(each.dropna())))
    tested = files[files["part"].str.casefold() == "test"].reset_index(drop=True)
    said = [archive_says(each) if each else None for each in tested["archive_diagnosis"]]
    tested["wrong"] = [
        f"the archive says {'; '.join(map(str, told))}"
        if what is not None and label not in what
        else ""
        for label, what, told in zip(
            tested["label"], said, tested["archive_diagnosis"], strict=True
        )
    ]
    tested["doubtful"] = [
        f"delivered as {' and as '.join(labels[each])}"
        if len(labels[each]) > 1 and not what
        else ""
        for each, what in zip(tested["image_id"], said, strict=True)
    ]
    return tested[["image_id", "label", "wrong", "doubtful"]]


def answers(run: Run) -> pd.Series:
    """The answer to each test image, by its id and label."""
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    told = read_parquet(run, evaluated.predictions).set_index(["image_id", "label"])
    return told[list(evaluated.classes)].idxmax(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--store", type=Path, required=True, help="Kept for the next call.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", default='{"recipes": ["residual"]}')
    given = parser.parse_args()
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores; {given.config}")
    for heading in ("seed", "all", "without wrong labels", "without wrong or doubtful ones"):
        table.add_column(heading, justify="right")
    shares = []
    for seed in given.seeds:
        run = judged(given, seed)
        tested = delivered_images(run)
        keys = pd.MultiIndex.from_frame(tested[["image_id", "label"]])
        right = (answers(run).reindex(keys).to_numpy() == tested["label"]).astype(bool)
        sound = tested["wrong"] == ""
        kept = [right, right[sound], right[sound & (tested["doubtful"] == "")]]
        counted = [proportion(int(each.sum()), len(each)) for each in kept]
        shares.append(counted[0].estimate or 0.0)
        cells = [
            f"{each.successes} of {each.n}, {100 * (each.estimate or 0):.1f} % "
            f"({100 * (each.lower or 0):.1f} to {100 * (each.upper or 0):.1f})"
            for each in counted
        ]
        table.add_row(str(seed), *cells)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    spread = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    console.print(
        f"All {len(tested)}: {100 * statistics.mean(shares):.1f}{spread} %, mean over seeds."
    )
    for _, row in tested[(tested["wrong"] != "") | (tested["doubtful"] != "")].iterrows():
        reasons = "; ".join(filter(None, (row["wrong"], row["doubtful"])))
        console.print(f"{row['image_id']}, labelled {row['label']}: {reasons}.")


if __name__ == "__main__":
    main()
