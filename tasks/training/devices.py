"""Training on every device that the backend sees: each takes its share of every batch.

It is Keras's own data-parallel distribution, which is JAX's. The weights lie on every device, and
the average over a batch, batch normalization's too, is that of the whole batch: what is learned is
what one device would learn, up to the order in which sums are rounded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

# Pixels that an accelerator learns from without a word from the host: 8,192 images of 96 px, an
# epoch. A checkpoint or SIGTERM waits for them, and a container that is stopped has 20 s.
PIXELS_AT_ONCE = 8192 * 96**2


def is_accelerated() -> bool:
    """Whether JAX computes on a GPU or TPU."""
    on_jax = keras.backend.backend() == "jax"
    return on_jax and not keras.distribution.list_devices()[0].startswith("cpu")


def steps_at_once(batch_size: int, side: int) -> int:
    """How many steps, over so many images of `side` px, to take in one call; on a CPU a step is
    long enough by itself."""
    return max(1, PIXELS_AT_ONCE // (batch_size * side**2)) if is_accelerated() else 1


def precision() -> str:
    """What to compute in: bfloat16 has the range of float32, so that no loss need be scaled."""
    return "mixed_bfloat16" if is_accelerated() else "float32"


def device_count() -> int:
    """How many devices a batch is dealt out to; 1 where the backend cannot deal it out."""
    return len(keras.distribution.list_devices()) if keras.backend.backend() == "jax" else 1


def computed_on() -> str:
    """Backend, number and kind of devices, for records: ``tensorflow on 1 cpu``."""
    kind = keras.distribution.list_devices()[0].partition(":")[0]
    return f"{keras.backend.backend()} on {device_count()} {kind}"


def dealt_evenly(images: int) -> int:
    """The largest number up to `images` that gives each device as many, and at least one."""
    devices = device_count()
    return max(1, images // devices) * devices


@contextmanager
def on_every_device() -> Iterator[None]:
    """What is made in here lies on every device, and what is fitted in here is dealt out to them.

    Batches must be as large as `dealt_evenly` says.
    """
    if device_count() == 1:
        yield
        return
    with keras.distribution.DataParallel(auto_shard_dataset=False).scope():
        yield
