"""The judge of images: whether an image is one that the model can judge, and if not, why.

The judge is fit on the training part, beside pictures that are no sound dermoscopic images (see
`tasks.evaluation.unsound`), and its limits are set on the validation part, so that about
`ALLOWED` of the sound images are refused, over all grounds together. It holds no figure of a single
image. It needs NumPy and SciPy alone.

Sources
-------
Distance: Lee et al., "A simple unified framework for detecting out-of-distribution samples and
adversarial attacks", NeurIPS (2018), the Mahalanobis distance, here of a fixed embedding; shrunk as
in Ledoit & Wolf, Journal of Multivariate Analysis 88:365-411 (2004), by a fixed share.
Likeness: Hendrycks, Mazeika & Dietterich, "Deep anomaly detection with outlier exposure", ICLR
(2019), here a multinomial logistic regression.
Limits: quantiles of the validation part, as in conformal prediction: Vovk, Gammerman & Shafer,
"Algorithmic learning in a random world" (2005), chapter 2.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit, logsumexp

from tasks.errors import BadInput, Corrupt
from tasks.evaluation.embedding import brightness, embedded, sharpness
from tasks.records.refusals import GROUNDS, Ground

Array = np.ndarray[Any, Any]

# How the allowance is shared out between the scores. What tells most of what is no dermoscopic
# image gets most; a score of one quality gets enough for its worst images.
SHARES = {"dark": 0.05, "bright": 0.05, "blurred": 0.05, "unlike": 0.45, "far": 0.40}
FORMAT = "melanoma-retraining judge of images, 1"
CLIP = 6.0  # standard deviations beyond which a figure says no more
SOUND = "sound"
UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError, NotImplementedError, RecursionError),
    *(EOFError, OSError, zipfile.BadZipFile, zlib.error),
)
CLOSE = 1e-3  # of a score: rounding of another processor's float32, with room


@dataclass(frozen=True)
class Answerable:
    """A judge of images.

    Attributes:
        side: Side of the packed pixels that it was fit on.
        middle: Mean of each figure of the embedding over the training part, float32 ``(d,)``.
        spread: Standard deviation of each, float32 ``(d,)``.
        whitening: What turns normal figures into uncorrelated ones, float32 ``(d, d)``.
        weights: Of the logistic regression, float32 ``(2 d + 1, classes)``.
        classes: `SOUND`, then the grounds that the regression tells.
        smallest: Least short side of an image, in pixels.
        limits: Limit of each score of `SHARES`; a score above the limit is a ground.
    """

    side: int
    middle: Array
    spread: Array
    whitening: Array
    weights: Array
    classes: tuple[str, ...]
    smallest: int
    limits: dict[str, float]

    def to_bytes(self) -> bytes:
        """An NPZ without pickle. The same judge always gives the same bytes."""
        told = {"format": FORMAT, "side": self.side, "classes": self.classes}
        told |= {"smallest": self.smallest, "limits": self.limits}
        text = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
        buffer = io.BytesIO()
        arrays = {name: getattr(self, name) for name in ARRAYS}
        # Not np.savez: its zip64 headers are others under Python 3.11.2 and 3.11.7.
        with zipfile.ZipFile(buffer, "w") as file:
            for name, array in {"told": text, **arrays}.items():
                data = io.BytesIO()
                np.save(data, array, allow_pickle=False)
                file.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            Corrupt: It is no judge of this version of the program.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                told = json.loads(held["told"].tobytes())
                arrays = {name: held[name] for name in ARRAYS}
            if told.pop("format") != FORMAT:
                raise ValueError("another format")
            told["classes"] = tuple(told["classes"])
            found = cls(**told, **arrays)
            d, classes = len(found.middle), len(found.classes)
            if found.whitening.shape != (d, d) or found.weights.shape != (2 * d + 1, classes):
                raise ValueError("shapes that do not belong together")
            if found.limits.keys() != SHARES.keys():
                raise ValueError("other limits")
        except UNREADABLE as error:
            raise Corrupt(
                "The judge of images cannot be read.",
                expected=f"an NPZ, {FORMAT}",
                received=f"{type(error).__name__}: {error}"[:200],
                do="fetch the run's artifacts again from where they were made",
            ) from error
        return found

    def judge(self, pixels: Array, widths: Array, heights: Array) -> list[list[tuple[Ground, str]]]:
        """Why the model cannot judge each image.

        Args:
            pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255, packed as the training images were.
            widths: Widths of the images as they came, in pixels, ``(n,)``.
            heights: Heights, likewise.

        Returns:
            The grounds of each image, each with its figure and limit in words; empty: the model can
            judge the image.

        Raises:
            BadInput: The pixels are not packed as the training images were.
        """
        if pixels.shape[1:] != (self.side, self.side, 3):
            raise BadInput(
                "The judge of images cannot judge images of this size.",
                expected=f"packed pixels, {self.side} x {self.side}, RGB",
                received=" x ".join(map(str, pixels.shape[1:])),
                do="pack the images as the training images were packed",
            )
        scores, likely = self.scores(pixels)
        found = []
        for number in range(len(pixels)):
            own = {name: float(each[number]) for name, each in scores.items()}
            size = int(widths[number]), int(heights[number])
            told = self._grounds(own, likely[number], size)
            found.append([(ground, told[ground]) for ground in GROUNDS if ground in told])
        return found

    def scores(self, pixels: Array) -> tuple[dict[str, Array], Array]:
        """The scores that the limits hold for, and how likely each class is.

        Args:
            pixels: As for `judge`.

        Returns:
            Each score of `SHARES`, float ``(n,)``, higher if worse; and the probability of each of
            `classes`, float ``(n, classes)``.
        """
        figures = normal(embedded(pixels), self.middle, self.spread)
        raised = terms(figures) @ self.weights
        total = logsumexp(raised, axis=1, keepdims=True)
        apart = figures @ self.whitening
        light = brightness(pixels)
        return {
            "dark": -light,
            "bright": light,
            "blurred": -sharpness(pixels),
            "unlike": logsumexp(raised[:, 1:], axis=1) - raised[:, 0],
            "far": np.sqrt(np.mean(apart * apart, axis=1)),
        }, np.exp(raised - total)

    def close(self, pixels: Array) -> Array:
        """Whether a score of each image is so close to its limit that another processor, which
        rounds otherwise, may say otherwise: bool ``(n,)``."""
        scores, _ = self.scores(pixels)
        near = [
            np.isclose(scores[name], limit, rtol=CLOSE, atol=CLOSE)
            for name, limit in self.limits.items()
        ]
        return np.asarray(np.any(near, axis=0))

    def _grounds(
        self, scores: dict[str, float], likely: Array, size: tuple[int, int]
    ) -> dict[Ground, str]:
        found: dict[Ground, str] = {}
        if min(size) < self.smallest:
            found["too small"] = (
                f"{size[0]} x {size[1]} pixels, at least {self.smallest} on the short side"
            )
        over = {name for name, limit in self.limits.items() if scores[name] > limit}
        if "dark" in over:
            found["too dark"] = (
                f"median light {-scores['dark']:.0f} of 255, at least {-self.limits['dark']:.0f}"
            )
        if "bright" in over:
            found["too bright"] = (
                f"median light {scores['bright']:.0f} of 255, at most {self.limits['bright']:.0f}"
            )
        if "blurred" in over:
            found["blurred"] = (
                f"fine detail {np.exp(-scores['blurred']):.3f} of all detail, "
                f"at least {np.exp(-self.limits['blurred']):.3f}"
            )
        if "unlike" in over:
            ground = self.classes[1 + int(np.argmax(likely[1:]))]
            share, least = (expit(-each) for each in (scores["unlike"], self.limits["unlike"]))
            told = f"likeness to sound images {share:.4f} of 1, at least {least:.4f}"
            found.setdefault(ground, told)  # type: ignore[arg-type]  # `fit` takes grounds alone
        if "far" in over:
            told = (
                f"distance {scores['far']:.2f} standard deviations of the training images, "
                f"at most {self.limits['far']:.2f}"
            )
            found.setdefault("far from what was learned", told)
        return found


ARRAYS = ("middle", "spread", "whitening", "weights")


def normal(figures: Array, middle: Array, spread: Array) -> Array:
    """Figures in standard deviations from the middle of the training part, at most `CLIP`."""
    return np.asarray(np.clip((figures - middle) / spread, -CLIP, CLIP))


def terms(figures: Array) -> Array:
    """What the regression weighs: each normal figure, its square, and one."""
    one = np.ones((len(figures), 1), figures.dtype)
    return np.concatenate([figures, figures * figures / CLIP, one], axis=1)
