"""The state of fitting a model, and its form as the bytes of a checkpoint."""

import io
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from tasks.records.trained import Epoch

Array = np.ndarray[Any, Any]

# Variables under this path are training data on the device; they are the same in every attempt.
DATA = "data/"


class State:
    """The model, its progress, and the best weights so far.

    Args:
        model: Model to fit; its weights and those of its optimizer are part of the state.
        phases: Function to apply to the model before an epoch, by number of the epoch; see `Plan`.

    Attributes:
        epochs: The finished epochs.
        best: Values of `variables` at the lowest validation loss; empty before the first epoch.
        phase: Key of the phase that was entered last; -1 before the first.
        rehearsed: The phase in which the model has met all sizes of its batches.
        learned: Number of examples learned from, in all epochs.
        images: Number of examples learned from in this epoch.
        sums: Sums over this epoch: loss and accuracy, each times the examples, and seconds.
    """

    def __init__(
        self, model: keras.Model, phases: Mapping[int, Callable[[keras.Model], None]]
    ) -> None:
        self.model, self.phases = model, phases
        self.epochs: list[Epoch] = []
        self.best: list[Array] = []
        self.phase = -1
        self.rehearsed: int | None = None
        self.learned = 0
        self.begin_epoch()

    @property
    def variables(self) -> list[Any]:
        """Weights, running averages of batch normalization, states of random generators."""
        return [each for each in self.model.variables if not each.path.startswith(DATA)]

    def begin_epoch(self) -> None:
        self.since = time.monotonic()
        self.images = 0
        self.sums = {"loss": 0.0, "accuracy": 0.0, "seconds": 0.0}

    def enter_phase(self) -> None:
        """Apply the phase of this epoch to the model, unless it is already applied."""
        due = max((first for first in self.phases if first <= len(self.epochs)), default=-1)
        self._enter(due)

    def _enter(self, phase: int) -> None:
        if phase != self.phase:
            self.phases[phase](self.model)
            self.phase = phase

    def count_step(self, images: int, loss: float, accuracy: float) -> None:
        """Count a step of the optimizer, with its mean loss and accuracy over so many images."""
        self.images += images
        self.learned += images
        self.sums["loss"] += loss * images
        self.sums["accuracy"] += accuracy * images

    def count_time(self) -> None:
        now = time.monotonic()
        self.sums["seconds"] += now - self.since
        self.since = now

    # A checkpoint --------------------------------------------------------------------------------

    def pack(self) -> bytes:
        """An ``.npz`` file: ``about`` (JSON, as bytes), and the arrays in their order."""
        about = {
            "epochs": [epoch.model_dump() for epoch in self.epochs],
            "phase": self.phase,
            "learned": self.learned,
            "images": self.images,
            "sums": self.sums,
        }
        kinds = {
            "model": values_of(self.variables),
            "optimizer": values_of(self.model.optimizer.variables),
            "best": self.best,
        }
        arrays = {
            f"{kind}/{number}": value
            for kind, values in kinds.items()
            for number, value in enumerate(values)
        }
        file = io.BytesIO()
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez(file, allow_pickle=False, about=text, **arrays)
        return file.getvalue()

    def unpack(self, data: bytes) -> None:
        """Restore the state of a checkpoint. If that fails, only the phase may have changed.

        Raises:
            ValueError, KeyError, OSError, BadZipFile: The bytes are not a checkpoint, or one of
                another network.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            arrays: dict[str, list[Array]] = {"model": [], "optimizer": [], "best": []}
            for name in file.files[1:]:
                arrays[name.partition("/")[0]].append(file[name])
        epochs = [Epoch.model_validate(each) for each in about["epochs"]]
        self._enter(about["phase"])
        self.model.optimizer.build(self.model.trainable_variables)
        optimizer = self.model.optimizer.variables
        wanted = [each.shape for each in (*self.variables, *optimizer)]
        if wanted != [each.shape for each in (*arrays["model"], *arrays["optimizer"])]:
            raise ValueError("its arrays are not those of this network")
        assign(self.variables, arrays["model"])
        assign(optimizer, arrays["optimizer"])
        self.best, self.epochs = arrays["best"], epochs
        self.learned, self.images, self.sums = about["learned"], about["images"], about["sums"]


def values_of(variables: list[Any]) -> list[Array]:
    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


def assign(variables: list[Any], values: list[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
