"""The DICOMs of a patient, by their tags, under whatever name and suffix they lie."""

import json

import pandas as pd

from tasks.engine.store import Entry, Store, read_many
from tasks.intake.dicom_file import is_dicom
from tasks.intake.dicom_tags import Tags, tags_alone
from tasks.intake.pseudonyms import KEY, PREFIX, of_store

PLAIN = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def dicoms_of(
    store: Store, name: str, rows: pd.DataFrame, own: set[str], delivered: list[Entry]
) -> tuple[set[str], set[str]]:
    """The numbers of a patient, hashed, and the keys of the patient's DICOMs.

    Args:
        store: The store.
        name: The patient's id.
        rows: What the tables of the store say of files: ``key`` and ``tags``.
        own: The keys of the patient's files, as the tables tell.
        delivered: The delivered files. What the tables do not know of is read.
    """
    if not any(store.list(KEY)):
        return set(), set()  # no DICOM was ever read
    told = rows[["key", "tags"]].dropna().drop_duplicates()
    said = {str(key): json.loads(tags) for key, tags in told.itertuples(index=False)}
    known = set(rows["key"])
    patients = {tags["patient"] for key, tags in said.items() if key in own and "patient" in tags}
    numbers = {tags["number"] for key, tags in said.items() if key in own and "number" in tags}
    if name.startswith(PREFIX):
        patients, numbers = patients | {name}, numbers | {name}
    others = {
        tags["number"]
        for tags in said.values()
        if "number" in tags and tags["patient"] not in patients
    }
    unread = [
        each.key
        for each in delivered
        if each.key not in said and not (each.key in known and each.key.casefold().endswith(PLAIN))
    ]
    found = {key for key, tags in said.items() if tags.get("patient") in patients}
    named = of_store(store)
    for key, data in zip(unread, read_many(store, unread), strict=True):
        tags = tags_alone(data, named) if is_dicom(data) else Tags()
        if tags.patient and (tags.patient in patients or tags.number in numbers - others):
            found.add(key)
    return numbers - others, found
