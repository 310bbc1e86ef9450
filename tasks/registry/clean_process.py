"""Ask a model in a process of its own, which holds only what serving needs.

The process is started with ``python -I``: without the environment's modules, the user's, or those
of the working folder. It sees no credentials and no configuration of Keras, and it imports only
`tasks.model_file`, Keras, Keras's backend and NumPy. A file that would run code is refused (Keras's
safe mode); pickle is off. Whatever the asking process has loaded, patched or registered with Keras
does not reach the answers.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import BadInput, Corrupt, Momentary, PipelineError

Array = np.ndarray[Any, Any]

SECONDS = 300  # a model of 180 px answers 32 images in 10 s, of which 7 are imports, on one core
# What the process keeps of the environment: where libraries lie, and which backend and GPU to use.
KEPT = (
    *("PATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL"),
    *("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
ROOT = Path(__file__).parents[2]  # the folder of the package `tasks`
CHILD = "import sys; sys.path.insert(0, sys.argv[1]); "
ASK = "from tasks.registry.clean_process import answer; answer(*sys.argv[2:])"
PIXELS, ANSWERS = "pixels.npy", "answers.npy"


def answers_apart(model: Path, pixels: Array, what: str, seconds: float = SECONDS) -> Array:
    """The predictions of a saved model, asked in a process of its own.

    Args:
        model: A ``.keras`` file.
        pixels: uint8 ``(n, any, any, 3)``, RGB, 0 to 255.
        what: The model, for the message.
        seconds: Time that the process may take.

    Returns:
        ``(n, classes)``, as the model gave them.

    Raises:
        Corrupt: The process could not load or ask the model.
        Momentary: The process took too long, or the system ended it.
    """
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, PIXELS), pixels, allow_pickle=False)
        in_own_process(ASK, [str(model.absolute()), folder], folder, what, seconds)
        try:
            return np.asarray(np.load(Path(folder, ANSWERS), allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise _no_answers(what, f"{type(error).__name__}: {error}") from error


def in_own_process(
    call: str,
    arguments: list[str],
    folder: str,
    what: str,
    seconds: float = SECONDS,
    *,
    backend: str = "",
) -> None:
    """Run a line of Python in a process of its own, which can import this program.

    Args:
        call: The line, which finds the arguments in ``sys.argv[2:]``.
        arguments: What the line is given.
        folder: Working folder of the process, and its home.
        what: The model, for the message.
        seconds: Time that the process may take.
        backend: Keras's backend there; empty: as here.

    Raises:
        Corrupt: The process failed.
        Momentary: The process took too long, or the system ended it.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", CHILD + call, str(ROOT), *arguments],
            cwd=folder,
            env=_environment(folder) | ({"KERAS_BACKEND": backend} if backend else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Momentary(f"{what} gave no answers within {seconds:.0f} s.") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise Momentary(f"{what} gave no answers: {name} ended its process.")
    if done.returncode:
        raise _no_answers(what, done.stderr.strip()[-300:] or f"exit code {done.returncode}")


def _environment(folder: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {
        "HOME": folder,
        "KERAS_HOME": folder,  # else Keras reads its configuration in the user's home
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_DETERMINISTIC_OPS": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the asking process may use the GPU too
    }


def _no_answers(what: str, received: str) -> Corrupt:
    return Corrupt(
        f"{what} cannot be asked in a clean process.",
        expected="a model that loads with Keras alone and gives probabilities",
        received=received,
        do="do not use this version; register the run again",
    )


def answer(model: str, folder: str) -> None:
    """Load a model and write its predictions. Runs in the process of its own.

    Args:
        model: Path of a ``.keras`` file.
        folder: Folder with `PIXELS`, which gets `ANSWERS`.
    """
    from tasks.model_file import answers_of, from_bytes

    try:
        loaded = from_bytes(Path(model).read_bytes())
    except (BadInput, OSError) as error:
        raise SystemExit(_in_short(error)) from None
    pixels = np.load(Path(folder, PIXELS), allow_pickle=False)
    np.save(Path(folder, ANSWERS), answers_of(loaded, pixels), allow_pickle=False)


def _in_short(error: Exception) -> str:
    told = isinstance(error, PipelineError)
    return " ".join(str(error).split())[:300] if told else f"{type(error).__name__}: {error}"
