"""What a run of Kubeflow was given, for the tasks after it: the first task of the pipeline.

A pipeline of Kubeflow has a parameter for each field of the configuration, without a default: a
field that nobody gives must have the default of the store, which may change after the pipeline was
uploaded. Kubeflow hands a task what it was given, and where it looks for the outputs, as one JSON
object, its executor input (``{{$}}``).
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config import Retraining
from tasks.engine.defaults import config_of
from tasks.engine.run import open_run
from tasks.errors import BadInput
from tasks.pipeline import PIPELINE, parts_of

log = logging.getLogger("tasks")

RUN = "run"  # the input with the address of the run
GIVEN = "given"  # the output with the fields that were given, as a JSON object
# An address that is put together of parameters comes with them, under names that begin so.
KFPS_OWN = "pipelinechannel--"
OVER = tuple(dict.fromkeys(row.division.over for row in PIPELINE if row.division))


def names_output(over: str) -> str:
    """The output with the names of the parts of the steps that divide over a field."""
    return f"names_of_{over}"


@dataclass(frozen=True)
class _ExecutorInput:
    run: str
    given: dict[str, Any]
    files: dict[str, Path]


def write_outputs(text: str) -> None:
    """Check the whole configuration of a run, and write the outputs of the first task: the fields
    that were given, and the names of the parts, at least one for each division.

    Args:
        text: The executor input, as JSON.

    Raises:
        BadInput: It is no executor input of this pipeline, the configuration is not valid, or an
            output cannot be written.
    """
    read = _read(text)
    run = open_run(read.run, Retraining())
    given = json.dumps(read.given)
    config = config_of(run.store, run.name, given)
    log.info("The configuration of this run: %s", config.model_dump_json())
    outputs = {GIVEN: given}
    for over in OVER:
        row = next(row for row in PIPELINE if row.division and row.division.over == over)
        names = [str(part.part) for part in parts_of(row, config)]
        outputs[names_output(over)] = json.dumps(names)
    for name, content in outputs.items():
        _write(read.files[name], content)


def _write(file: Path, content: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    except (OSError, ValueError) as error:
        raise BadInput(
            "An output cannot be written where Kubeflow looks for it.",
            expected="a file that a task may make",
            received=f"{str(file)[:200]!r} ({error})",
            do="compile and upload the pipeline anew: `make kubeflow`",
        ) from error


def _read(text: str) -> _ExecutorInput:
    try:
        found = json.loads(text)
        values = found["inputs"]["parameterValues"]
        places = found["outputs"]["parameters"]
        if not isinstance(values[RUN], str):
            raise TypeError(f"the address of the run is {values[RUN]!r}")
        return _ExecutorInput(
            run=values[RUN],
            # Kubeflow gives null for what nobody gave.
            given={
                name: value
                for name, value in values.items()
                if name != RUN and not name.startswith(KFPS_OWN) and value is not None
            },
            files={
                name: Path(places[name]["outputFile"]) for name in (GIVEN, *map(names_output, OVER))
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            "It cannot be read what Kubeflow was given.",
            expected="the executor input of a task of this pipeline",
            received=f"{text[:200]!r} ({type(error).__name__}: {error})",
            do="compile and upload the pipeline anew: `make kubeflow`",
        ) from error
