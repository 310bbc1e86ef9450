"""Limit the memory of training, and report a batch that fits when memory does not suffice."""

import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tasks.errors import BadInput

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Share of the memory for images. On a CPU images take 2.7 times their size at the peak, because
# Keras copies them (docs/training.md). The rest is for network, gradients and libraries.
SHARE_FOR_IMAGES = 0.25

# The files in which Linux states the memory limit of a container: control groups, version 2 and 1.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def is_room_for(size_bytes: int) -> bool:
    """Whether the training images fit into memory, on the host and on the device."""
    return size_bytes <= SHARE_FOR_IMAGES * min(_of_the_host(), _of_the_device())


def _of_the_host() -> int:
    """Memory in bytes of the machine, or the limit of the container."""
    told = [path.read_text().strip() for path in LIMITS if path.is_file()]
    limits = [int(text) for text in told if text.isdigit()]  # "max": no limit
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *limits, 2**62)


def _of_the_device() -> int:
    """Bytes of a GPU's memory that JAX may take; on a CPU, the host's."""
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}  # a CPU has no statistics
        return int(stats.get("bytes_limit", 2**62))
    return 2**62


def space_for_images(count: int, side: int) -> Pixels:
    """An empty array for images, uint8 ``(count, side, side, 3)``.

    The array lies in memory; if memory has no room, in a mapped temporary file. The file disappears
    when the process ends, however it ends.

    Raises:
        BadInput: The folder for temporary files has no room either.
    """
    shape = (count, side, side, 3)
    size = math.prod(shape)
    if is_room_for(size):
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:  # has no name; the mapping keeps it
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk would end the process
        except OSError as error:
            raise BadInput(
                "There is no room for the training images.",
                expected=f"{size / 1e6:,.0f} MB in {tempfile.gettempdir()}, where temporary files "
                "lie, or four times as much memory",
                received=str(error),
                do="set TMPDIR to a folder on a disk with so much room, or choose a smaller "
                "image_size",
            ) from error
        return np.memmap(file, np.uint8, "r+", shape=shape)


# Words of JAX's errors: those of XLA, of the driver when it loads code, and of cuDNN.
NO_MEMORY = re.compile("RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|CUDNN_STATUS_ALLOC_FAILED")


def ran_out(error: BaseException) -> bool:
    """Whether an error of Python, NumPy, TensorFlow or JAX says that memory ran out.

    TensorFlow on a CPU raises no such error: the system kills the process, and the program that
    started it reports that.
    """
    kind, text = type(error).__name__, str(error)
    return (
        isinstance(error, MemoryError)
        or kind == "ResourceExhaustedError"
        or (kind in ("XlaRuntimeError", "JaxRuntimeError") and NO_MEMORY.search(text) is not None)
    )


def out_of_memory(
    error: BaseException, attempt: Callable[[int], object], batch_size: int, field: str
) -> BadInput:
    """The error to raise, with the largest batch that fits, found by trying.

    Args:
        error: The error of the library.
        attempt: Takes one step over so many images; raises an error that `ran_out` recognizes if
            they do not fit.
        batch_size: The batch that did not fit.
        field: Field of the configuration that sets the batch.
    """
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    fits = _largest_that_fits(attempt, batch_size)
    return BadInput(
        "Training ran out of memory.",
        expected=f"room for a step over {batch_size} images",
        received=said,
        do=f"set {field} to {fits}, which was tried just now and fits; or give more memory"
        if fits
        else "give more memory, or choose a smaller image_size: not even one image fits",
    )


def _largest_that_fits(attempt: Callable[[int], object], batch_size: int) -> int:
    """The largest batch that fits, found by halving; 0 if not even one image fits."""
    size = batch_size // 2
    while size:
        try:
            attempt(size)
        except Exception as error:
            if not ran_out(error):
                raise
            size //= 2
        else:
            return size
    return 0
