"""Fit the judge of images: on the training part, with limits from the validation part."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import logsumexp

from tasks.evaluation.answerable import SHARES, SOUND, Answerable, normal, terms
from tasks.evaluation.embedding import Embedding, embedded
from tasks.evaluation.unsound import UNSOUND, Unsound, mildly_changed, unsound
from tasks.records.refusals import Ground

Array = np.ndarray[Any, Any]

ALLOWED = 0.05  # share of sound images of the validation part that may be refused
FEWEST = 20  # images of either part; with fewer, no limit means anything
MOST = 1500  # images of either part: more would say little more, and cost time
EACH = 150  # unsound pictures of each kind, or half as many as there are training images
SMALLEST = 0.5  # of the side of the packed pixels: in a smaller image, most pixels are made up
SHRINKAGE = 0.1  # of the covariance, towards the identity
# In a smaller product OpenBLAS starts no threads (interface/gemm.c). Here they would cost more than
# they save, and take the processors from who else is at work.
MOST_PRODUCTS = 260_000
PENALTY = 100.0  # of the squares of the regression's weights, beside the summed log-likelihood


@dataclass(frozen=True)
class Material:
    """What a judge is fit on.

    Attributes:
        side: Side of the packed pixels.
        sound: Embedding of images of the training part.
        mild: Of the same images, mildly changed.
        unsound: Of each kind of unsound pictures, with the ground.
    """

    side: int
    sound: Embedding
    mild: Embedding
    unsound: dict[Unsound, tuple[Ground, Embedding]]


def material_of(training: Array, seed: int = 0) -> Material:
    """Embed images of the training part, and the unsound pictures beside them.

    Args:
        training: Pixels, uint8 ``(n, side, side, 3)``, RGB, 0 to 255.
        seed: Of what is drawn, and of which images are taken where there are more than `MOST`.
    """
    rng = np.random.default_rng(seed)
    taken = some_of(training, rng)
    made = {}
    for kind in UNSOUND:
        ground, pixels = unsound(kind, taken, max(1, min(EACH, len(taken) // 2)), rng)
        made[kind] = ground, embedded(pixels)
    return Material(taken.shape[1], embedded(taken), embedded(mildly_changed(taken, rng)), made)


def some_of(pixels: Array, rng: np.random.Generator) -> Array:
    """At most `MOST` of the images, drawn at random."""
    if len(pixels) <= MOST:
        return pixels
    return pixels[np.sort(rng.choice(len(pixels), MOST, replace=False))]


def fit(
    material: Material, validation: Array, without: frozenset[Unsound] = frozenset()
) -> Answerable:
    """Fit a judge.

    Args:
        material: Of the training part.
        validation: Pixels of the validation part, uint8 ``(n, side, side, 3)``.
        without: Kinds of unsound pictures to leave out.
    """
    both = np.concatenate([material.sound, material.mild]).astype(np.float64)
    middle = both.mean(axis=0).astype(np.float32)
    spread = (both.std(axis=0) + 1e-3).astype(np.float32)
    figures = normal(both.astype(np.float32), middle, spread)
    kept = [each for kind, each in material.unsound.items() if kind not in without]
    classes = (SOUND, *sorted({ground for ground, _ in kept}))
    others = [normal(each, middle, spread) for _, each in kept]
    numbers = [np.zeros(len(figures), int)]
    numbers += [np.full(len(each), classes.index(ground)) for ground, each in kept]
    weights = regression(np.concatenate([figures, *others]), np.concatenate(numbers), len(classes))
    judge = Answerable(
        side=material.side,
        middle=middle,
        spread=spread,
        whitening=whitening(figures),
        weights=weights,
        classes=classes,
        smallest=round(SMALLEST * material.side),
        limits=dict.fromkeys(SHARES, np.inf),
    )
    return replace(judge, limits=limits_of(judge.scores(validation)[0]))


def whitening(figures: Array) -> Array:
    """The inverse square root of the covariance of normal figures, shrunk, float32 ``(d, d)``."""
    covariance = np.cov(figures.astype(np.float64), rowvar=False)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(covariance))
    values, vectors = eigh(shrunk)
    return np.asarray((vectors / np.sqrt(values)).astype(np.float32))


def regression(figures: Array, numbers: Array, classes: int) -> Array:
    """Weights of a multinomial logistic regression, every class weighing as much as the others.

    Args:
        figures: Normal figures, ``(n, d)``.
        numbers: Class of each, ``(n,)``.
        classes: How many there are.

    Returns:
        float32 ``(2 d + 1, classes)``.
    """
    count = len(numbers)
    # Sound images weigh as much as all others together.
    weigh = np.where(numbers == 0, 1 / np.sum(numbers == 0), 1 / max(1, np.sum(numbers != 0)))
    right = np.zeros((count, classes))
    right[np.arange(count), numbers] = 1
    size = max(1, MOST_PRODUCTS // (classes * (2 * figures.shape[1] + 1)))
    seen, right = in_blocks(terms(figures).astype(np.float64), size), in_blocks(right, size)
    weigh = in_blocks((weigh * count / 2)[:, None], size)  # rows that fill the last block weigh 0
    across = np.ascontiguousarray(seen.transpose(0, 2, 1))

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(-1, classes)
        raised = seen @ weights
        total = logsumexp(raised, axis=2, keepdims=True)
        lost = float((weigh * right * (total - raised)).sum())
        slope = (across @ (weigh * (np.exp(raised - total) - right))).sum(axis=0)
        free = weights.copy()
        free[-1] = 0  # the constant is not held back
        return lost + PENALTY / 2 * float((free**2).sum()), (slope + PENALTY * free).ravel()

    start = np.zeros(seen.shape[2] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 120})
    return np.asarray(found.x.reshape(-1, classes).astype(np.float32))


def in_blocks(rows: Array, size: int) -> Array:
    """Rows, ``(n, k)``, in blocks, ``(m, size, k)``; the last one is filled up with zeros."""
    blocks = -(-len(rows) // size)
    filled = np.zeros((blocks * size, rows.shape[1]))
    filled[: len(rows)] = rows
    return filled.reshape(blocks, size, -1)


def limits_of(scores: dict[str, Array]) -> dict[str, float]:
    """The limits that give up at most `ALLOWED` of the images, over all scores together.

    Each score gives up its share of `SHARES` of an allowance. Images that several scores give up
    count once, so the allowance is the largest with which the total holds.
    """
    n = len(scores["far"])
    ordered = {name: np.sort(each)[::-1] for name, each in scores.items()}
    best: dict[str, float] = {name: float(each[0]) for name, each in ordered.items()}
    for allowance in np.linspace(ALLOWED, 3 * ALLOWED, 101):
        places = {name: int(allowance * share * n) for name, share in SHARES.items()}
        limits = {name: float(ordered[name][min(place, n - 1)]) for name, place in places.items()}
        given = np.any([scores[name] > limit for name, limit in limits.items()], axis=0)
        if given.sum() <= ALLOWED * n:
            best = limits
    return best
