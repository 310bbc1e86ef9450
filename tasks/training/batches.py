"""Augment the training images of a batch: crops, rotations, colours, mixtures.

Augmentation uses Keras operations on whole batches, so it runs on the network's device. The images
go to the device once, and a step sends only the numbers of its images. If the device has no room
for the images, they stay on the host, and a step sends its images themselves. Both ways give the
same bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tasks.training.cameras import evenly, photographed_elsewhere
from tasks.training.sources import log_shares_by_source

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Showing:
    """Limits of augmentation: how far a picture may change and still show the same diagnosis.

    Attributes:
        smallest_area: A crop holds at least this share of the image's area, 0 to 1.
        stretch: Largest natural logarithm of a crop's aspect ratio, either way.
        gain: Largest natural logarithm of a factor on one colour channel, either way. It imitates
            another camera's white balance, which tells the sources apart.
        brightness: Largest natural logarithm of a factor on all channels, either way.
        contrast: Largest natural logarithm of a factor on the distance of each value from the
            image's mean, either way.
        mixed: Share of the images that are mixed with another image (mixup: Zhang et al., "mixup:
            Beyond empirical risk minimization", ICLR 2018), with a weight drawn evenly from
            one half to one.
        patched: Share of the images that get a rectangle of another image (CutMix: Yun et al.,
            ICCV 2019), with an area drawn evenly from none to all.
        marked: Share of the images with hairs drawn on, and share with the marks of a ruler.
        cornered: Share of the images with dark corners.
        blurred: Share of the images that are blurred.
        restyled: Share of the images that take on the colours of another image.
        gamma: Largest natural logarithm of a power on one colour channel, either way.
        noise: Largest standard deviation of a pixel's noise, in values of 0 to 255.
    """

    smallest_area: float = 0.35
    stretch: float = 0.2
    gain: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.15
    mixed: float = 0.0
    patched: float = 0.0
    marked: float = 0.0
    cornered: float = 0.0
    blurred: float = 0.0
    restyled: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0


SHOWING = Showing()


@dataclass(frozen=True)
class Streamed:
    """Images that stay on the host; indexing gives the images and labels of a step.

    Attributes:
        pixels: uint8 ``(images, packed, packed, 3)``, RGB, 0 to 255; may be a mapped file.
        labels: int ``(images,)``, 0 to classes - 1.
    """

    pixels: Array
    labels: Array

    def __getitem__(self, chosen: Any) -> tuple[Array, Array]:
        return self.pixels[chosen], self.labels[chosen]


class Shown(keras.Model):
    """A network in training, which augments its images itself.

    In training the model takes numbers of images; without own pixels, the items of `Streamed`.
    Outside training it takes images and gives the network's probabilities. Only the network inside
    is saved, never this model.

    Args:
        network: Takes RGB float ``(n, side, side, 3)``, 0 to 255; gives logits ``(n, classes)``.
        pixels: uint8 ``(images, packed, packed, 3)``, RGB, 0 to 255. They go to the device once.
            None: the images are streamed.
        labels: int ``(images,)``, 0 to classes - 1; of images of several sources the cells, see
            `tasks.training.sources`.
        classes: Number of classes.
        side: Side of the network's square input, in pixels.
        showing: Limits of augmentation.
        seed: Seed of all random numbers.
        smoothing: Share of the truth that is spread evenly over all classes, 0 to 1 (label
            smoothing: Szegedy et al., CVPR 2016).
        precision: Keras dtype policy of the network's layers in training. The weights, and the
            answers outside training, are always float32.

    Raises:
        ValueError: Images of several sources are to be mixed.
    """

    def __init__(
        self,
        network: keras.Model,
        pixels: Array | None,
        labels: Array,
        *,
        classes: int,
        side: int,
        showing: Showing,
        seed: int,
        smoothing: float = 0.0,
        precision: str = "float32",
    ) -> None:
        super().__init__(name="shown")
        self.network, self.classes, self.side = network, classes, side
        self.showing, self.smoothing, self.precision = showing, smoothing, precision
        self.random = keras.random.SeedGenerator(seed)
        self.data = keras.layers.Layer(name="data")  # so that checkpoints know what to leave out
        if pixels is not None:
            self.pixels = self._held("pixels", pixels, "uint8")
            self.labels = self._held("labels", labels, "int32")
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        # Logit adjustment (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021):
        # the loss adds the log share of each class to the logits. So the network itself does not
        # learn the classes' shares, and aims at balanced accuracy. With several sources it is the
        # share within the image's own source: to know the source then foretells no class.
        counts = np.bincount(labels, minlength=classes)
        self.log_shares = log_shares_by_source(counts, classes)
        if len(self.log_shares) > 1 and (showing.mixed or showing.patched):
            raise ValueError("expected images of one source to mix; received several sources")
        # All is built. Keras on JAX would else try it on numbers as if they were images.
        self.data.built = self.built = True

    def _held(self, name: str, values: Array, dtype: str) -> Any:
        return self.data.add_weight(
            shape=values.shape,
            dtype=dtype,
            initializer=lambda shape, dtype: ops.convert_to_tensor(values, dtype),
            trainable=False,
            name=name,
        )

    def call(self, given: Any, training: bool = False) -> Any:
        """In training, logits, truth and log shares, ``(n, classes)`` each, of numbers of images,
        int ``(n,)``, or of items of `Streamed`. Otherwise, probabilities of images."""
        if not training:
            return ops.softmax(self.network(ops.cast(given, "float32"), training=False))
        if isinstance(given, tuple):
            images, labels = given
        else:
            images, labels = (ops.take(each, given, axis=0) for each in (self.pixels, self.labels))
        images, truth = (
            ops.cast(images, "float32"),
            ops.one_hot(labels % self.classes, self.classes),
        )
        log_shares = ops.take(self.log_shares, labels // self.classes, axis=0)
        images = crop_and_turn(images, self.side, self.showing, self.random)
        images = photographed_elsewhere(images, self.showing, self.random)
        images = recolour(images, self.showing, self.random)
        images, truth = mix(images, truth, self.showing, self.random)
        with computing_in(self.precision, self.network):
            logits = self.network(images, training=True)
        return ops.cast(logits, "float32"), truth, log_shares

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Mean cross-entropy in nats, with logit adjustment and label smoothing."""
        logits, truth, log_shares = y_pred
        truth = truth * (1 - self.smoothing) + self.smoothing / self.classes
        answers = ops.log_softmax(logits + log_shares, axis=-1)
        return -ops.mean(ops.sum(truth * answers, axis=-1))

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Accuracy on the augmented images; of a mixture, the larger share counts."""
        logits, truth, _ = y_pred
        self.accuracy.update_state(ops.argmax(truth, axis=-1), logits)
        return dict(self.get_metrics_result())


class ShownAtOnce(Shown):
    """A `Shown` that takes many steps of the optimizer in one call, all on the device.

    Only JAX supports this. In training it also takes numbers of images of shape ``(n, steps)``; its
    figures then are one per step, float ``(steps,)``.
    """

    def train_step(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """The training step of Keras for JAX: figures and next state, from a state and a batch."""
        numbers, labels = data[:2]
        one_step = super().train_step
        if numbers.ndim == 1:
            return tuple(one_step(state, (numbers, labels)))
        fresh = state[-1]  # the sums of the metrics, which the figures of each step begin with

        def step(state: Any, one: Any) -> tuple[Any, Any]:
            logs, (*rest, _) = one_step((*state, fresh), one)
            return tuple(rest), logs

        each = ops.transpose(numbers), ops.transpose(labels)
        state, logs = ops.scan(step, tuple(state[:-1]), each)
        return logs, (*state, fresh)


@contextmanager
def computing_in(precision: str, network: keras.Model) -> Iterator[None]:
    """Let the network's layers compute in this precision inside the context, and in all functions
    that are traced inside."""
    before = [layer.dtype_policy for layer in network.layers]
    for layer in network.layers:
        layer.dtype_policy = precision
    try:
        yield
    finally:
        for layer, policy in zip(network.layers, before, strict=True):
            layer.dtype_policy = policy


def crop_and_turn(images: Any, side: int, showing: Showing, random: Any) -> Any:
    """A random crop of each image, stretched to a square, flipped and rotated by quarter-turns.

    Each axis is resampled by one matrix product with a triangle filter as wide as a pixel of the
    coarser grid, like the antialiased bilinear resizing of Pillow and TensorFlow. One pass crops,
    flips and scales.

    Args:
        images: float ``(n, height, width, 3)``.
        side: Side of the result, in pixels.
        showing: Limits of augmentation; uses `smallest_area` and `stretch`.
        random: A `keras.random.SeedGenerator`.

    Returns:
        float ``(n, side, side, 3)``.
    """
    n, height, width = ops.shape(images)[0], images.shape[1], images.shape[2]
    area = evenly(random, (n,), showing.smallest_area, 1.0)
    aspect = ops.exp(evenly(random, (n,), -showing.stretch, showing.stretch))
    tall = ops.minimum(ops.sqrt(area * aspect), 1.0) * height
    wide = ops.minimum(ops.sqrt(area / aspect), 1.0) * width
    top = evenly(random, (n,)) * (height - tall)
    left = evenly(random, (n,)) * (width - wide)
    rows = _resampling(height, side, top, tall, _coin(random, (n,)))
    columns = _resampling(width, side, left, wide, _coin(random, (n,)))
    images = ops.einsum("nyh,nhwc->nywc", rows, images)
    images = ops.einsum("nxw,nywc->nyxc", columns, images)
    # Flips and a transposition give all eight rotations and reflections, evenly.
    return ops.where(_coin(random, (n, 1, 1, 1)), ops.transpose(images, (0, 2, 1, 3)), images)


def _resampling(size: int, side: int, start: Any, length: Any, flipped: Any) -> Any:
    """Weights ``(n, side, size)`` that resample a part of a line of `size` pixels to `side` pixels.
    The part begins at `start` and is `length` long."""
    pixel = ops.arange(side, dtype="float32")[None]
    pixel = ops.where(flipped[:, None], side - 1 - pixel, pixel)
    step = length[:, None] / side
    centre = start[:, None] + (pixel + 0.5) * step - 0.5
    distance = ops.abs(ops.arange(size, dtype="float32")[None, None] - centre[:, :, None])
    weights = ops.maximum(1.0 - distance / ops.maximum(step, 1.0)[:, :, None], 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def recolour(images: Any, showing: Showing, random: Any) -> Any:
    """Change white balance, brightness and contrast of each image; float, 0 to 255 and beyond."""
    n = ops.shape(images)[0]
    gain = evenly(random, (n, 1, 1, 3), -showing.gain, showing.gain)
    bright = evenly(random, (n, 1, 1, 1), -showing.brightness, showing.brightness)
    images = images * ops.exp(gain + bright)
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    contrast = evenly(random, (n, 1, 1, 1), -showing.contrast, showing.contrast)
    return (images - mean) * ops.exp(contrast) + mean


def mix(images: Any, truth: Any, showing: Showing, random: Any) -> tuple[Any, Any]:
    """Mix some images, and their truths, with the image at the other end of the batch."""
    n, side = ops.shape(images)[0], images.shape[1]
    if showing.mixed:
        drawn = evenly(random, (n,)) < showing.mixed
        own = ops.where(drawn, evenly(random, (n,), 0.5, 1.0), 1.0)
        images = _blend(images, own[:, None, None, None])
        truth = _blend(truth, own[:, None])
    if showing.patched:
        drawn = ops.cast(evenly(random, (n,)) < showing.patched, "float32")
        edge = ops.sqrt(evenly(random, (n,))) * drawn
        rows = _stretch_of(random, edge, side)
        columns = _stretch_of(random, edge, side)
        other = ops.cast(rows[:, :, None] & columns[:, None, :], "float32")[..., None]
        images = _blend(images, 1.0 - other)
        truth = _blend(truth, 1.0 - ops.mean(other, axis=(1, 2)))
    return images, truth


def _blend(values: Any, own: Any) -> Any:
    return values * own + ops.flip(values, axis=0) * (1.0 - own)


def _stretch_of(random: Any, length: Any, side: int) -> Any:
    """Which of `side` pixels, bool ``(n, side)``, lie in a random stretch of this share."""
    start = (evenly(random, ops.shape(length)) * (1.0 - length))[:, None]
    place = ((ops.arange(side, dtype="float32") + 0.5) / side)[None]
    return (place >= start) & (place < start + length[:, None])


def _coin(random: Any, shape: Any) -> Any:
    return evenly(random, shape) < 0.5
