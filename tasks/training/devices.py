"""Train on all devices of the backend: each device takes its share of every batch.

This is the data-parallel distribution of Keras and JAX. The weights lie on every device. Averages,
also those of batch normalization, are over the whole batch. So the result is that of one device, up
to the order in which sums are rounded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

# Pixels that an accelerator learns from in one call: 8,192 images of 96 px, about an epoch. A
# checkpoint and SIGTERM wait for the end of the call, and a stopped container has 20 s.
PIXELS_AT_ONCE = 8192 * 96**2


def is_accelerated() -> bool:
    """Whether JAX computes on a GPU or TPU."""
    on_jax = keras.backend.backend() == "jax"
    return on_jax and not keras.distribution.list_devices()[0].startswith("cpu")


def steps_at_once(batch_size: int, side: int) -> int:
    """How many steps, over so many images of `side` px, to take in one call. On a CPU, 1: a single
    step takes long enough."""
    return max(1, PIXELS_AT_ONCE // (batch_size * side**2)) if is_accelerated() else 1


def precision() -> str:
    """The dtype to compute in. bfloat16 has the range of float32, so no loss needs scaling."""
    return "mixed_bfloat16" if is_accelerated() else "float32"


def device_count() -> int:
    """How many devices share a batch; 1 where the backend cannot divide a batch."""
    return len(keras.distribution.list_devices()) if keras.backend.backend() == "jax" else 1


def computed_on() -> str:
    """Backend, number and kind of devices, for records: ``tensorflow on 1 cpu``."""
    kind = keras.distribution.list_devices()[0].partition(":")[0]
    return f"{keras.backend.backend()} on {device_count()} {kind}"


def dealt_evenly(images: int) -> int:
    """The largest number up to `images` that gives each device equally many, and at least one."""
    devices = device_count()
    return max(1, images // devices) * devices


@contextmanager
def on_every_device() -> Iterator[None]:
    """Put models that are made inside the context on every device, and share their batches.

    The size of a batch must be one that `dealt_evenly` gives.
    """
    if device_count() == 1:
        yield
        return
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield
