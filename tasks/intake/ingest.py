"""ingest: decode the delivered files once, to packed pixels and a manifest."""

import logging
import re
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import pandas as pd

from tasks.config import Law
from tasks.engine.erasures import LAW, erasures_in
from tasks.engine.run import Run
from tasks.engine.store import Entry, read_many
from tasks.engine.withdrawals import Withdrawn
from tasks.errors import BadInput
from tasks.figures import listed, plural
from tasks.intake.contents import (
    FILE_TYPES,
    WITHHELD,
    begun,
    describe,
    known,
    remember,
    remember_pack,
    shards_of,
    told_by_tags,
    withheld,
    without_names,
)
from tasks.intake.folder import ODD_NAME, is_odd
from tasks.intake.folders import label_by, suggestion_for
from tasks.intake.forms import unread_forms
from tasks.intake.guide import NAME as GUIDE
from tasks.intake.guide import Guide, guide_of, source_by
from tasks.intake.joining import Joined, join_tables
from tasks.intake.manifest import (
    COLUMNS,
    IMAGES_PER_SHARD,
    file_of,
    read_parquet,
    table,
    tags_of,
    to_parquet,
)
from tasks.intake.matching import Names
from tasks.intake.pseudonyms import Pseudonyms, of_store
from tasks.intake.readings import by_entry, tell
from tasks.intake.scopes import scoped
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.intake.tagged import Tagged, TaggedFile
from tasks.lesions import (
    FILE_SUFFIX,
    SYNTHETIC_PREFIX,
    Diagnosis,
    image_id_from,
    is_image,
)
from tasks.parts import Part, bucket_of
from tasks.records.ingested import FolderRead, Ingested, IngestedPart, Reading

log = logging.getLogger(__name__)

Row = dict[str, Any]

MOST_FOLDERS = 50  # that a record names; a delivery may have a folder for each patient


def ingest_part(run: Run, part: Part) -> IngestedPart:
    """Fetch and decode the files of one part that no earlier run has seen.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    images, _, _ = _delivered(run)
    memory = known(run)
    mine = [each for each in images if part.holds(each.key) and _is_safe(each)]
    gone = erasures_in(run.store)
    erased = {each.key: gone.why(image_id=image_id_from(each.key)) for each in mine}
    seen, new = memory.of([each for each in mine if not erased[each.key]])
    # An unfinished attempt leaves only whole packs, so the rest is packed in the same way.
    kept, missing = begun(run).of(new) if new else (seen[:0], new)
    out = _not_fetched([each for each in mine if erased[each.key]], LAW, erased)
    frames = [each.assign(fetched=False) for each in (seen, out)] + [kept.assign(fetched=True)]
    done = len(kept)
    if done:
        log.info("An unfinished attempt already decoded %d of %d images.", done, len(new))
    # A photograph beside DICOMs may be named after their patient.
    pseudonyms, tags = of_store(run.store), told_by_tags(memory.files, seen, kept)
    for pack in _packs(missing):
        found = describe(run, pack, memory)
        tags += told_by_tags(found)
        nameless, _ = without_names(found, pseudonyms, tags)
        remember_pack(run, nameless, {entry.key: entry.etag for entry in pack})
        frames.append(found.assign(fetched=True))
        done += len(pack)
        run.progress(done, len(new), f"{done} of {len(new)} images decoded")
    files, _ = without_names(pd.concat(frames), pseudonyms, tags)
    files = files.sort_values("key", ignore_index=True)
    return IngestedPart(
        rows=run.keep("rows.parquet", to_parquet(files)), shards=shards_of(files), fetched=len(new)
    )


def _is_safe(entry: Entry) -> bool:
    """Whether a key stays in its folder on a disk, and is the very name of the file; an S3 key may
    contain anything."""
    return ".." not in entry.key.split("/") and not is_odd(entry.key)


def _packs(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The files to pack together. They share a bucket, so packs do not depend on the parts.

    Packs with DICOMs come first: what their tags say is known when other names are looked at.
    """
    buckets: dict[int, list[Entry]] = {}
    for entry in entries:
        buckets.setdefault(bucket_of(entry.key), []).append(entry)
    packs = [
        bucket[start : start + IMAGES_PER_SHARD]
        for _, bucket in sorted(buckets.items())
        for start in range(0, len(bucket), IMAGES_PER_SHARD)
    ]
    yield from sorted(packs, key=lambda pack: not any(_may_be_dicom(each.key) for each in pack))


def _may_be_dicom(key: str) -> bool:
    suffix = FILE_SUFFIX.search(key)
    return not suffix or suffix[0].casefold() in (".dcm", ".dicom")


def ingest(run: Run, parts: tuple[IngestedPart, ...]) -> Ingested:
    """Join the parts, and add to every file what the delivered tables say about its image.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    images, tables, ignored = _delivered(run)
    odd = {entry.key: ODD_NAME for entry in tables if not _is_safe(entry)}
    tables = [entry for entry in tables if entry.key not in odd]
    files = pd.concat([read_parquet(run, part.rows) for part in parts], ignore_index=True)
    pseudonyms = of_store(run.store)
    files = pd.concat([files, _unsafe(images).assign(fetched=False)], ignore_index=True)
    files, telling = without_names(files, pseudonyms, told_by_tags(files))
    remember(run, files[files["fetched"]], {entry.key: entry.etag for entry in images})
    fetched = sum(part.fetched for part in parts)
    contents = read_many(run.store, [entry.key for entry in tables])
    guides = [entry.key for entry in run.delivered() if _is_guide(entry) and _is_safe(entry)]
    guide = guide_of(zip(guides, read_many(run.store, guides), strict=True))
    named, note = scoped(_told_by_names(files, guide))

    def said(key: str) -> str:
        return withheld(key, pseudonyms) if telling.tells(key) else key

    unread_by_form = unread_forms(ignored)
    ignored = tuple(map(said, ignored))
    joined = join_tables(
        ((said(entry.key), data) for entry, data in zip(tables, contents, strict=True)),
        Names(
            zip(file_of(named), named["image_id"], strict=True), _hidden(images, named, pseudonyms)
        ),
        guide,
        Tagged(_tagged(named), pseudonyms),
    )
    joined.unread |= {said(key): why for key, why in (odd | unread_by_form).items()}
    facts, unread = joined.facts, tuple(joined.unread)
    ignored = (*ignored, *joined.texts)
    manifest = table(_told_by_tables(named, facts, run.config.coarse_codes, guide))
    artifact = run.share("manifests", to_parquet(manifest), ".parquet")
    decoded = int(manifest["shard"].notna().sum())
    unmatched = sorted(facts.keys() - set(named["image_id"]))
    log.info(
        "%d files under raw/: %d decoded, %d refused; %d fetched now, %d known from earlier runs.",
        len(manifest), decoded, len(manifest) - decoded, fetched,
        sum(map(_is_safe, images)) - fetched,
    )  # fmt: skip
    reading = _reading(manifest, joined, note, run.withdrawn())
    tell(reading, ignored)
    return Ingested(
        manifest=artifact,
        shards=shards_of(manifest),
        packed_px=run.config.packed_size,
        files=len(manifest),
        decoded=decoded,
        fetched=fetched,
        tables={each.key: each.rows for each in reading.tables},
        ignored=tuple(dict.fromkeys((*ignored, *unread))),
        rows_without_image=len(unmatched),
        rows_without_image_examples=tuple(unmatched[:10]),
        synthetic=bool(manifest["image_id"].str.startswith(SYNTHETIC_PREFIX).any()),
        reading=reading,
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
        notes=tuple(each for each in (note, frames, *joined.notes) if each),
        withdrawn=tuple(by_entry(withdrawn)),
        sources={str(name): int(n) for name, n in manifest["source"].value_counts().items()},
    )


def _is_guide(entry: Entry) -> bool:
    return entry.key.endswith(f"/{GUIDE}")


def _delivered(run: Run) -> tuple[list[Entry], list[Entry], tuple[str, ...]]:
    """The images, the tables, and the keys of all other files."""
    entries = run.delivered()
    shown = [entry for entry in entries if not _is_litter(entry.key)]
    images = [entry for entry in shown if is_image(entry.key)]
    tables = [entry for entry in shown if entry.key.casefold().endswith(TABLE_SUFFIXES)]
    taken = {entry.key for entry in images + tables}
    taken |= {entry.key for entry in shown if _is_guide(entry)}
    ignored = tuple(entry.key for entry in entries if entry.key not in taken)
    if not images:
        raise BadInput(
            "There is nothing to learn from.",
            expected=f"images under raw/ in {run.store.uri}, in folders named after their "
            "diagnosis, such as raw/first/Train/melanoma/ISIC_0000002.jpg",
            received=f"{len(tables)} tables, {len(ignored)} other files and no image"
            + _all_withdrawn(run),
            do="deliver images: python -m tasks deliver --store STORE --images DIR",
        )
    return images, tables, ignored


def _all_withdrawn(run: Run) -> str:
    told = [
        f"{plural(each.files, 'file')} by entry {each.entry} of the ledger of deliveries "
        f"({each.by}: {each.reason})"
        for each in by_entry(run.withdrawn())
    ]
    return f"; withdrawn are {listed(told, 3)}" if told else ""


def _is_litter(key: str) -> bool:
    """Whether a file is hidden, or left behind by an archiver of macOS. A name with '..' is not
    litter: a law handles it.

    The folder of the delivery itself may have any name, because a person chose it.
    """
    names = key.split("/")
    below = names[2:] or names[1:]  # of raw/DELIVERY/
    return "__MACOSX" in names or any(re.match(r"\.(?!\.?$)", name) for name in below)


def _unsafe(images: list[Entry]) -> pd.DataFrame:
    """The files whose names leave their folder, or are none that a store can keep; they are not
    fetched."""
    found = [each for each in images if not _is_safe(each)]
    reasons = {e.key: ODD_NAME if is_odd(e.key) else "the name holds '..'" for e in found}
    return _not_fetched(found, "unsafe_name", reasons)


def _not_fetched(entries: list[Entry], law: Law, reasons: dict[str, str]) -> pd.DataFrame:
    """Rows of files whose content nobody looks at, with the law that each breaks."""
    rows = [
        {
            "key": each.key,
            "size_bytes": each.size_bytes,
            "sha256": "",
            "law": law,
            "reason": reasons[each.key],
        }
        for each in entries
    ]
    return pd.DataFrame(rows, columns=list(FILE_TYPES)).astype(FILE_TYPES)


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
