"""A small network, what it learns from, and how its training is compared."""

from typing import Any

import keras
import numpy as np
from keras import layers

from tasks.records.trained import Epoch
from tasks.training.fitting import Examples, Fitted, Plan
from tasks.training.network import JIT

PLAN = Plan(epochs=3, batch_size=8, seed=5)
STEPS = 3  # of an epoch: 20 images in batches of 8, 8 and 4


def examples(count: int, seed: int) -> Examples:
    """Noise with a bright corner for the second of two classes."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 200, (count, 16, 16, 3), np.uint8)
    labels = generator.integers(0, 2, count)
    images[labels == 1, :6, :6] = 255
    return images, labels


TRAINING, VALIDATION = examples(20, seed=1), examples(10, seed=2)


def network(learning_rate: float = 0.01) -> keras.Model:
    """All that has a state: weights, running averages, random generators, averaged weights."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    x = layers.Dropout(0.3, seed=2)(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    compile_(model, learning_rate)
    return model


def compile_(model: keras.Model, learning_rate: Any) -> None:
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, use_ema=True, ema_momentum=0.8),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT,
    )


def takes_many_steps_at_once(model: keras.Model) -> list[int]:
    """As JAX lets it, only one after another; returns how many it takes in each call."""
    one, taken = model.train_on_batch, list[int]()

    def many(images: np.ndarray, labels: np.ndarray, return_dict: bool = True) -> dict[str, object]:
        taken.append(1 if labels.ndim == 1 else labels.shape[1])
        if labels.ndim == 1:
            return dict(one(images, labels, return_dict=True))
        steps = range(labels.shape[1])
        each = [one(images[:, step], labels[:, step], return_dict=True) for step in steps]
        return {name: np.array([logs[name] for logs in each]) for name in each[0]}

    model.train_on_batch = many
    return taken


def timeless(fitted: Fitted) -> list[Epoch]:
    return [epoch.model_copy(update={"seconds": 0.0}) for epoch in fitted.epochs]
