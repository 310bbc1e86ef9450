"""A recipe from several seeds, on the lesion-clean test part: figures, time, share of the machine.

    .venv/bin/python -m tests.benchmarks.seeds IMAGES METADATA --store FOLDER
        [--seeds 0 1 2] [--target 0.60] [--config JSON] [--json FILE]

Each seed is a run of the pipeline of its own, up to the evaluation; the split does not depend on
it, so that all of them are judged on the same lesions. Figures count lesions where they do not say
images; *within one source* is the mean over the archives that hold melanomas and nevi. *Seconds to
target* are those of training until the balanced accuracy of images on validation first reached it,
so that the test part has no say in it. The specificity at 95 % sensitivity is read off the test
part's own curve, at the threshold that the test part itself would choose: a figure to compare
networks by, not one to expect.

Images a second leave out the first epoch, which compiles on a GPU (KERAS_BACKEND=jax). *Of the
machine*, for `residual`, is a share of the product of two squares on all devices, of 8,192 bfloat16
on a GPU, on a CPU of 2,048 float32, measured in a process of its own before the runs. A step counts
as three times the forward pass; the time is that of whole epochs, scoring validation included.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import roc_curve

from tasks.config import parse_config
from tasks.engine.run import Run
from tasks.evaluation.scoring import by_lesion
from tasks.intake.manifest import read_parquet
from tasks.lesions import MELANOMA
from tasks.records.evaluated import Evaluated
from tasks.records.trained import Epoch, Trained
from tests.benchmarks.runs import images_shown, run_until

SENSITIVITY = 0.95
PRODUCTS = 10  # in a row, so that waiting for the last hardly counts
FIGURES = {
    "balanced accuracy": ".3f",
    "balanced accuracy of images": ".3f",
    "melanoma AUC": ".3f",
    "within one source": ".3f",
    "specificity at 95 % sensitivity": ".3f",
    "melanomas found, others left alone": "",
    "seconds of training": ".0f",
    "seconds to target": ".0f",
    "images a second": ".0f",
    "of the machine": ".0%",
}


def judged(given: argparse.Namespace, seed: int) -> Run:
    """One run of the pipeline up to the evaluation; one of an earlier call stands."""
    told = parse_config(given.config).model_copy(update={"seed": seed})
    name = f"{os.environ.get('KERAS_BACKEND', 'tensorflow')}-seed-{seed}"
    return run_until("evaluate", given.images, given.metadata, given.store, name, told)


def specificity_at(run: Run, evaluated: Evaluated, sensitivity: float) -> float:
    """The highest specificity by lesion, 0 to 1, of a threshold with at least that sensitivity."""
    lesions = by_lesion(read_parquet(run, evaluated.predictions), evaluated.classes)
    wrong, right, _ = roc_curve(
        lesions["label"] == MELANOMA, lesions[MELANOMA], drop_intermediate=False
    )
    return float(1 - wrong[right >= sensitivity].min())


def seconds_to(epochs: tuple[Epoch, ...], target: float) -> float | None:
    reached = [epoch.val_balanced_accuracy >= target for epoch in epochs]
    if not any(reached):
        return None
    return sum(epoch.seconds for epoch in epochs[: reached.index(True) + 1])


def figures_of(run: Run, target: float, machine: dict[str, float]) -> dict[str, Any]:
    trained, evaluated = run.record("train"), run.record("evaluate")
    assert isinstance(trained, Trained)
    assert isinstance(evaluated, Evaluated)
    assert trained.provenance
    if trained.provenance.reused_from:
        sys.exit(
            f"Its training is that of the run {trained.provenance.reused_from}, perhaps on another "
            "machine or backend, so that its times say nothing here. Take another --store."
        )
    own = trained.of(evaluated.recipe)
    later = own.epochs[1:] or own.epochs  # the first one compiles
    rate = images_shown(own, run.config) * len(later) / sum(epoch.seconds for epoch in later)
    found = evaluated.figures
    within = [each.auc.value for each in found.within_source if each.auc.value is not None]
    return {
        "recipe": own.recipe,
        "seed": run.config.seed,
        "lesions": found.lesions,
        "balanced accuracy": found.balanced_accuracy.value,
        "balanced accuracy of images": found.balanced_accuracy_of_images.value,
        "melanoma AUC": found.auc.value,
        "within one source": statistics.mean(within) if within else None,
        "specificity at 95 % sensitivity": specificity_at(run, evaluated, SENSITIVITY),
        "melanomas found, others left alone": ", ".join(
            f"{each.successes} of {each.n}" for each in (found.sensitivity, found.specificity)
        ),
        "seconds of training": sum(epoch.seconds for epoch in own.epochs),
        "seconds to target": seconds_to(own.epochs, target),
        "images a second": rate,
        "of the machine": rate * 3 * machine["flop"] / machine["rate"]
        if own.recipe == "residual"
        else None,
        "machine": trained.provenance.machine,
        "load": os.getloadavg()[0],
    }


def machine_of(config: str) -> dict[str, float]:
    """FLOP of one image's forward pass of `residual`, and FLOP a second of products of squares."""
    import keras

    from tasks.training.devices import device_count, is_accelerated
    from tasks.training.harmonic import plain
    from tasks.training.residual_network import residual

    on_gpu = is_accelerated()
    side, dtype = (8192, "bfloat16") if on_gpu else (2048, "float32")
    # So spread, its powers neither grow nor vanish.
    square = keras.random.normal((side, side), stddev=side**-0.5, dtype=dtype)
    if keras.backend.backend() == "jax":
        import jax

        product = jax.jit(lambda a: a @ a)  # an argument: a constant would be multiplied before
    else:
        import tensorflow as tf

        product = tf.function(lambda a: a @ a)
    took = []
    for _ in range(30):
        began = time.monotonic()
        result = square
        for _ in range(PRODUCTS):
            result = product(result)
        np.asarray(result[0, 0])  # waits for all of them
        took.append((time.monotonic() - began) / PRODUCTS)
    px = parse_config(config).image_size
    network = keras.models.clone_model(
        plain(residual(8, 0)), input_tensors=keras.Input((px, px, 3))
    )
    # Two for each product with a weight; what else it computes is left out.
    flop = sum(
        2 * float(np.prod(layer.kernel.shape)) * float(np.prod(layer.output.shape[1:-1]))
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    )
    return {"flop": flop, "rate": device_count() * 2 * side**3 / min(took)}


def tell(given: argparse.Namespace, lines: list[dict[str, Any]]) -> None:
    table = Table(
        title=f"{lines[0]['recipe']}, {lines[0]['lesions']} lesions; {platform.machine()}, "
        f"{os.cpu_count()} cores; target {given.target}; {given.config}"
    )
    table.add_column("")
    for line in lines:
        table.add_column(f"seed {line['seed']}", justify="right")
    table.add_column("mean ± sd", justify="right")
    for name, form in FIGURES.items():
        values = [line[name] for line in lines]
        none = "never" if name == "seconds to target" else "none"
        shown = [none if value is None else f"{value:{form}}" for value in values]
        numbers = [value for value in values if isinstance(value, float)]
        both = ""
        if len(numbers) == len(values) > 1:
            mean, spread = statistics.mean(numbers), statistics.stdev(numbers)
            both = f"{mean:{form}} ± {spread:{form}}"
        table.add_row(name, *shown, both)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--store", type=Path, required=True, help="Kept for the next call.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--target", type=float, default=0.60, help="Balanced accuracy, 0 to 1.")
    parser.add_argument("--config", default='{"recipes": ["residual"]}')
    parser.add_argument("--json", type=Path, help="Append the figures to this file.")
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.machine:  # a process of its own, which leaves the device to the runs
        print(json.dumps(machine_of(given.config)))
        return
    argv = ["-m", "tests.benchmarks.seeds", "-", "-", "--store", "-", "--machine"]
    said = subprocess.run(
        [sys.executable, *argv, "--config", given.config],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    machine = json.loads(said.stdout.splitlines()[-1])
    lines = []
    for seed in given.seeds:
        lines.append(figures_of(judged(given, seed), given.target, machine))
        print(json.dumps(lines[-1]), flush=True)
        if given.json:
            with given.json.open("a") as file:
                file.write(json.dumps(lines[-1] | {"config": given.config}) + "\n")
    tell(given, lines)


if __name__ == "__main__":
    main()
