"""Translate the exit code of a command (``tasks.errors``) for Airflow."""

import signal

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tasks.errors import BadInput, Halt

SIGNALS = signal.NSIG - 1  # the highest number of a signal


def of_a_shell(exit_code: int) -> int:
    """The exit code of a process, as `raise_for` takes it, from that of a container: engines count
    a signal from 128 up, as a shell does, and Python from 0 down."""
    return 128 - exit_code if 0 < exit_code - 128 <= SIGNALS else exit_code


def raise_for(exit_code: int, last_line: str) -> None:
    """Raise the matching exception of Airflow, unless the code is 0.

    Args:
        exit_code: Exit code of the command; below 0, the number of the signal that ended it.
        last_line: Last line of the output: the reason for a skip, or what to do about bad input.

    Raises:
        AirflowSkipException: 99, the rest must not run.
        AirflowFailException: 64, the input is wrong; no retry.
        AirflowException: Any other; the task is tried again.
    """
    if exit_code == Halt.exit_code:
        raise AirflowSkipException(last_line or "The step decided that the rest must not run.")
    if exit_code == BadInput.exit_code:
        raise AirflowFailException(
            "The input is wrong, see above; a person must change something, so there is no retry. "
            + last_line.strip()  # what to do
        )
    if exit_code < 0:
        raise AirflowException(f"The process was ended by {_name_of(-exit_code)}.")
    if exit_code:
        raise AirflowException(f"The process ended with exit code {exit_code}, see above.")


def _name_of(number: int) -> str:
    """Some signals, such as those for real time, have no name of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
