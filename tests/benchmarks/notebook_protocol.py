"""The public notebooks' protocol beside ours: same images, same machine, same time.

    .venv/bin/python -m tests.benchmarks.notebook_protocol IMAGES METADATA
        [--network sixty_million|seven_million|tutorial] [--minutes 10] [--seed N] [--config JSON]
        [--copies 500] [--json FILE]

Both sides get every delivered image that shares nothing with our lesion-clean test part. The
notebooks' side does as they do: Augmentor's copies into the training folder, then a random 80/20
split of that folder, then `fit`. It reports two accuracies of one model: on its own validation
part, as the notebooks report it, and on the test part, which no image, lesion or copy of its
training reaches. Our side is the pipeline. Each side has the same wall time for its training.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import Augmentor
import keras
import numpy as np
import pandas as pd
from keras import layers
from rich.console import Console
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score

from tasks.config import Retraining
from tasks.engine.run import Run, open_run
from tasks.intake.manifest import pixels_of, read_parquet
from tasks.lesions import DIAGNOSES
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Estimate, Proportion
from tasks.records.ingested import Ingested
from tasks.records.split import Split
from tasks.records.trained import Epoch, Trained
from tasks.splitting.groups import groups_of
from tasks.statistics.proportions import proportion
from tests.benchmarks.runs import images_shown, run_until
from tests.support.records import record_of

# As the notebooks have them: side of the image, copies of each class, images in a batch, the seed
# of image_dataset_from_directory, epochs of the model trained on the copies.
SIDE_PX, COPIES, BATCH, SPLIT_SEED, EPOCHS = 180, 500, 32, 123, 30
TIMES_AS_FAST = 30  # that we mean to be


def sixty_million(classes: int) -> keras.Model:
    """Keras's own CIFAR-10 example, taken over at 180 px: 60.7 million parameters."""
    return keras.Sequential(
        [
            keras.Input((SIDE_PX, SIDE_PX, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def seven_million(classes: int) -> keras.Model:
    """Three convolutions and one wide layer: 6.6 million parameters."""
    convolutions = [
        layer
        for filters in (32, 64, 128)
        for layer in (layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D())
    ]
    return keras.Sequential(
        [
            keras.Input((SIDE_PX, SIDE_PX, 3)),
            layers.Rescaling(1 / 255),
            *convolutions,
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def tutorial(classes: int) -> keras.Model:
    """TensorFlow's tutorial "Image classification": 4.0 million parameters."""
    convolutions = [
        layer
        for filters in (16, 32, 64)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
        )
    ]
    return keras.Sequential(
        [
            keras.Input((SIDE_PX, SIDE_PX, 3)),
            layers.Rescaling(1 / 255),
            *convolutions,
            layers.Dropout(0.2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ]
    )


NETWORKS = {each.__name__: each for each in (sixty_million, seven_million, tutorial)}


class Box(keras.callbacks.Callback):
    """Ends a training when its time is up, in the middle of an epoch if need be."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.limit, self.steps = seconds, 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        self.seconds = time.monotonic() - self.started
        if self.seconds > self.limit:
            self.model.stop_training = True


def their_folder(run: Run, images: Path, parts: pd.DataFrame, to: Path) -> int:
    """Every delivered image that shares nothing with the test part, as a folder for each class."""
    manifest = read_parquet(run, record_of(run, Ingested).manifest)
    manifest["group"] = groups_of(manifest)
    tested = set(parts.loc[parts["side"] == "test", "key"])
    held_back = set(manifest.loc[manifest["key"].isin(tested), "group"])
    sound = manifest["label"].notna() & manifest["shard"].notna()  # the notebooks stop at others
    free = manifest[~manifest["group"].isin(held_back) & sound]
    for number, (key, label) in enumerate(zip(free["key"], free["label"], strict=True)):
        folder = to / label
        folder.mkdir(parents=True, exist_ok=True)
        # Two files of one name are two files for the notebooks too.
        shutil.copyfile(images / key.split("/", 2)[2], folder / f"{number}.jpg")
    return len(free)


def theirs(given: argparse.Namespace, folder: Path, test: tuple[Any, Any]) -> Any:
    """Oversample, split at random, train, and judge twice."""
    seed = given.seed
    random.seed(seed)
    copies_started = time.monotonic()
    for diagnosis in sorted(folder.iterdir()):
        pipeline = Augmentor.Pipeline(str(diagnosis), output_directory="output")
        pipeline.rotate(probability=0.7, max_left_rotation=10, max_right_rotation=10)
        pipeline.sample(given.copies)
        for copy in (diagnosis / "output").iterdir():
            copy.rename(diagnosis / f"copy {copy.name}")
        (diagnosis / "output").rmdir()
    copying = time.monotonic() - copies_started
    keras.utils.set_random_seed(seed)
    shown, watched = keras.utils.image_dataset_from_directory(
        folder,
        validation_split=0.2,
        subset="both",
        seed=SPLIT_SEED,
        image_size=(SIDE_PX, SIDE_PX),
        batch_size=BATCH,
    )
    names = shown.class_names
    count = sum(len(labels) for _, labels in shown)
    model = NETWORKS[given.network](len(names))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    box = Box(60 * given.minutes)
    history = model.fit(
        shown.cache().shuffle(1000).prefetch(2), epochs=EPOCHS, callbacks=[box], verbose=0
    )
    answers = np.concatenate([model.predict(x, verbose=0).argmax(1) for x, _ in watched])
    truth = np.concatenate([y for _, y in watched])
    pixels, labels = test
    answered = np.array(names)[model.predict(pixels, batch_size=64, verbose=0).argmax(1)]
    return {
        "parameters": model.count_params(),
        "copying": copying,
        "seconds": box.seconds,
        "epochs": box.steps * BATCH / count,
        "images_per_second": box.steps * BATCH / box.seconds,
        "own_protocol": EPOCHS * count / (box.steps * BATCH / box.seconds),
        "last_loss": history.history["loss"][-1],
        "claimed": proportion(int((answers == truth).sum()), len(truth)),
        "honest": proportion(int((answered == labels).sum()), len(labels)),
        "honest_balanced": balanced_accuracy_score(labels, answered),
    }


def ours(store: str, config: str) -> tuple[Run, Trained, Evaluated]:
    """The pipeline's own training and evaluation, in a process of its own as Airflow runs it."""
    run = open_run(f"{store}/runs/duel", Retraining.model_validate_json(config))
    for step in ("check_balance", "oversample", "train", "evaluate"):
        subprocess.run(
            [sys.executable, "-m", "tasks", step, "--run", run.uri, "--config", config], check=True
        )
    trained, evaluated = run.record("train"), run.record("evaluate")
    assert isinstance(trained, Trained)
    assert isinstance(evaluated, Evaluated)
    return run, trained, evaluated


def until(epochs: tuple[Epoch, ...], accuracy: float) -> float | None:
    """Seconds of training after which our validation accuracy first reached `accuracy`."""
    passed = 0.0
    for epoch in epochs:
        passed += epoch.seconds
        if epoch.val_accuracy >= accuracy:
            return passed
    return None


def accuracy_after(epochs: tuple[Epoch, ...], seconds: float) -> float | None:
    """Our validation accuracy at the end of the last epoch that had ended by then."""
    ends = np.cumsum([epoch.seconds for epoch in epochs])
    ended = int((ends <= seconds).sum())
    return epochs[ended - 1].val_accuracy if ended else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--network", choices=sorted(NETWORKS), default="sixty_million")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=COPIES, help="Of each class, by Augmentor.")
    parser.add_argument("--config", default='{"recipes": ["residual"]}')
    parser.add_argument("--json", type=Path, help="Append the figures to this file.")
    given = parser.parse_args()
    config = json.dumps(json.loads(given.config) | {"seed": given.seed})
    with tempfile.TemporaryDirectory() as name:
        store = f"{name}/store"
        chosen = Retraining.model_validate_json(config)
        run = run_until("split", given.images, given.metadata, store, "duel", chosen)
        split = run.record("split")
        assert isinstance(split, Split)
        parts = read_parquet(run, split.parts)
        tested = parts[parts["side"] == "test"]
        folder = Path(name, "notebook")
        delivered = their_folder(run, given.images, parts, folder)
        test = pixels_of(run, tested), tested["label"].to_numpy()
        load = os.getloadavg()[0]
        theirs_ = theirs(given, folder, test)
        print(theirs_, flush=True)  # it may have taken hours: not lost if ours should fail
        run, trained, evaluated = ours(store, config)
        told = tell(given, chosen, delivered, load, theirs_, trained, evaluated)
    if given.json:
        with given.json.open("a") as file:
            file.write(json.dumps(told) + "\n")


def tell(
    given: Any,
    config: Retraining,
    delivered: int,
    load: float,
    peer: Any,
    trained: Trained,
    evaluated: Evaluated,
) -> dict[str, Any]:
    """Print the table; returns its figures."""

    def shown(value: float | None, figure: Proportion | Estimate, of: str) -> str:
        return (
            f"{100 * (value or 0):.1f} % ({100 * (figure.lower or 0):.1f} to "
            f"{100 * (figure.upper or 0):.1f}, n = {figure.n} {of})"
        )

    reported, met = peer["claimed"], peer["honest"]
    of_images = evaluated.figures.accuracy_of_images
    own = trained.of(evaluated.recipe)
    seconds = sum(epoch.seconds for epoch in own.epochs)
    rate = images_shown(own, config) * len(own.epochs) / seconds
    honest = peer["honest"].estimate or 0.0
    reached = until(own.epochs, honest)
    soon = accuracy_after(own.epochs, peer["own_protocol"] / TIMES_AS_FAST)
    table = Table(
        title=f"{delivered} images and their copies against {own.images} images; "
        f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} at the start, seed "
        f"{given.seed}, box of {given.minutes:g} minutes",
    )
    table.add_column("")
    table.add_column(f"notebook, {given.network}", justify="right")
    table.add_column(f"ours, {evaluated.recipe}", justify="right")
    rows = [
        ("parameters", f"{peer['parameters']:,}", f"{own.parameters:,}"),
        (
            "accuracy as the notebooks report it",
            shown(reported.estimate, reported, "images"),
            "not computed so",
        ),
        (
            "accuracy, lesion-clean test part",
            shown(met.estimate, met, "images"),
            shown(of_images.value, of_images, "lesions"),  # resampled, whole
        ),
        (
            f"balanced accuracy there, {len(evaluated.classes)} of {len(DIAGNOSES)} classes",
            f"{peer['honest_balanced']:.3f}",
            f"{evaluated.figures.balanced_accuracy_of_images.value:.3f}",
        ),
        ("seconds of training", f"{peer['seconds']:.0f}", f"{seconds:.0f}"),
        ("epochs", f"{peer['epochs']:.1f} of {EPOCHS}", str(len(own.epochs))),
        ("images a second", f"{peer['images_per_second']:.0f}", f"{rate:.0f}"),
        ("its own protocol, hours", f"{peer['own_protocol'] / 3600:.1f}", f"{seconds / 3600:.2f}"),
        (
            "seconds to the notebook's honest accuracy, on validation",
            "",
            "not reached" if reached is None else f"{reached:.0f}",
        ),
        (
            "of the time that the notebook's own protocol takes",
            "",
            f"1/{peer['own_protocol'] / reached:.0f}" if reached else "",
        ),
        # What the notebook would reach in all its hours, a box of minutes does not tell.
        (
            f"validation accuracy after 1/{TIMES_AS_FAST} of that time",
            "",
            "" if soon is None else f"{100 * soon:.1f} %",
        ),
        ("our whole training, of that time", "", f"1/{peer['own_protocol'] / seconds:.0f}"),
    ]
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    told = {name: [left, right] for name, left, right in rows}
    return told | {"network": given.network, "seed": given.seed, "load": load}


if __name__ == "__main__":
    main()
