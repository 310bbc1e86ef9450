"""What each ingredient of the recipe `residual` is worth, and what more data would give.

    .venv/bin/python -m tests.benchmarks.ablation IMAGES METADATA --store FOLDER --json FILE
        [--epochs 30] [--side 64] [--seeds 0 1 2] [--arms NAME ...]

Never touches the test part: the training and validation parts are divided into five folds of whole
groups, and seed k learns from all folds but the k-th, which judges it. An arm changes one thing of
the recipe; it is compared with the whole recipe on the same fold from the same seed, so that the
differences are paired. Arms of the former recipe, which had ordinary convolutions and label
smoothing, are compared with that. Every arm sees as many images as the recipe, also those that
learn from a share of the lesions. Figures are of images. The fold that judges has also chosen the
epoch of the lowest loss, whose weights are judged: read differences, not levels; only the figure of
the last epoch is free of that choice. A line for each training is appended to FILE; those that
stand there already are not repeated, so that it may be stopped at any time. The table is printed at
the end.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from tasks.config import Retraining
from tasks.evaluation.scoring import NEVUS
from tasks.intake.manifest import pixels_of, read_parquet
from tasks.lesions import DIAGNOSES, MELANOMA
from tasks.model_file import answers_of
from tasks.records.split import Split
from tasks.training.batches import SHOWING, Showing, Shown
from tasks.training.fitting import Plan, fit
from tasks.training.harmonic import Harmonic
from tasks.training.network import shrink
from tasks.training.residual_network import (
    AVERAGED_STEPS,
    WEIGHT_DECAY,
    annealed,
    residual,
    served,
)
from tests.benchmarks.runs import run_until

Array = np.ndarray[Any, Any]

FOLDS = 5
CONFIG = Retraining()


@dataclass(frozen=True)
class Arm:
    """One way to train; the defaults are the recipe's.

    Attributes:
        adjusted: Whether logits are adjusted by the shares of the classes.
        share: Of the groups of lesions that are learned from, 0 to 1.
        convolution: What its convolutions are that are wider than one pixel.
    """

    showing: Showing = SHOWING
    smoothing: float = 0.0
    rate: float = CONFIG.residual_learning_rate
    weight_decay: float = WEIGHT_DECAY
    averaged_steps: int = AVERAGED_STEPS
    adjusted: bool = True
    batch: int = CONFIG.residual_batch_size
    share: float = 1.0
    convolution: type[keras.layers.Conv2D] = Harmonic


RECIPE, FORMER = "the recipe", "the former recipe"
CHANGES = {
    "without logit adjustment": Arm(adjusted=False),
    "without crops": Arm(showing=replace(SHOWING, smallest_area=1.0, stretch=0.0)),
    "without colour": Arm(showing=replace(SHOWING, gain=0.0, brightness=0.0, contrast=0.0)),
    "without averaged weights": Arm(averaged_steps=1),
    "with label smoothing": Arm(smoothing=0.1),
    "without weight decay": Arm(weight_decay=0.0),
    "a quarter of the learning rate": Arm(rate=CONFIG.residual_learning_rate / 4),
    "with mixup of half": Arm(showing=replace(SHOWING, mixed=0.5)),
    "with CutMix of half": Arm(showing=replace(SHOWING, patched=0.5)),
    "75 % of the lesions": Arm(share=0.75),
    "50 % of the lesions": Arm(share=0.5),
    "25 % of the lesions": Arm(share=0.25),
    "four times the colour gain": Arm(showing=replace(SHOWING, gain=4 * SHOWING.gain)),
    "double batch": Arm(batch=2 * CONFIG.residual_batch_size),
}
ORDINARY = Arm(convolution=keras.layers.Conv2D)
BY_DEFAULT = {RECIPE: Arm(), "with ordinary convolutions": ORDINARY} | CHANGES
ARMS = BY_DEFAULT | {FORMER: replace(ORDINARY, smoothing=0.1)}
ARMS |= {
    f"{FORMER}, {name}": replace(arm, convolution=ORDINARY.convolution, smoothing=0.1)
    for name, arm in CHANGES.items()
    if not arm.smoothing
}


def learnable(given: argparse.Namespace) -> tuple[Array, pd.DataFrame, tuple[str, ...]]:
    """Pixels, uint8 ``(n, side, side, 3)``, and rows of the parts that are not the test part."""
    config = Retraining(image_size=given.side)
    run = run_until("split", given.images, given.metadata, given.store, "ablation", config)
    split = run.record("split")
    assert isinstance(split, Split)
    rows = read_parquet(run, split.parts)
    rows = rows[rows["side"] != "test"].reset_index(drop=True)
    classes = tuple(name for name in DIAGNOSES if name in set(rows["label"]))
    return shrink(pixels_of(run, rows), given.side), rows, classes


def divided(rows: pd.DataFrame, labels: Array, seed: int, share: float) -> tuple[Array, Array]:
    """Numbers of the rows to learn from and to judge by; a smaller share is part of a larger."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    learned, judged = list(folds.split(rows, labels, rows["group"]))[seed % FOLDS]
    groups = np.sort(rows["group"].iloc[learned].unique())
    groups = np.random.default_rng(seed).permutation(groups)[: round(share * len(groups))]
    return learned[rows["group"].iloc[learned].isin(groups)], judged


def trained(
    arm: Arm, pixels: Array, rows: pd.DataFrame, classes: tuple[str, ...], seed: int, given: Any
) -> dict[str, Any]:
    """Train one arm from one seed; the figures of its fold."""
    labels = rows["label"].map({name: number for number, name in enumerate(classes)}).to_numpy(int)
    learned, judged = divided(rows, labels, seed, arm.share)
    whole, _ = divided(rows, labels, seed, 1.0)
    each = len(whole) // arm.batch * arm.batch  # examples of an epoch, whatever the share
    network = residual(len(classes), seed, arm.convolution)
    learner = Shown(
        network,
        pixels[learned],
        labels[learned],
        classes=len(classes),
        side=given.side,
        showing=arm.showing,
        smoothing=arm.smoothing,
        seed=seed,
    )
    learner.log_shares *= arm.adjusted
    steps = given.epochs * each // arm.batch
    optimizer = annealed(
        steps,
        arm.rate,
        weight_decay=arm.weight_decay,
        averaged_steps=arm.averaged_steps,
    )
    learner.compile(optimizer, jit_compile=False)

    def draw(generator: np.random.Generator) -> Array:
        passes = -(-each // len(learned))
        order = [generator.permutation(len(learned)) for _ in range(passes)]
        return np.concatenate(order)[:each]

    plan = Plan(epochs=given.epochs, batch_size=arm.batch, seed=seed, draw=draw)
    numbers = np.arange(len(learned), dtype=np.int32)
    before, began = time.process_time(), time.monotonic()
    judges = pixels[judged], labels[judged]
    fitted = fit(learner, (numbers, labels[learned]), judges, plan)
    used, wall = time.process_time() - before, time.monotonic() - began
    answers = learner.predict(judges[0], batch_size=256, verbose=0)
    turned = answers_of(served(network, given.side, "eight"), judges[0])
    melanoma = classes.index(MELANOMA)
    within = [
        roc_auc_score(source["label"] == MELANOMA, answers[source.index, melanoma])
        for source in two_of_one_source(rows.iloc[judged].reset_index(drop=True))
    ]
    return {
        "lesion_groups": int(rows["group"].iloc[learned].nunique()),
        "images": len(learned),
        "judged": len(judged),
        "balanced_accuracy": balanced_accuracy_score(labels[judged], answers.argmax(1)),
        "balanced_accuracy_of_eight": balanced_accuracy_score(labels[judged], turned.argmax(1)),
        "balanced_accuracy_of_last": fitted.epochs[-1].val_balanced_accuracy,
        "melanoma_auc": roc_auc_score(labels[judged] == melanoma, answers[:, melanoma]),
        "melanoma_auc_of_eight": roc_auc_score(labels[judged] == melanoma, turned[:, melanoma]),
        "within_source_auc": float(np.mean(within)),
        "loss": fitted.epochs[fitted.best_epoch - 1].val_loss,
        "best_epoch": fitted.best_epoch,
        "core_seconds": used,
        "images_a_core_second": each * given.epochs / used,
        "wall": wall,
        "load": os.getloadavg()[0],
    }


def two_of_one_source(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Melanomas and nevi of each source that has both: there the source itself tells nothing."""
    two = rows[rows["label"].isin((MELANOMA, NEVUS))]
    return [each for _, each in two.groupby("source") if each["label"].nunique() == 2]


def tell(lines: list[dict[str, Any]]) -> None:
    """The table: means over seeds, and paired differences, with their spread, to the recipe or, for
    its arms, to the former recipe."""
    table = Table(title="n: trainings; difference: mean and standard deviation over the seeds")
    for title in ("arm", "n", "balanced accuracy", "difference", "8 turns", "last epoch"):
        table.add_column(title, justify="left" if title == "arm" else "right")
    for title in ("melanoma AUC", "difference", "within source", "difference", "core s"):
        table.add_column(title, justify="right")
    frame = pd.DataFrame(lines).set_index(["arm", "seed"])
    for name in ARMS:
        whole = FORMER if name.startswith(f"{FORMER}, ") else RECIPE
        if not {name, whole} <= set(frame.index.get_level_values("arm")):
            continue
        arm, usual = (frame.loc[[each]].droplevel("arm") for each in (name, whole))
        away = (arm - usual).dropna()
        shown = [name, str(len(arm)), f"{arm['balanced_accuracy'].mean():.3f}"]
        shown.append(spread(away["balanced_accuracy"]))
        shown.append(f"{arm['balanced_accuracy_of_eight'].mean():.3f}")
        shown.append(f"{arm['balanced_accuracy_of_last'].mean():.3f}")
        shown += [f"{arm['melanoma_auc'].mean():.3f}", spread(away["melanoma_auc"])]
        shown += [f"{arm['within_source_auc'].mean():.3f}", spread(away["within_source_auc"])]
        table.add_row(*shown, f"{arm['core_seconds'].mean():.0f}")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def spread(away: "pd.Series[float]") -> str:
    return f"{away.mean():+.3f} ± {away.std():.3f}" if len(away) > 1 else f"{away.mean():+.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--store", type=Path, required=True, help="Kept for the next call.")
    parser.add_argument("--json", type=Path, required=True, help="A line for each training.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(BY_DEFAULT))
    given = parser.parse_args()
    pixels, rows, classes = learnable(given)
    setting = {"epochs": given.epochs, "side": given.side, "backend": keras.backend.backend()}
    for seed in given.seeds:
        for name in given.arms:
            key = {"arm": name, "seed": seed} | setting
            if any(key.items() <= line.items() for line in lines_of(given.json)):
                continue
            told = trained(ARMS[name], pixels, rows, classes, seed, given)
            with given.json.open("a") as file:
                file.write(json.dumps(key | told) + "\n")
            print(json.dumps(key | told), flush=True)
    done = [line for line in lines_of(given.json) if setting.items() <= line.items()]
    tell([{name: line[name] for name in line if name not in setting} for line in done])


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    main()
