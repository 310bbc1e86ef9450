"""Note who started a run: ``runs/<run>/started.json``, written by the first step, ``ingest``."""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from tasks.engine.person import Person, person_here
from tasks.engine.store import Store
from tasks.errors import AlreadyExists, NotFound
from tasks.pipeline import STARTED

log = logging.getLogger(__name__)


def note_start(store: Store, run: str) -> None:
    """Note the person behind this process as who started the run, unless somebody is noted."""
    note = {
        "by": person_here().model_dump(mode="json"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with suppress(AlreadyExists):
        store.create(f"runs/{run}/{STARTED}", json.dumps(note).encode())


def started_by(store: Store, run: str) -> Person | None:
    """Who started a run; None for a run of an earlier version, or for an unreadable note."""
    try:
        return Person.model_validate(json.loads(store.read(f"runs/{run}/{STARTED}"))["by"])
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        log.warning("Who started run %s cannot be read: %s", run, said)
        return None
