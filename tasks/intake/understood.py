"""What a delivery means: its files with what their names and tables say, and how it was read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pandas as pd

from tasks.engine.run import Run
from tasks.engine.store import Entry, read_many
from tasks.engine.withdrawals import Withdrawn
from tasks.intake.contents import WITHHELD, withheld
from tasks.intake.derived_names import in_words as copies_in_words
from tasks.intake.folder import ODD_NAME, is_odd
from tasks.intake.folders import label_by, suggestion_for
from tasks.intake.forms import unread_forms
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.guide import Guide, guide_of, source_by
from tasks.intake.joining import Joined, join_tables
from tasks.intake.manifest import COLUMNS, file_of, table, tags_of
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import Pseudonyms
from tasks.intake.readings import by_entry
from tasks.intake.scopes import scoped
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.intake.tagged import Tagged, TaggedFile
from tasks.intake.telling import Telling
from tasks.lesions import Diagnosis, image_id_from, is_image
from tasks.records.ingested import FolderRead, Reading

Row = dict[str, Any]

MOST_FOLDERS = 50  # that a record names; a delivery may have a folder for each patient


@dataclass(frozen=True)
class Delivery:
    """The files of one delivery, or of all, by what they may be.

    Attributes:
        images: Files that may be images, by their names.
        tables: Files that may be tables.
        guides: Files ``reading.yaml``.
        ignored: Keys of all other files.
    """

    images: list[Entry]
    tables: list[Entry]
    guides: list[Entry]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Understood:
    """What a delivery means.

    Attributes:
        manifest: A row for each picture, with `COLUMNS`.
        reading: How tables and folders were read.
        ignored: Files that are neither an image nor a recognized table.
        unmatched: Ids of images that tables name and that were not delivered.
        elsewhere: Lesion and patient of these images, by id.
    """

    manifest: pd.DataFrame
    reading: Reading
    ignored: tuple[str, ...]
    unmatched: list[str]
    elsewhere: dict[str, Row]


def of_entries(entries: list[Entry]) -> Delivery:
    """Sort files by what they may be. Hidden files count as ignored."""
    shown = [entry for entry in entries if not _is_litter(entry.key)]
    images = [entry for entry in shown if is_image(entry.key)]
    tables = [entry for entry in shown if entry.key.casefold().endswith(TABLE_SUFFIXES)]
    guides = [entry for entry in shown if entry.key.endswith(f"/{GUIDE}")]
    taken = {entry.key for entry in (*images, *tables, *guides)}
    ignored = tuple(entry.key for entry in entries if entry.key not in taken)
    return Delivery(images, tables, guides, ignored)


def is_safe(entry: Entry) -> bool:
    """Whether a key stays in its folder on a disk, and is the very name of the file; an S3 key may
    contain anything."""
    return ".." not in entry.key.split("/") and not is_odd(entry.key)


def _is_litter(key: str) -> bool:
    """Whether a file is hidden, or left behind by an archiver of macOS. A name with '..' is not
    litter: a law handles it.

    The folder of the delivery itself may have any name, because a person chose it.
    """
    names = key.split("/")
    below = names[2:] or names[1:]  # of raw/DELIVERY/
    return "__MACOSX" in names or any(re.match(r"\.(?!\.?$)", name) for name in below)


def understood(
    run: Run,
    delivery: Delivery,
    files: pd.DataFrame,
    telling: Telling,
    pseudonyms: Pseudonyms,
    withdrawn: list[Withdrawn],
) -> Understood:
    """Join what the names of files say with what tables say.

    Args:
        run: Names the store, and says what coarser codes stand for.
        delivery: The files as they were delivered.
        files: A row for each decoded or refused picture, without names that tell who a patient is.
        telling: What tells who a patient is.
        pseudonyms: The names of the store's patients.
        withdrawn: What was withdrawn of these files.
    """

    def said(key: str) -> str:
        return withheld(key, pseudonyms) if telling.tells(key) else key

    odd = {entry.key: ODD_NAME for entry in delivery.tables if not is_safe(entry)}
    tables = [entry.key for entry in delivery.tables if entry.key not in odd]
    guides = [entry.key for entry in delivery.guides if is_safe(entry)]
    guide = guide_of(zip(guides, read_many(run.store, guides), strict=True))
    named, note = _told_by_names(files.reset_index(drop=True), guide), ""
    if len(named):
        named, note = scoped(named)
    contents = zip(map(said, tables), read_many(run.store, tables), strict=True)
    names = Names(
        zip(file_of(named), named["image_id"], strict=True),
        _hidden(delivery.images, named, pseudonyms),
    )
    joined = join_tables(contents, names, guide, Tagged(_tagged(named), pseudonyms))
    unread = odd | unread_forms(delivery.ignored)
    joined.unread |= {said(key): why for key, why in unread.items()}
    manifest = table(_told_by_tables(named, joined.facts, run.config.coarse_codes, guide))
    ignored = (*map(said, delivery.ignored), *joined.texts, *joined.unread)
    unmatched = sorted(joined.facts.keys() - set(named["image_id"]))
    return Understood(
        manifest,
        _reading(manifest, joined, note, withdrawn),
        tuple(dict.fromkeys(ignored)),
        unmatched,
        {i: {n: joined.facts[i].get(n) for n in ("lesion_id", "patient_id")} for i in unmatched},
    )


def _tagged(named: pd.DataFrame) -> Iterator[TaggedFile]:
    """The DICOMs among the files, each once, with ids that do not yet count frames."""
    frames = named["frame"].fillna(1).groupby(file_of(named)).transform("max")
    for image_id, tags, number, count in zip(
        named["image_id"], tags_of(named), named["frame"].fillna(1), frames, strict=True
    ):
        if tags and number == 1:
            yield TaggedFile(str(image_id), tags, int(count))


def _hidden(images: list[Entry], named: pd.DataFrame, pseudonyms: Pseudonyms) -> dict[str, str]:
    """The ids of files whose names are withheld, and what stands for each."""
    there = set(file_of(named))
    lost = [entry.key for entry in images if entry.key not in there]
    return {image_id_from(key): image_id_from(withheld(key, pseudonyms)) for key in lost}


def _reading(
    manifest: pd.DataFrame, joined: Joined, note: str, withdrawn: list[Withdrawn]
) -> Reading:
    silent = manifest[manifest["label"].isna() & ~manifest["key"].str.startswith(WITHHELD)]
    several = int(manifest["frame"].eq(1).sum())
    frames = f"{several} files hold several frames, each an image of its own" if several else ""
    folders = [
        FolderRead(name=str(name), files=int(count), suggestion=suggestion_for(str(name)))
        for name, count in silent["folder"].value_counts().items()
    ]
    return Reading(
        tables=tuple(joined.tables),
        unread=joined.unread,
        folders=tuple(folders[:MOST_FOLDERS]),
        more_folders=max(0, len(folders) - MOST_FOLDERS),
        notes=tuple(
            each for each in (note, frames, copies_in_words(manifest), *joined.notes) if each
        ),
        withdrawn=tuple(by_entry(withdrawn)),
        sources={str(name): int(n) for name, n in manifest["source"].value_counts().items()},
    )


def _told_by_names(files: pd.DataFrame, guide: Guide) -> pd.DataFrame:
    """The files with the columns that follow from their keys alone."""
    keys = file_of(files)
    paths = [str(key).split("/") for key in keys]
    ids = [image_id_from(key) for key in keys]
    devices = [tags.get("device", "") for tags in tags_of(files)]
    return files.assign(
        image_id=ids,
        folder=[names[-2] if len(names) > 1 else "" for names in paths],
        part=pd.Series(
            [
                next((name for name in names if name.casefold() in ("train", "test")), None)
                for names in paths
            ],
            dtype="str",
        ),
        source=[
            source_by(str(key), image_id, guide, device)
            for key, image_id, device in zip(keys, ids, devices, strict=True)
        ],
    )


def _told_by_tables(
    files: pd.DataFrame,
    facts: dict[str, Row],
    coarse_codes: dict[str, Diagnosis],
    guide: Guide,
) -> pd.DataFrame:
    """The files with what the tables say about their images, and with labels. From here on, the id
    of a later frame ends in its number: what a table says of a file, it says of each frame."""
    names = [name for name in COLUMNS if name not in files and name != "label"]
    rows = [facts.get(image_id, {}) for image_id in files["image_id"]]
    told = pd.DataFrame(rows, columns=names)
    label = cache(partial(label_by, coarse_codes=coarse_codes, guide=guide))
    said = zip(files["folder"], told["archive_diagnosis"].astype(object), strict=True)
    labels = [label(folder, codes if isinstance(codes, tuple) else ()) for folder, codes in said]
    later = files["frame"].fillna(1)
    ids = [
        f"{image_id}#{frame}" if frame > 1 else image_id
        for image_id, frame in zip(files["image_id"], later, strict=True)
    ]
    return pd.concat([files, told], axis=1).assign(
        label=pd.Series(labels, dtype="str"), image_id=ids
    )
