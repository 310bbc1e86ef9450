"""Images that hold nothing, to learn from."""

import numpy as np

from tasks.training.fitting import Examples

CLASSES = 3


def noise(count: int, seed: int) -> Examples:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
    return images, generator.integers(0, CLASSES, count)


TRAINING, VALIDATION = noise(40, seed=1), noise(12, seed=2)
