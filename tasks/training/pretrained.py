"""The weights that the recipe `transfer` begins with: a file in the store, or ImageNet's own."""

from tasks.engine.run import Run
from tasks.errors import BadInput, NotFound
from tasks.records.record import sha256

IMAGENET = "imagenet"


def weights_of(run: Run) -> bytes | None:
    """The file that the configuration names; None if Keras should fetch ImageNet's weights.

    Raises:
        BadInput: The store holds no such file.
    """
    key = run.config.transfer_weights
    if key == IMAGENET:
        return None
    try:
        return run.store.read(key)
    except NotFound as error:
        raise BadInput(
            "The recipe transfer has no weights to begin with.",
            expected="the key of a file in the store, in transfer_weights",
            received=f"{key!r}, which is not there",
            do="copy the file into the store under that key, or set transfer_weights to imagenet",
        ) from error


def outside_state(run: Run) -> str:
    """State that decides about reuse: the weights of `transfer`, which may change under one key."""
    if "transfer" not in run.config.recipes:
        return ""
    data = weights_of(run)
    return IMAGENET if data is None else sha256(data)
