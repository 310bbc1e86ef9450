"""Calibrate probabilities by temperature scaling, fitted on validation.

Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017.
Dividing the logits by one number removes most overconfidence and changes no answer. The expected
calibration error is that of Naeini, Cooper & Hauskrecht, AAAI 2015, with 15 bins.
"""

from typing import Any

import keras
import numpy as np
from keras import layers
from scipy.optimize import minimize_scalar

Array = np.ndarray[Any, Any]

BINS = 15
# A network with a temperature beyond these has learned nothing, or validation is too small. The fit
# would run away to answers that are all certain or all equal.
COOLEST, HOTTEST = 0.1, 10.0
LEAST = 1e-30  # a probability of 0 has no logarithm


def fit_temperature(probabilities: Array, labels: Array) -> float:
    """The temperature with the lowest cross-entropy, COOLEST to HOTTEST.

    Args:
        probabilities: ``(n, classes)``, rows that add up to 1.
        labels: int ``(n,)``.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST))

    def loss(of_temperature: float) -> float:
        scaled = logits / np.exp(of_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        of_truth = scaled[np.arange(len(labels)), labels]
        return float((np.log(np.exp(scaled).sum(axis=1)) - of_truth).mean())

    found = minimize_scalar(loss, bounds=np.log((COOLEST, HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def at_temperature(probabilities: Array, temperature: float) -> Array:
    """Probabilities ``(n, classes)`` at a temperature, as `calibrated` gives; float64, 0 to 1."""
    powers = np.maximum(probabilities.astype(np.float64), LEAST) ** (1 / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def calibration_error(probabilities: Array, labels: Array) -> float:
    """Expected calibration error, 0 to 1: the mean difference between the confidence of the most
    probable class and its accuracy, over BINS bins of equal width.

    Args:
        probabilities: ``(n, classes)``, n at least 1.
        labels: int ``(n,)``.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def calibrated(model: keras.Model, temperature: float) -> keras.Model:
    """The same network with its probabilities at a temperature, made of Keras's own layers.

    The logarithm of a probability is the logit plus a number that is the same for all classes. So
    this works for any network that gives probabilities.
    """
    logits = keras.ops.log(keras.ops.maximum(model.output, LEAST))
    scaled = layers.Rescaling(1 / temperature, name="temperature")(logits)
    answers = layers.Softmax(name="calibrated", dtype="float32")(scaled)
    return keras.Model(model.input, answers, name=model.name)
