"""How many labelled lesions were delivered since the model in use was trained."""

import json
import logging

from tasks.engine.store import Entry, Store, read_many
from tasks.engine.withdrawals import withdrawals_in
from tasks.errors import NotFound
from tasks.intake.folders import label_of
from tasks.intake.joining import join_tables
from tasks.intake.matching import Names
from tasks.intake.understood import is_safe, of_entries
from tasks.lesions import image_id_from

log = logging.getLogger(__name__)


def new_labelled_lesions(store: Store, run: str) -> int | None:
    """Lesions with a label of which images lie under ``raw/`` that a run did not have.

    This is an estimate by the names of folders and by tables, before any file is decoded: ingest
    and validate may refuse some, and a lesion of which the run had another image counts too. An
    image without a named lesion counts as one.

    Args:
        store: The store.
        run: Name of the run.

    Returns:
        None if it is not known which files the run had.
    """
    try:
        had = {str(each["key"]) for each in json.loads(store.read(f"runs/{run}/raw.json"))}
    except NotFound:
        return None
    withdrawn = withdrawals_in(store).now
    delivery = of_entries([each for each in store.list("raw/") if each.key not in withdrawn])
    images = [each for each in delivery.images if is_safe(each)]
    new = {image_id_from(each.key): each.key for each in images if each.key not in had}
    if not new:
        return 0
    tables = [each.key for each in delivery.tables if is_safe(each)]
    contents = zip(tables, read_many(store, tables), strict=True)
    facts = join_tables(contents, Names(_named(images))).facts
    lesions = set()
    for image_id, key in new.items():
        told = facts.get(image_id, {})
        if label_of(key.rpartition("/")[0].rpartition("/")[2]) or told.get("archive_diagnosis"):
            lesions.add(str(told.get("lesion_id") or image_id))
    log.info("%d new images, of %d lesions with a label.", len(new), len(lesions))
    return len(lesions)


def _named(images: list[Entry]) -> list[tuple[str, str]]:
    return [(each.key, image_id_from(each.key)) for each in images]
