"""The store as Airflow's own processes see it, and its defaults for the form."""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import get_parsing_context

from tasks.config import OWN_POLICY, Retraining, parse_config
from tasks.engine.defaults import config_of, defaults_of
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Momentary
from tasks.records.record import Record

if TYPE_CHECKING:
    from tasks.monitoring.outcomes import Outcomes
    from tasks.monitoring.watched import Watched

log = logging.getLogger(__name__)
Seen = TypeVar("Seen")

# Longest wait for the defaults while Airflow parses the DAG file. Airflow gives up a file that
# takes 30 s, and then there would be no DAG.
SECONDS_TO_READ = 3.0
LONGEST_WAIT = 1800.0  # seconds
LOOKS = 4  # at the list of files, within the quiet time
# The environment belongs to all threads of a process, and the API server has several.
ONE_AT_A_TIME = threading.Lock()
READER = "ingest"  # the step with whose credentials Airflow itself reads


def config_of_run(address: str, given: dict[str, Any]) -> Retraining:
    """The configuration of a run, as its steps will find it.

    Args:
        address: ``STORE/runs/NAME``.
        given: Values by field, of whoever started the run; none for a run that nobody started.

    Raises:
        BadInput: The given fields, the store's defaults, or both together are not valid.
        Momentary: The store does not answer.
    """
    store, _, name = address.rpartition("/runs/")
    with logged_in(store):
        return config_of(open_store(store), name, json.dumps(given))


def wait_until_quiet(address: str) -> None:
    """Wait until nothing under ``raw/`` has changed for MELANOMA_QUIET_SECONDS (default 60).

    Each delivery of several reports an event, and the first starts a run. This run is to take them
    all, and no half of a delivery. After LONGEST_WAIT seconds the run goes on; it leaves later
    files to the next run, which their events start.

    Args:
        address: ``STORE/runs/NAME``.

    Raises:
        BadInput: MELANOMA_QUIET_SECONDS is not a number, 0 or above.
        Momentary: The store does not answer.
    """
    quiet = _quiet_seconds()
    uri = address.rpartition("/runs/")[0]
    began = last_change = time.monotonic()
    with logged_in(uri):
        store = open_store(uri)
        before = list(store.list("raw/"))
        while time.monotonic() < last_change + quiet:
            if time.monotonic() > began + LONGEST_WAIT:
                log.warning(
                    "Files still arrive under raw/. The run goes on with those that lie there."
                )
                return
            time.sleep(quiet / LOOKS)
            now = list(store.list("raw/"))
            if now != before:
                log.info("%d files under raw/, and more arrive.", len(now))
                before, last_change = now, time.monotonic()


def _quiet_seconds() -> float:
    text = os.environ.get("MELANOMA_QUIET_SECONDS") or "60"
    with suppress(ValueError):
        if 0 <= float(text) < LONGEST_WAIT:
            return float(text)
    raise BadInput(
        "It is not known how long to wait for further deliveries.",
        expected=f"MELANOMA_QUIET_SECONDS from 0 to below {LONGEST_WAIT:g}",
        received=f"MELANOMA_QUIET_SECONDS={text}",
        do="correct it for Airflow's processes, and start them again",
    )


def record_of(address: str, step: str) -> Record | None:
    """The record of a step of a run, ``STORE/runs/NAME``; None if there is none."""
    from tasks.engine.run import read_record  # a few hundred milliseconds, for no parse of a DAG

    store, _, name = address.rpartition("/runs/")
    with logged_in(store):
        return read_record(open_store(store), name, step)


def last_drift_test(uri: str) -> "Watched | None":
    """The last drift test in the ledger of monitoring of a store; None if there is none.

    Raises:
        Corrupt: The ledger is damaged.
    """
    from tasks.monitoring.history import history_in  # for no parse of a DAG

    with logged_in(uri):
        tests = history_in(open_store(uri)).tests
    return tests[-1] if tests else None


def last_outcomes(uri: str) -> "Outcomes | None":
    """The last look at released diagnoses in the ledger of monitoring of a store; None if there is
    none.

    Raises:
        Corrupt: The ledger is damaged.
    """
    from tasks.monitoring.history import history_in  # for no parse of a DAG

    with logged_in(uri):
        looks = history_in(open_store(uri)).outcomes
    return looks[-1] if looks else None


def policies_for_form() -> list[str]:
    """The keys of the policies that lie in the store, ``policies/NAME.yaml``; none if the store
    does not answer in time, or if nobody looks."""
    uri = store_of_form()
    if not uri:
        return []
    try:
        with logged_in(uri):
            return _within(SECONDS_TO_READ, uri, policies_in)
    except Exception as error:  # whatever it is, the DAG must stay
        log.warning("The form does not show the store's policies: %s", error)
        return []


def policies_in(store: Store) -> list[str]:
    """The keys of the policies of a store's own, in order."""
    keys = (entry.key for entry in store.list("policies/"))
    return [key for key in keys if re.fullmatch(OWN_POLICY, key)]


def store_of_form() -> str:
    """The address of the store whose facts a form shows; empty if there is none, or if nobody
    looks: a task parses the DAG file too, and takes nothing from the form."""
    if get_parsing_context().task_id:
        return ""
    return os.environ.get("MELANOMA_STORE", "").rstrip("/")


def defaults_for_form() -> tuple[Retraining, str]:
    """The defaults that the form shows: those of the store, else those of the product.

    Returns:
        The defaults, and why they are not those of the store; empty if they are, or if nobody
        looks.
    """
    uri = store_of_form()
    if not uri:
        return Retraining(), ""
    try:
        with logged_in(uri):
            return parse_config("{}", _within(SECONDS_TO_READ, uri, defaults_of)), ""
    except Exception as error:  # whatever it is, the DAG must stay
        why = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("The form shows the defaults of the product: %s", why)
        return Retraining(), why


def _within(seconds: float, uri: str, look: Callable[[Store], Seen]) -> Seen:
    """What a look at a store finds.

    Raises:
        Momentary: The store did not answer in time. boto3 alone would ask for minutes.
    """
    answers: list[Seen] = []
    errors: list[Exception] = []

    def read() -> None:
        try:
            answers.append(look(open_store(uri)))
        except Exception as error:
            errors.append(error)

    reader = threading.Thread(target=read, daemon=True)  # so that it does not hold up the process
    reader.start()
    reader.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise Momentary(f"The store {uri} did not answer within {seconds:g} s.")
    return answers[0]


@contextmanager
def logged_in(uri: str, step: str = READER) -> Iterator[None]:
    """Take the credentials from where the containers of a step get theirs, and the key to sign with
    where the step writes. Who only reads verifies by MELANOMA_PUBLIC_KEY."""
    with ExitStack() as stack:
        given = stack.enter_context(_keys(step)) if step != READER else {}
        given = given | stack.enter_context(_login(uri, step))
        if not given:
            yield
            return
        stack.enter_context(ONE_AT_A_TIME)
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def _login(uri: str, step: str) -> Iterator[dict[str, str]]:
    """The variable that names a file with the login to the store; none where none is needed."""
    variable = "AWS_SHARED_CREDENTIALS_FILE"
    named = os.environ.get("MELANOMA_STORE_CONNECTION") or "{step}" in os.environ.get(variable, "")
    if not uri.startswith("s3://") or not named:
        yield {}
        return
    from dags import credentials  # imports Docker's client

    with credentials.mounts(step, credentials.STORE) as found:
        yield {variable: found[0]["Source"]}


@contextmanager
def _keys(step: str) -> Iterator[dict[str, str]]:
    """The variables that name the keys of a step that writes, where a connection holds them."""
    from dags import signing

    with signing.for_a_process(step) as found:
        yield found
