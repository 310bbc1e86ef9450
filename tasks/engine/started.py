"""Note who started a run: ``runs/<run>/started.json``, written by the first step, ``ingest``.

Whoever started a training may not approve its model, so the note is signed where there is a key.
"""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from tasks.engine.person import Person, person_here
from tasks.engine.signing import NOTE, SPOT, keys_here, with_signature, without_signature
from tasks.engine.store import Store
from tasks.engine.vouchers import vouched
from tasks.errors import AlreadyExists, NotFound
from tasks.pipeline import STARTED

log = logging.getLogger(__name__)


def note_start(store: Store, run: str) -> None:
    """Note the person behind this process as who started the run, unless somebody is noted."""
    note = {
        "by": person_here().model_dump(mode="json"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    key, keys = f"runs/{run}/{STARTED}", keys_here()
    data = json.dumps(note | ({"signature": SPOT} if keys.on else {})).encode()
    with suppress(AlreadyExists):
        store.create(key, with_signature(keys, NOTE, key, data) if keys.on else data)


def started_by(store: Store, run: str) -> Person | None:
    """Who started a run; None for a run of an earlier version, for an unreadable note, and for one
    that is not signed although there is a key."""
    key = f"runs/{run}/{STARTED}"
    try:
        data = store.read(key)
        note = json.loads(data)
        person = Person.model_validate(note["by"])
        if why := _why_not(store, key, data, str(note.get("signature", ""))):
            log.warning("Who started run %s is not believed: the note has %s.", run, why)
            return None
        return person
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        log.warning("Who started run %s cannot be read: %s", run, said)
        return None


def _why_not(store: Store, key: str, data: bytes, signature: str) -> str:
    """Why a note is not believed, in words; empty if it is."""
    keys = keys_here()
    if not keys.on or vouched(store, keys, key, data):
        return ""
    return keys.why_not(NOTE, key, without_signature(data, signature), signature)
