"""The exceptions of the pipeline, and the exit codes that carry them to an orchestrator.

    PipelineError
    ├── BadInput        64  a person must change something; a retry cannot help
    │   ├── NotFound        the store has no such object
    │   └── Corrupt         an object is not what its record says
    ├── Momentary       75  a temporary fault; a retry may help
    ├── Halt            99  the step decided that the rest must not run
    └── AlreadyExists       a create-once write lost the race (never reaches a user)

64 and 75 are EX_USAGE and EX_TEMPFAIL of BSD's sysexits.h; 99 is the code that Airflow's
own operators read as "skipped".

Names and answers in a message are text of others: they cannot begin a new line, and passwords are
removed.
"""

from tasks.text.lines import visible
from tasks.text.redaction import redacted


def _shown(text: str) -> str:
    """Text in one line, without passwords: libraries repeat the address that they were given."""
    return visible(redacted(text))


class PipelineError(Exception):
    """Root of everything the pipeline raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, log: str = "") -> None:
        """`log`: lines of a log to show below the message, each on its own line."""
        super().__init__("\n".join(_shown(line) for line in (message, *log.splitlines())))


class BadInput(PipelineError):
    """The input is wrong. The message says what was expected, what was received and what to do."""

    exit_code = 64

    def __init__(self, problem: str, *, expected: str, received: str, do: str) -> None:
        self.problem, self.expected = _shown(problem), _shown(expected)
        self.received, self.do = _shown(received), _shown(do)
        below = f"  Expected: {self.expected}\n  Received: {self.received}\n  Do:       {self.do}"
        super().__init__(self.problem, log=below)


class NotFound(BadInput):
    """The store has no object under this key."""


class Corrupt(BadInput):
    """An object does not match its record, for example by SHA-256."""


class Momentary(PipelineError):
    """The network, the server or the machine failed temporarily."""

    exit_code = 75


class Halt(PipelineError):
    """Not an error: the step decided that the steps after it must not run."""

    exit_code = 99


class AlreadyExists(PipelineError):
    """Another writer created this key first."""
