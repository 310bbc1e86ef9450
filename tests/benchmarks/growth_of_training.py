"""Time and memory of an epoch as the training set grows, on the device and streamed.

    .venv/bin/python -m tests.benchmarks.growth_of_training 2000 10000 50000 [--side 64] [--steps N]

For each number, packed shards of random pixels at one and a half times the side, and a training of
the recipe `residual` for one epoch, or its first N steps, in a process of its own: with the images
on the device, then streamed from a mapped file. Beside it, in the same process:

- anonymous memory, the peak of what cannot be dropped; a mapped file's pages can
- waiting: what a step costs that computes nothing, as a share of a step. It is an upper bound, for
  input is prepared beside the computing
- the rate of arithmetic, as a share of TensorFlow's product of two squares of 2,048 float32, the
  peer: both over wall time, and both over processor time, which a busy machine cannot take away.
  A training step is counted as three times the forward pass, which TensorFlow's profiler counts
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

CLASSES = 8
WARM_UP = 5  # steps that are not measured: the first traces the graph


def generate(store: Any, count: int, packed: int) -> pd.DataFrame:
    from tasks.intake.manifest import IMAGES_PER_SHARD, to_npy
    from tasks.lesions import DIAGNOSES
    from tasks.records.record import sha256

    random, tables = np.random.default_rng(count), []
    for start in range(0, count, IMAGES_PER_SHARD):
        size = min(IMAGES_PER_SHARD, count - start)
        data = to_npy(random.integers(0, 256, (size, packed, packed, 3), np.uint8))
        key = f"shared/shards/{start}.npy"
        store.create(key, data)
        tables.append(
            pd.DataFrame({"shard": key, "shard_sha256": sha256(data), "index": range(size)})
        )
    rows = pd.concat(tables, ignore_index=True)
    return rows.assign(label=[DIAGNOSES[number % CLASSES] for number in range(count)])


class Peak(threading.Thread):
    """The most anonymous memory, in MB, that this process had while it was watched."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0

    def run(self) -> None:
        while True:
            text = Path("/proc/self/status").read_text()
            now = int(text.partition("RssAnon:")[2].split()[0]) / 1024
            self.megabytes = max(self.megabytes, now)
            time.sleep(0.02)


def rates(do: Callable[[], object], times: int) -> tuple[float, float]:
    """Wall and processor seconds of one time, of several."""
    wall, processor = time.monotonic(), time.process_time()
    for _ in range(times):
        do()
    return (time.monotonic() - wall) / times, (time.process_time() - processor) / times


def forward_flop(network: Any, side: int) -> float:
    import tensorflow as tf
    from tensorflow.python.profiler.model_analyzer import profile
    from tensorflow.python.profiler.option_builder import ProfileOptionBuilder as Options

    function = tf.function(lambda images: network(images, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, side, side, 3))).graph
    options = Options(Options.float_operation()).with_empty_output().build()
    return float(profile(graph, options=options).total_float_ops)


def measured(folder: str, count: int, side: int, streamed: bool, steps: int) -> dict[str, float]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import keras
    import tensorflow as tf

    from tasks.config import Retraining
    from tasks.engine.directory import DirectoryStore
    from tasks.engine.run import Run
    from tasks.lesions import DIAGNOSES
    from tasks.training import memory
    from tasks.training.harmonic import plain
    from tasks.training.learner import examples, learner_of

    if streamed:
        memory.SHARE_FOR_IMAGES = 0.0
    store = DirectoryStore(Path(folder))
    rows = generate(store, count, 3 * side // 2)
    before = Peak()
    before.start()
    run = Run(store, "growth", Retraining(image_size=side, packed_size=3 * side // 2))
    loading = time.monotonic()
    training = examples(run, rows, DIAGNOSES[:CLASSES])
    loading = time.monotonic() - loading
    learner = learner_of(run, "residual", training, CLASSES)
    shown, plan = learner.examples, learner.plan
    assert plan.draw
    order = plan.draw(np.random.default_rng(1))
    if steps:
        order = order[: (steps + WARM_UP) * plan.batch_size]

    class Idle(keras.Model):
        def call(self, given: Any) -> Any:
            return given

        def train_step(self, data: Any) -> dict[str, Any]:
            return {"loss": tf.zeros(())}

    def timed(model: Any) -> tuple[float, float]:
        """Wall and processor seconds of a step, as our own training does it."""
        for step, start in enumerate(range(0, len(order), plan.batch_size)):
            if step == WARM_UP:
                wall, processor = time.monotonic(), time.process_time()
            chosen = order[start : start + plan.batch_size]
            logs = model.train_on_batch(shown[0][chosen], shown[1][chosen], return_dict=True)
            float(logs["loss"])
        done = step + 1 - WARM_UP
        return (time.monotonic() - wall) / done, (time.process_time() - processor) / done

    square = tf.random.normal((2048, 2048))
    product = tf.function(lambda: tf.matmul(square, square))
    rates(product, 5)
    peer = np.array(rates(product, 20))
    step = np.array(timed(learner.model))
    peer = np.minimum(peer, rates(product, 20))  # the better of before and after
    idle = Idle()
    idle.compile()
    waiting = timed(idle)[0]
    flop = 3 * forward_flop(plain(learner.model.network), side) * plan.batch_size
    reached = flop / step / (2 * 2048**3 / peer)
    return {
        "loading s": loading,
        "epoch s": step[0] * count / plan.batch_size,
        "epoch processor s": step[1] * count / plan.batch_size,
        "peak MB": before.megabytes,
        "waiting": waiting / step[0],
        "product GFLOP/s": 2 * 2048**3 / peer[0] / 1e9,
        "reached, wall": reached[0],
        "reached, processor": reached[1],
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--steps", type=int, default=0, help="of an epoch; 0: all")
    parser.add_argument("--streamed", action=argparse.BooleanOptionalAction)
    given = parser.parse_args()
    if given.streamed is not None:  # one of the processes
        with tempfile.TemporaryDirectory() as folder:
            found = measured(folder, given.counts[0], given.side, given.streamed, given.steps)
        print(json.dumps(found))
        return
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, {given.side} px")
    for count in given.counts:
        for kind in ("--no-streamed", "--streamed"):
            argv = ("-m", "tests.benchmarks.growth_of_training", str(count), kind)
            options = ("--side", str(given.side), "--steps", str(given.steps))
            said = subprocess.run(
                [sys.executable, *argv, *options], stdout=subprocess.PIPE, text=True, check=True
            )
            figures = json.loads(said.stdout)
            if not table.columns:
                for heading in ("images", "kind", *figures):
                    table.add_column(heading, justify="right")
            told = [f"{value:.3f}" if value < 10 else f"{value:.0f}" for value in figures.values()]
            table.add_row(str(count), kind.strip("-"), *told)
            print(count, kind, *told, flush=True)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
