"""The network of the recipe `residual`: a small residual network with smooth kernels."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from tasks.training.harmonic import Harmonic
from tasks.training.network import BATCH_NORM_MOMENTUM, begin_anew, resized

# Filters of the stem and of the three stages, one residual block each: 1.2 million parameters.
# Two blocks per stage reached less in the same time.
STEM, STAGES = 32, (64, 128, 256)
# Tuned on validation folds, never on the test part; see docs/training.md.
WEIGHT_DECAY = 0.05  # per step, relative to the learning rate
WARM_UP = 0.05  # share of all steps
AVERAGED_STEPS = 500  # steps that the moving average of the weights reaches back
# Options of every convolution. The normalization that follows makes a bias useless.
CONVOLVED: dict[str, Any] = {
    "padding": "same",
    "use_bias": False,
    "kernel_initializer": "he_normal",
}


def residual(
    classes: int,
    seed: int,
    convolution: type[layers.Conv2D] = Harmonic,
    *,
    steadied: Callable[[Any], Any] | None = None,
) -> keras.Model:
    """A residual network (He et al., CVPR 2016) from RGB 0 to 255 to logits ``(n, classes)``.

    Args:
        classes: Number of outputs.
        seed: Seed of the weights.
        convolution: Type of the convolutions that are wider than one pixel.
        steadied: What each image goes through first; None: nothing.
    """
    begin_anew(seed)
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    seen = steadied(image) if steadied else image
    x = layers.Rescaling(1 / 64, offset=-2.2)(seen)  # mean 0, spread 1 for skin, roughly
    x = convolution(STEM, 5, strides=2, **CONVOLVED)(x)
    x = layers.MaxPooling2D()(layers.ReLU()(_normalized(x)))
    for stage, filters in enumerate(STAGES):
        x = _residual_block(x, filters, 2 if stage else 1, convolution)
    x = layers.GlobalAveragePooling2D()(x)
    # With zero weights, the first answers are uniform and the first steps gentle.
    logits = layers.Dense(classes, kernel_initializer="zeros")(x)
    return keras.Model(image, logits, name="residual")


def _residual_block(x: Any, filters: int, stride: int, convolution: type[layers.Conv2D]) -> Any:
    # Downsampling by averages (ResNet-D: He et al., "Bag of tricks", CVPR 2019) loses nothing.
    kept = layers.AveragePooling2D(2, padding="same")(x) if stride == 2 else x
    if kept.shape[-1] != filters:
        kept = _normalized(layers.Conv2D(filters, 1, **CONVOLVED)(kept))
    y = _normalized(convolution(filters, 3, strides=stride, **CONVOLVED)(x))
    y = convolution(filters, 3, **CONVOLVED)(layers.ReLU()(y))
    y = _normalized(y, gamma="zeros")  # each block begins as the identity
    return layers.ReLU()(layers.Add()([kept, y]))


def _normalized(x: Any, gamma: str = "ones") -> Any:
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, gamma_initializer=gamma)(x)


def annealed(
    steps: int,
    rate: float,
    *,
    weight_decay: float = WEIGHT_DECAY,
    averaged_steps: int = AVERAGED_STEPS,
) -> keras.optimizers.Optimizer:
    """AdamW for so many steps: linear warm-up to `rate`, then a cosine to zero (Loshchilov &
    Hutter, 2017), and a moving average of the weights, which reaches back `averaged_steps`."""
    warm = max(1, round(WARM_UP * steps))
    falling = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=rate, warmup_steps=warm
    )
    optimizer = keras.optimizers.AdamW(
        falling,
        weight_decay=weight_decay,
        use_ema=True,
        ema_momentum=1 - 1 / min(averaged_steps, max(2, steps // 10)),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def served(network: keras.Model, image_size: int, name: str) -> keras.Model:
    """A network of logits, with its preprocessing before it and probabilities behind it.

    A probability is the mean over the eight rotations and reflections of the image, so rotating by
    quarter-turns or reflecting the image changes no answer.
    """
    image = keras.Input((None, None, 3), name="rgb_0_to_255")
    turns = eight_turns(resized(image, image_size))
    answers = layers.Softmax()(network(ops.concatenate(turns, axis=0)))
    answers = ops.reshape(answers, (len(turns), -1, answers.shape[-1]))
    return keras.Model(image, ops.mean(answers, axis=0), name=name)


def eight_turns(images: Any) -> list[Any]:
    """The eight rotations and reflections of squares ``(n, side, side, 3)``, the original first."""
    flipped = [images, ops.flip(images, axis=1)]
    flipped += [ops.flip(each, axis=2) for each in flipped]
    return flipped + [ops.transpose(each, (0, 2, 1, 3)) for each in flipped]
