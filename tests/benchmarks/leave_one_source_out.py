"""How well a way to train carries over to a source of images that training has not seen.

    .venv/bin/python -m tests.benchmarks.leave_one_source_out RUN --json FILE [--passes 24]
        [--side 64] [--most 2000] [--seeds 0] [--turns] [--held SOURCE ...] [--arms NAME ...]

RUN is the URI of a run that has got to its split. Never touches the test part, nor an external set:
of the training part, all sources but one teach, and the one is judged, melanoma against everything
and melanoma against nevus alone; so for each source that holds at least 30 of both. A source is an
archive and a run of its numbers. *Inside* are the same figures of the same source by the networks
that learned from it, on its images of the validation part. Their difference is what a model loses
in a hospital that it has not learned from.

`--confounded` makes the folds harder, as deliveries of clinics that each send other diagnoses are:
one source teaches hardly any melanoma, the next one hardly any nevus.

Images are drawn where a source has more than `--most`, the same ones for every arm. The weights are
those of the last pass, so that nothing has been chosen on what judges. Intervals are DeLong's,
95 %, and mean over the sources; *spread* is the standard deviation over the seeds. A line for each
training is appended to FILE; those that stand there already are not repeated.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.evaluation.scoring import NEVUS
from tasks.intake.acquisition import acquisitions_of
from tasks.intake.manifest import pixels_of, read_parquet
from tasks.lesions import DIAGNOSES, MELANOMA
from tasks.records.split import Split
from tasks.records.trained import Epoch
from tasks.statistics.ranking import auc
from tasks.training.batches import SHOWING, Showing, Shown
from tasks.training.fitting import SCORED_AT_ONCE, Plan, fit
from tasks.training.network import shrink
from tasks.training.residual_network import annealed, residual, served
from tasks.training.sources import cells_of, log_shares_by_source, sources_of
from tests.benchmarks.carrying_over import (
    drawn_evenly,
    even_counts,
    in_grey_light,
    standardized,
)

Array = np.ndarray[Any, Any]

FEWEST = 30  # melanomas, and nevi, of a source that judges
JUDGED = {MELANOMA: 250, NEVUS: 250}  # at most so many of a source; of all others together, OTHERS
OTHERS = 200
KEPT = 0.05  # of the class that a source loses with --confounded
SETTING = ("passes", "side", "most", "turns", "confounded")
WATCHED = 64  # images scored after each pass, which nothing depends on
CONFIG = Retraining()


@dataclass(frozen=True)
class Arm:
    """One way to train; the defaults are those of the recipe `residual`.

    Attributes:
        evenly: Whether each source shows each of its classes equally often.
        by_source: Whether logits are adjusted by the shares of the classes in the own source.
        steadied: What the network does to an image first.
        penalty: Weight of the variance of the loss over the sources (V-REx: Krueger et al., ICML
            2021).
    """

    showing: Showing = SHOWING
    evenly: bool = False
    by_source: bool = False
    steadied: Callable[[Any], Any] | None = None
    penalty: float = 0.0


DEVICE = replace(SHOWING, gain=0.25, brightness=0.25, contrast=0.3, gamma=0.25)
OPTICS = replace(SHOWING, blurred=0.3, noise=6.0, cornered=0.3, marked=0.3, smallest_area=0.25)
ELSEWHERE = replace(
    OPTICS,
    gain=DEVICE.gain,
    brightness=DEVICE.brightness,
    contrast=DEVICE.contrast,
    gamma=DEVICE.gamma,
)
ARMS = {
    "residual": Arm(),
    "evenly": Arm(evenly=True),
    "by source": Arm(by_source=True),
    "evenly, by source": Arm(evenly=True, by_source=True),
    "device": Arm(showing=DEVICE),
    "optics": Arm(showing=OPTICS),
    "restyled": Arm(showing=replace(SHOWING, restyled=0.5)),
    "grey light": Arm(steadied=in_grey_light),
    "standardized": Arm(steadied=standardized),
    "V-REx": Arm(penalty=1.0),
}
ARMS |= {
    "by source, device": Arm(by_source=True, showing=DEVICE),
    "by source, optics": Arm(by_source=True, showing=OPTICS),
    "by source, elsewhere": Arm(by_source=True, showing=ELSEWHERE),
    "by source, restyled": Arm(by_source=True, showing=replace(SHOWING, restyled=0.5)),
    "by source, grey light": Arm(by_source=True, steadied=in_grey_light),
    "by source, standardized": Arm(by_source=True, steadied=standardized),
    "optics, restyled": Arm(showing=replace(OPTICS, restyled=0.5)),
    "device, restyled": Arm(showing=replace(DEVICE, restyled=0.5)),
    "elsewhere": Arm(showing=ELSEWHERE),
    "elsewhere, restyled": Arm(showing=replace(ELSEWHERE, restyled=0.5)),
    "by source, grey light, optics": Arm(by_source=True, steadied=in_grey_light, showing=OPTICS),
}


class Penalized(Shown):
    """A `Shown` whose loss also holds the variance of the mean losses of the sources."""

    weight = 1.0

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        logits, truth, log_shares = y_pred
        answers = keras.ops.log_softmax(logits + log_shares, axis=-1)
        losses = -keras.ops.sum(truth * answers, axis=-1)
        own = keras.ops.one_hot(y // self.classes, len(self.log_shares))
        images = keras.ops.sum(own, axis=0)
        means = keras.ops.sum(own * losses[:, None], axis=0) / keras.ops.maximum(images, 1.0)
        there = keras.ops.cast(images > 0, "float32")
        middle = keras.ops.sum(means * there) / keras.ops.sum(there)
        variance = keras.ops.sum(there * keras.ops.square(means - middle)) / keras.ops.sum(there)
        return keras.ops.mean(losses) + self.weight * variance


def learnable(given: argparse.Namespace) -> tuple[Array, pd.DataFrame]:
    """Pixels, uint8 ``(n, side, side, 3)``, and rows of the parts that are not the test part, with
    the source that judges (``place``) and the source that teaches (``taught``)."""
    run = open_run(given.run, Retraining(image_size=given.side))
    split = run.record("split")
    assert isinstance(split, Split)
    rows = read_parquet(run, split.parts)
    rows = rows[rows["side"] != "test"].reset_index(drop=True)
    of_one_form = rows.assign(width=1, height=1, format="", mode="", encoding="", camera="")
    rows = rows.assign(place=acquisitions_of(of_one_form), taught=sources_of(rows))
    return shrink(pixels_of(run, rows), given.side), rows


def places(rows: pd.DataFrame) -> list[str]:
    """The sources that can judge, by name."""
    counts = pd.crosstab(rows["place"], rows["label"])
    enough = (counts[MELANOMA] >= FEWEST) & (counts[NEVUS] >= FEWEST)
    return sorted(counts.index[enough])


def to_judge(rows: pd.DataFrame) -> Array:
    """Numbers of the rows that judge, drawn where a class has more than it needs."""
    shuffled = rows.sample(frac=1, random_state=0)
    others = shuffled[~shuffled["label"].isin(JUDGED)].head(OTHERS)
    own = [shuffled[shuffled["label"] == name].head(most) for name, most in JUDGED.items()]
    return np.concatenate([each.index.to_numpy(int) for each in (*own, others)])


def to_learn(rows: pd.DataFrame, held: str, given: argparse.Namespace) -> Array:
    """Numbers of the rows that teach: at most so many of each source, none of the held place."""
    own = rows[(rows["side"] == "train") & (rows["place"] != held)].sample(frac=1, random_state=0)
    own = own.groupby("place").head(given.most)
    if given.confounded:
        # Every other source loses most of its melanomas, the ones between most of their nevi.
        order = {place: number for number, place in enumerate(sorted(set(own["place"])))}
        lost = own["place"].map(order).mod(2).map({0: MELANOMA, 1: NEVUS})
        rank = own.groupby(["place", "label"]).cumcount()
        size = own.groupby(["place", "label"])["key"].transform("size")
        own = own[(own["label"] != lost) | (rank < KEPT * size)]
    return np.sort(own.index.to_numpy(int))


def trained(
    arm: Arm, pixels: Array, rows: pd.DataFrame, held: str, seed: int, given: argparse.Namespace
) -> dict[str, Any]:
    """Train one arm without one place; figures of each place, with the network's time."""
    learned = to_learn(rows, held, given)
    own = rows.iloc[learned]
    classes = tuple(name for name in DIAGNOSES if name in set(own["label"]))
    labels = own["label"].map({name: number for number, name in enumerate(classes)}).to_numpy(int)
    sources, _ = pd.factorize(own["taught"], sort=True)  # of those that teach
    cells = cells_of(labels, sources, len(classes))
    network = residual(len(classes), seed, steadied=arm.steadied)
    steps_of_pass = len(labels) // CONFIG.residual_batch_size
    images = steps_of_pass * CONFIG.residual_batch_size
    sees_sources = arm.by_source or arm.penalty > 0
    shown = (even_counts(cells, images) if arm.evenly else np.bincount(cells)).astype(float)
    padded = np.pad(shown, (0, -len(shown) % len(classes))).reshape(-1, len(classes))
    learner = (Penalized if arm.penalty else Shown)(
        network,
        pixels[learned],
        cells if sees_sources else labels,
        classes=len(classes),
        side=given.side,
        showing=arm.showing,
        seed=seed,
    )
    if arm.evenly:
        told = shown if sees_sources else padded.sum(axis=0)
        learner.log_shares = log_shares_by_source(told, len(classes))
    if sees_sources and not arm.by_source:
        whole = np.log(np.maximum(padded.sum(axis=0) / padded.sum(), 1e-9)).astype(np.float32)
        learner.log_shares = np.broadcast_to(whole, learner.log_shares.shape).copy()
    learner.compile(
        annealed(given.passes * steps_of_pass, CONFIG.residual_learning_rate), jit_compile=False
    )

    def draw(generator: np.random.Generator) -> Array:
        if arm.evenly:
            return drawn_evenly(generator, cells, images)[:images]
        return generator.permutation(len(labels))[:images]

    plan = Plan(given.passes, CONFIG.residual_batch_size, seed, draw=draw)
    last: list[Array] = []  # what the batches' normalization has seen by the end of the last pass

    def watch(epochs: tuple[Epoch, ...]) -> None:
        last[:] = [keras.ops.convert_to_numpy(each) for each in network.non_trainable_variables]

    numbers = np.arange(len(labels), dtype=np.int32)
    before, began = time.process_time(), time.monotonic()
    fit(
        learner,
        (numbers, cells if arm.penalty else labels),
        (pixels[learned][:WATCHED], labels[:WATCHED]),
        plan,
        watch=watch,
    )
    used, wall = time.process_time() - before, time.monotonic() - began
    learner.optimizer.finalize_variable_values(learner.trainable_variables)  # of the last step
    for variable, value in zip(network.non_trainable_variables, last, strict=True):
        variable.assign(value)
    model = served(network, given.side, "eight") if given.turns else learner
    return {
        "images": len(labels),
        "places": [
            judged(model, classes.index(MELANOMA), pixels, rows, place, place == held)
            for place in places(rows)
        ],
        "core_seconds": used,
        "ms_an_image": 1000 * used / images / given.passes,
        "wall": wall,
        "load": os.getloadavg()[0],
    }


def judged(
    model: keras.Model,
    melanoma: int,
    pixels: Array,
    rows: pd.DataFrame,
    place: str,
    outside: bool,
) -> dict[str, Any]:
    """The figures of one place: all of its images if it was held out, else those of validation."""
    there = rows[(rows["place"] == place) & (outside | (rows["side"] == "validation"))]
    chosen = to_judge(there)
    truth = rows["label"].iloc[chosen].to_numpy()
    answers = model.predict(pixels[chosen], batch_size=SCORED_AT_ONCE, verbose=0)[:, melanoma]
    found = answers[truth == MELANOMA]
    whole, nevi = (auc(found, answers[among]) for among in (truth != MELANOMA, truth == NEVUS))
    return {
        "place": place,
        "outside": outside,
        "melanomas": len(found),
        "nevi": int((truth == NEVUS).sum()),
        "others": int((truth != MELANOMA).sum()),
        "auc": whole.model_dump(include={"value", "lower", "upper"}),
        "within": nevi.model_dump(include={"value", "lower", "upper"}),
    }


def told(lines: list[dict[str, Any]]) -> str:
    """A table in markdown: a row for each arm, with the mean over places and seeds."""
    frame = pd.DataFrame(
        [
            {
                "arm": line["arm"], "seed": line["seed"], "place": each["place"],
                "outside": each["outside"], "core": line["core_seconds"],
                **{f"{name} {part}": each[name][part] for name in ("auc", "within") for part in
                   ("value", "lower", "upper")},
            }
            for line in lines
            for each in line["places"]
        ]
    )  # fmt: skip
    titles = ["arm", "seeds", "AUC outside", "spread", "inside", "loss", "within outside", "spread"]
    titles += ["inside", "loss", *(f"within, {place}" for place in sorted(set(frame["place"])))]
    made = [[*titles, "core s"], ["---"] * (len(titles) + 1)]
    for arm in dict.fromkeys(frame["arm"]):
        own = frame[frame["arm"] == arm]
        out, inner = own[own["outside"]], own[~own["outside"]]
        row = [arm, str(own["seed"].nunique())]
        for name in ("auc", "within"):
            means = out.groupby("seed")[f"{name} value"].mean()
            ends = [out[f"{name} {end}"].mean() for end in ("lower", "upper")]
            inside = inner.groupby("place")[f"{name} value"].mean().mean()
            row.append(f"{means.mean():.3f} ({ends[0]:.3f} to {ends[1]:.3f})")
            row.append(f"{means.std():.3f}" if len(means) > 1 else "")
            row += [f"{inside:.3f}", f"{inside - means.mean():+.3f}"]
        by_place = out.groupby("place")["within value"].mean()
        row += [f"{value:.3f}" for value in by_place.sort_index()]
        made.append([*row, f"{out['core'].mean():.0f}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in made)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="URI of a run, up to its split at least.")
    parser.add_argument("--json", type=Path, required=True, help="A line for each training.")
    parser.add_argument("--passes", type=int, default=24)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--most", type=int, default=2000, help="Images of one source that teach.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=["residual"])
    parser.add_argument("--held", nargs="+", help="Sources to hold out; by default each.")
    parser.add_argument(
        "--confounded",
        action="store_true",
        help="Let every source that teaches lose 95 %% of its melanomas, or of its nevi, in turns.",
    )
    parser.add_argument("--turns", action="store_true", help="Score eight turns, as is served.")
    given = parser.parse_args()
    pixels, rows = learnable(given)
    setting = {
        name: getattr(given, name) for name in ("passes", "side", "most", "turns", "confounded")
    }
    for seed in given.seeds:
        for name in given.arms:
            for held in given.held or places(rows):
                key = {"arm": name, "seed": seed, "held": held} | setting
                if any(key.items() <= line.items() for line in lines_of(given.json)):
                    continue
                line = key | trained(ARMS[name], pixels, rows, held, seed, given)
                with given.json.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)
    print(told([line for line in lines_of(given.json) if setting.items() <= line.items()]))


if __name__ == "__main__":
    main()
