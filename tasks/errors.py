"""The exceptions of the pipeline, and the exit codes that carry them to an orchestrator.

    PipelineError
    ├── BadInput        64  a person must change something; a retry cannot help
    │   ├── NotFound        the store has no such object
    │   └── Corrupt         an object is not what its record says
    ├── Momentary       75  a fault of the moment; a retry may help
    ├── Halt            99  the step decided that the rest must not run
    └── AlreadyExists       a create-once write lost the race (never reaches a user)

64 and 75 are EX_USAGE and EX_TEMPFAIL of BSD's sysexits.h; 99 is the code that Airflow's
own operators read as "skipped".

What a message tells of names and answers is text of others: it cannot begin a line of its own, and
holds no password.
"""

from tasks.text.lines import visible
from tasks.text.redaction import redacted


def _shown(text: str) -> str:
    """In one line, and without a password: libraries repeat the address that they were given."""
    return visible(redacted(text))


class PipelineError(Exception):
    """Root of everything the pipeline raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, log: str = "") -> None:
        """`log`: lines of a log, which stand below the message, each on a line of its own."""
        super().__init__("\n".join(_shown(line) for line in (message, *log.splitlines())))


class BadInput(PipelineError):
    """The input is wrong; says what was expected, what was received and what to do."""

    exit_code = 64

    def __init__(self, problem: str, *, expected: str, received: str, do: str) -> None:
        self.problem, self.expected = _shown(problem), _shown(expected)
        self.received, self.do = _shown(received), _shown(do)
        below = f"  Expected: {self.expected}\n  Received: {self.received}\n  Do:       {self.do}"
        super().__init__(self.problem, log=below)


class NotFound(BadInput):
    """The store has no object under this key."""


class Corrupt(BadInput):
    """An object's SHA-256 is not the one that its record holds."""


class Momentary(PipelineError):
    """The network, the server or the machine failed for the moment."""

    exit_code = 75


class Halt(PipelineError):
    """Not an error: the step decided that the steps after it must not run."""

    exit_code = 99


class AlreadyExists(PipelineError):
    """Another writer created this key first."""
