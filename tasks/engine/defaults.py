"""The defaults of a store: the file ``config.json`` beside ``raw/``, and each run's copy of it.

A run keeps a copy when it begins. So every step of a run reads the same defaults, however late the
step begins, and a person may change the file at any time.
"""

import logging
from contextlib import suppress

from tasks.config import Retraining, parse_config
from tasks.engine.deliveries import note_defaults
from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, BadInput, NotFound

log = logging.getLogger("tasks")

KEY = "config.json"
NONE = "{}"
MOST_BYTES = 100_000  # a configuration with every field has 2,000


def defaults_of(store: Store) -> str:
    """The defaults of a store, as a JSON object; ``{}`` for a store without the file.

    Raises:
        BadInput: The file does not hold a valid configuration.
    """
    try:
        data = store.read(KEY)
    except NotFound:
        return NONE
    try:
        text = data[: MOST_BYTES + 1].decode()
    except UnicodeDecodeError as error:
        raise _refused(store, str(error)) from error
    if len(data) > MOST_BYTES:
        raise _refused(store, f"{len(data)} bytes")
    try:
        parse_config(text)
    except BadInput as error:
        raise _refused(store, error.received) from error
    return text or NONE


def set_defaults(store: Store, text: str, by: Person) -> None:
    """Write the defaults of a store, and note who sets them.

    Args:
        store: The store.
        text: JSON object with any of the fields of `Retraining`.
        by: Who sets them.

    Raises:
        BadInput: The text is no valid configuration; nothing is written.
    """
    parse_config(text)
    note_defaults(store, by, text.encode())
    store.replace(KEY, text.encode())
    log.info("The defaults of %s are set.", store.uri)


def _refused(store: Store, received: str) -> BadInput:
    return BadInput(
        f"The defaults of the store are not valid, so no run of {store.uri} can begin.",
        expected=f"a file {KEY} beside raw/ that --config would take too, or no such file",
        received=received,
        do=f"correct {KEY}, then look at them with `python -m tasks config --store {store.uri}`",
    )


def config_of(store: Store, run: str, given: str) -> Retraining:
    """The configuration of a run: the given fields; for the others, the run's copy of the store's
    defaults; for the rest, the defaults of the product.

    A run without a copy, which has not begun, has the store's present defaults.

    Args:
        store: The store.
        run: Name of the run.
        given: JSON object with any of the fields of `Retraining`, as ``--config`` takes it.

    Raises:
        BadInput: The given fields, the defaults, or both together are not valid.
    """
    return parse_config(given, _copy(store, run) or defaults_of(store))


def begin(store: Store, run: str, given: str) -> Retraining:
    """The configuration of a run, as `config_of`. A run without a copy of the store's defaults
    gets one. A configuration that is not valid leaves nothing behind."""
    copy = _copy(store, run)
    defaults = copy or defaults_of(store)
    config = parse_config(given, defaults)
    if copy is None:
        try:
            store.create(f"runs/{run}/{KEY}", defaults.encode())
        except AlreadyExists:  # another part of the first step was faster
            return config_of(store, run, given)
        if defaults != NONE:
            log.info("Fields that are not given have the defaults of the store: %s", defaults)
    return config


def _copy(store: Store, run: str) -> str | None:
    with suppress(NotFound):
        return store.read(f"runs/{run}/{KEY}").decode()
    return None
