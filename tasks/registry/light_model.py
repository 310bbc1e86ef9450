"""A model in its light form, ready to answer."""

import os
from typing import Any

import numpy as np

from tasks.errors import Corrupt

Array = np.ndarray[Any, Any]

# Images in one turn of `LightModel.answers`. Each is seen in eight rotations and reflections, so a
# turn is 64 images to the network, as in `tasks.model_file`: memory does not grow with the batch.
AT_ONCE = 8


class LightModel:
    """An ONNX file in memory. Several threads may ask at the same time.

    Args:
        data: The file, see `tasks.registry.light_form`.
        threads: Threads that one question may use.
        what: The model, for messages.

    Raises:
        Corrupt: The file is no light form.
    """

    def __init__(self, data: bytes, what: str, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; they are raised too
        # What a question needed is given back: a batch would else be held for ever.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
            (given,) = self._session.get_inputs()
            (answer,) = self._session.get_outputs()
        except Exception as error:  # the runtime has exceptions of its own for each flaw
            raise _no_light_form(what, f"{type(error).__name__}: {error}") from error
        shape = given.shape
        if given.type != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3:
            raise _no_light_form(what, f"a network of {given.type} {shape}")
        self._input, self._output, self.side = given.name, answer.name, int(shape[1])

    def answers(self, pixels: Array) -> Array:
        """The predictions.

        Args:
            pixels: uint8 ``(n, side, side, 3)``, RGB, 0 to 255.

        Returns:
            float32 ``(n, classes)``, rows that add up to 1.
        """
        turns = [
            self._session.run([self._output], {self._input: pixels[start : start + AT_ONCE]})[0]
            for start in range(0, len(pixels), AT_ONCE)
        ]
        return np.concatenate(turns)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _no_light_form(what: str, received: str) -> Corrupt:
    return Corrupt(
        f"{what} has no light form that can be loaded.",
        expected="an ONNX file from packed pixels, uint8 (n, side, side, 3), to probabilities",
        received=" ".join(received.split())[:300],
        do="run a retraining, which registers the model anew",
    )
