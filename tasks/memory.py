"""What to say when training asks for more memory than there is."""

from collections.abc import Callable

from tasks.errors import BadInput


def ran_out(error: BaseException) -> bool:
    """Whether a library says so in one of its ways: Python and NumPy, TensorFlow, JAX.

    TensorFlow on a CPU has no way to say so: the system ends the process, and whoever started it
    sees that.
    """
    kind, text = type(error).__name__, str(error)
    return (
        isinstance(error, MemoryError)
        or kind == "ResourceExhaustedError"
        or (kind in ("XlaRuntimeError", "JaxRuntimeError") and "RESOURCE_EXHAUSTED" in text)
    )


def out_of_memory(
    error: BaseException, attempt: Callable[[int], object], batch_size: int
) -> BadInput:
    """What to tell a person, found out by trying: which batch does fit.

    Args:
        error: What the library said.
        attempt: Takes one step over so many images; raises what `ran_out` knows if they do not
            fit.
        batch_size: What did not fit.
    """
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    fits = _largest_that_fits(attempt, batch_size)
    return BadInput(
        "Training ran out of memory.",
        expected=f"room for a step over {batch_size} images",
        received=said,
        do=f"set batch_size to {fits}, which was tried just now and fits; or give more memory"
        if fits
        else "give more memory, or choose a smaller image_size: not even one image fits",
    )


def _largest_that_fits(attempt: Callable[[int], object], batch_size: int) -> int:
    """By halves; 0 if not even one image does."""
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
