"""Remember the decoded contents of files, so that no content is decoded twice.

A content is known by its SHA-256: the same bytes under another name, or in a later delivery, are
not decoded again. A file is known by its key and ETag, and is not even fetched again. Each
retraining that fetched files adds one table under ``shared/decoded/``. No table is ever rewritten,
so attempts that fail or overlap cannot spoil what is known.

Until a retraining has fetched all files, it adds a table for each pack under ``shared/packs/``. The
next attempt, of this run or another, goes on from there. These tables describe files only, not
contents. Otherwise the place of a content would depend on the number of failed attempts.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tasks.config import Retraining
from tasks.engine.erasures import LAW, Erasures, erasures_in
from tasks.engine.run import Run
from tasks.engine.sources import code_hash
from tasks.engine.store import Entry, read_many
from tasks.errors import BadInput
from tasks.intake.dicom import Pictures, pictures_of_dicom
from tasks.intake.dicom_file import is_dicom
from tasks.intake.dicom_tags import names_its_patient
from tasks.intake.encoding import encoding_and_camera
from tasks.intake.images import THUMBNAIL_PX, Decoded, Refused, decode
from tasks.intake.likeness import perceptual_hashes, to_hex
from tasks.intake.manifest import COLUMNS, Pixels, file_of, parquet_of, tags_of, to_npy, to_parquet
from tasks.intake.pseudonyms import Pseudonyms, for_now, of_store
from tasks.intake.sheets import TABLE_SUFFIXES
from tasks.intake.surroundings import AT_ONCE, measured_on
from tasks.intake.telling import Telling
from tasks.lesions import IMAGE_SUFFIXES, is_image
from tasks.records.record import Artifact, sha256

log = logging.getLogger(__name__)

Row = dict[str, Any]

FOUND = (
    *("frame", "width", "height", "mode", "format", "pixel_hash", "thumbnail"),
    *("red", "green", "blue", "encoding", "camera", "surroundings", "tags"),
)
PACKED = ("perceptual_hash", "shard", "shard_sha256", "index")
# Columns of one file, and the columns that depend on its bytes alone.
FILE_COLUMNS = ("key", "size_bytes", "sha256", *FOUND, *PACKED, "law", "reason")
FILE_TYPES = {name: COLUMNS[name] for name in FILE_COLUMNS}
TYPES = FILE_TYPES | {"etag": "str", "shard_etag": "str"}

# Most files, and about the most bytes, that a thread takes at once. One by one, small files cost
# noticeably more; with many large files at once, the other threads would wait at the end.
GROUP = 16
GROUP_BYTES = 500_000
# Groups for each thread that are held in memory, being decoded or waiting.
AHEAD = 2

WITHHELD = "raw/withheld/"  # stands for the name of a file whose own name says who the patient is
NAMING = {
    "law": "name_of_a_patient",
    "reason": "the name of the file, or of a folder, tells who the patient is",
}
FEW = 8  # shards; looked up one by one, they take fewer requests than a list of all
ENDED = "ended"  # marks the packs of a run whose table under shared/decoded/ covers all of them


@dataclass(frozen=True)
class Known:
    """The files that earlier runs have decoded.

    Attributes:
        files: One row per key and ETag: ``etag`` and `FILE_COLUMNS`. Every shard that a row names
            exists.
    """

    files: pd.DataFrame

    @cached_property
    def _contents(self) -> dict[str, list[int]]:
        once = self.files.reset_index(drop=True).drop_duplicates(["sha256", "frame"])["sha256"]
        found: dict[str, list[int]] = {}
        for position, digest in once.items():
            found.setdefault(digest, []).append(int(str(position)))
        return found

    def of(self, entries: list[Entry]) -> tuple[pd.DataFrame, list[Entry]]:
        """The rows of the files that are known, with `FILE_COLUMNS`, and the files that are not."""
        asked = pd.DataFrame({"file": [e.key for e in entries], "etag": [e.etag for e in entries]})
        files = asked.astype("str").merge(
            self.files.assign(file=file_of(self.files)), on=["file", "etag"]
        )
        told = set(files["file"])
        return files[list(FILE_COLUMNS)], [entry for entry in entries if entry.key not in told]

    def content(self, sha256: str) -> list[Row]:
        """The rows of a file with these bytes, under whatever name; none if they are not known."""
        rows = (self.files.iloc[position] for position in self._contents.get(sha256, ()))
        return [{name: row[name] for name in (*FOUND, *PACKED, "law", "reason")} for row in rows]


def known(run: Run) -> Known:
    """The files that earlier runs decoded with this code to this size, if their shards exist."""
    return _told_by(run, [entry.key for entry in run.store.list(f"shared/decoded/{_kind(run)}/")])


def begun(run: Run) -> Known:
    """The files that unfinished attempts decoded, of this run and of others."""
    places = [entry.key for entry in run.store.list(f"shared/packs/{_kind(run)}/")]
    ended = {place.rpartition("/")[0] for place in places if place.endswith(f"/{ENDED}")}
    return _told_by(run, [place for place in places if place.rpartition("/")[0] not in ended])


def _told_by(run: Run, places: list[str]) -> Known:
    """The files in these tables; the name of each table is its SHA-256."""
    tables = []
    for key, data in zip(places, read_many(run.store, places), strict=True):
        if hashlib.sha256(data).hexdigest() == key.rpartition("/")[2].removesuffix(".parquet"):
            tables.append(parquet_of(data))
        else:
            log.warning("%s was damaged; its files are decoded again.", key)
    if not tables:
        return Known(pd.DataFrame({name: [] for name in TYPES}).astype(TYPES))
    files = pd.concat(tables, ignore_index=True)
    sound = _sound_shards(run, files)
    files = files[files["shard"].isna() | files["shard"].isin(sound)]
    return Known(in_largest_packs(files))


def in_largest_packs(files: pd.DataFrame) -> pd.DataFrame:
    """One row per key and ETag: of several, the one whose pack holds the most images, because packs
    are merged (see `tasks.intake.merging`)."""
    # The order of tables is arbitrary, because their names are hashes.
    held = -files.groupby("shard")["index"].transform("nunique").astype("Float64")
    order = ["key", "etag", "held", "shard", "index"]
    files = files.assign(held=held).sort_values(order, ignore_index=True).drop(columns="held")
    return files.drop_duplicates(["key", "etag"], ignore_index=True)


def remember_pack(run: Run, files: pd.DataFrame, etags: dict[str, str]) -> None:
    """Keep the rows of one pack, in case this attempt fails; see `remember`."""
    run.share(f"packs/{_kind(run)}/{run.name}", _table(run, files, etags), ".parquet")


def remember_places(run: Run, files: pd.DataFrame, etags: dict[str, str]) -> None:
    """Keep the rows of known files whose pixels have a new place; see `remember`."""
    run.share(f"decoded/{_kind(run)}", _table(run, files, etags), ".parquet")


def remember(run: Run, files: pd.DataFrame, etags: dict[str, str]) -> None:
    """Keep the rows of all files, for later runs.

    Args:
        run: Names the store.
        files: Files that no earlier run has described, with `FILE_COLUMNS`.
        etags: The ETag of each key when it was fetched.
    """
    files = files[~files["key"].str.startswith(WITHHELD)]  # these are looked at in each run
    if len(files):
        run.share(f"decoded/{_kind(run)}", _table(run, files, etags), ".parquet")
        # The table covers all packs now, so they need not be read again.
        run.store.replace(f"shared/packs/{_kind(run)}/{run.name}/{ENDED}", b"")


def _table(run: Run, files: pd.DataFrame, etags: dict[str, str]) -> bytes:
    named = set(files["shard"].dropna())
    # A pack names one or two, and a large store has pages of them.
    places = named if len(named) < FEW else ["shared/shards/"]
    shards = {entry.key: entry.etag for place in places for entry in run.store.list(place)}
    told = files.assign(etag=file_of(files).map(etags), shard_etag=files["shard"].map(shards))
    return to_parquet(told.sort_values("key")[list(TYPES)].astype(TYPES))


def describe(run: Run, entries: list[Entry], known: Known) -> pd.DataFrame:
    """Fetch files, decode unknown contents, and pack their pixels into one shard.

    Returns:
        One row per picture, with `FILE_COLUMNS`: one of each file, several of a file of several
        frames.
    """
    rows: list[Row] = []
    named, gone = of_store(run.store), erasures_in(run.store)
    unknown = _unknown(run, entries, known, rows, named, gone)
    found = decode_many(unknown, run.config, named)
    described = _packed(run, {digest: _let_in(each, gone) for digest, each in found.items()})
    told = [
        row | each | {"key": key_of_frame(row["key"], each)}
        for row in rows
        for each in row.pop("known", ()) or described.get(row["sha256"], [{}])
    ]
    return pd.DataFrame(told, columns=list(FILE_COLUMNS)).astype(FILE_TYPES)


def _let_in(pictures: Pictures, gone: Erasures) -> Pictures:
    """The pictures of a file without those that were erased, in whatever file they come."""
    why = [gone.why(pixels=p.pixel_hash) if isinstance(p, Decoded) else "" for p in pictures.each]
    if not any(why):
        return pictures
    left = zip(pictures.each, why, strict=True)
    return Pictures(tuple(Refused(LAW, reason) if reason else each for each, reason in left))


def key_of_frame(key: str, row: Row) -> str:
    """The key of a picture: that of its file, and for later frames their number too."""
    frame = row.get("frame", pd.NA)
    return key if pd.isna(frame) or frame == 1 else f"{key}#{int(frame)}"


def _unknown(
    run: Run,
    entries: list[Entry],
    known: Known,
    rows: list[Row],
    named: Pseudonyms,
    gone: Erasures,
) -> Iterator[tuple[str, bytes]]:
    """SHA-256 and bytes of each unknown content, once. Appends a row for every file. What was
    erased is not decoded."""
    seen = set()
    contents = read_many(run.store, [entry.key for entry in entries])
    for entry, data in zip(entries, contents, strict=True):
        digest = hashlib.sha256(data).hexdigest()
        row: Row = {"key": entry.key, "size_bytes": len(data), "sha256": digest}
        rows.append(row)
        if names_its_patient(entry.key, data):
            row |= {"key": withheld(entry.key, named), "known": [dict(NAMING)]}
        elif why := gone.why(file=digest):
            row["known"] = [{"law": LAW, "reason": why}]
        elif before := known.content(digest):
            row["known"] = before
        elif digest not in seen:
            seen.add(digest)
            yield digest, data


def withheld(key: str, named: Pseudonyms) -> str:
    """What stands for a key that tells who the patient is. A file of a known kind stays one."""
    suffix = re.search(r"\.\w+$", key.casefold())
    known = suffix and suffix[0].endswith((*IMAGE_SUFFIXES, *TABLE_SUFFIXES))
    kind = suffix[0] if suffix and known else "" if is_image(key) else ".other"
    return WITHHELD + named.of("key", key) + kind


def told_by_tags(*files: pd.DataFrame) -> list[dict[str, Any]]:
    """What the tags of the DICOMs among files say."""
    return [tags for each in files for tags in tags_of(each) if tags]


def without_names(
    files: pd.DataFrame, named: Pseudonyms, tags: list[dict[str, Any]]
) -> tuple[pd.DataFrame, Telling]:
    """The files, without the names of those that tell who the patient of a DICOM with these tags
    is, and without what was decoded of these files; and what tells it."""
    telling = Telling(tags, named)
    tells = file_of(files).map(telling.tells)
    if not tells.any():
        return files, telling
    once = files[tells & (files["frame"].isna() | files["frame"].eq(1))]
    rows = [
        {name: row[name] for name in files if name not in (*FOUND, *PACKED)}
        | {"key": withheld(row["key"], named)}
        | ({} if row["law"] == LAW else NAMING)
        for row in once.to_dict("records")
    ]
    told = pd.DataFrame(rows, columns=list(files)).astype(files.dtypes.to_dict())
    return pd.concat([files[~tells], told], ignore_index=True), telling


def decode_many(
    contents: Iterable[tuple[str, bytes]], config: Retraining, named: Pseudonyms | None = None
) -> dict[str, Pictures]:
    """Decode named contents in threads; the result of each name, in the same order."""
    groups: list[Future[dict[str, Pictures]]] = []
    named = named or for_now()
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as threads:  # decoders and hashlib release the GIL
        for group in _groups(contents):
            groups.append(threads.submit(_decode_group, group, config, named))
            if len(groups) > AHEAD * workers:
                groups[-AHEAD * workers - 1].result()
    return {name: each for group in groups for name, each in group.result().items()}


def _groups(contents: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    group: list[tuple[str, bytes]] = []
    held = 0
    for name, data in contents:
        group.append((name, data))
        held += len(data)
        if len(group) == GROUP or held > GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


def _decode_group(
    group: list[tuple[str, bytes]], config: Retraining, named: Pseudonyms
) -> dict[str, Pictures]:
    return {name: pictures_of(data, config, named) for name, data in group}


def pictures_of(data: bytes, config: Retraining, named: Pseudonyms) -> Pictures:
    """The pictures of a file of any kind."""
    limits = {"packed_px": config.packed_size, "maximum_megapixels": config.maximum_megapixels}
    if is_dicom(data):
        return pictures_of_dicom(data, pseudonyms=named, **limits)
    found = decode(data, **limits)
    if isinstance(found, Decoded):
        encoding, camera = encoding_and_camera(data)
        found = replace(found, encoding=encoding, camera=camera)
    return Pictures((found,))


def _packed(run: Run, found: dict[str, Pictures]) -> dict[str, list[Row]]:
    """The rows of each content: the result of decoding, and the place of its pixels."""
    rows: dict[str, list[Row]] = {digest: [] for digest in found}
    decoded: list[tuple[Row, Decoded]] = []
    for digest, pictures in found.items():
        for number, each in enumerate(pictures.each, start=1):
            row: Row = {"frame": number} if len(pictures.each) > 1 else {}
            row |= {"tags": json.dumps(pictures.tags.told())} if pictures.tags else {}
            rows[digest].append(row)
            if isinstance(each, Refused):
                row |= {"law": each.law, "reason": each.reason}
            else:
                decoded.append((row, each))
    if not decoded:
        return rows
    pixels = [each.pixels for _, each in decoded]
    with ThreadPoolExecutor(1) as writer:  # the disk makes it wait
        written = writer.submit(run.share, "shards", to_npy(pixels), ".npy")
        beside = _measured(pixels)
    shard = written.result()
    planes = np.frombuffer(b"".join(each.thumbnail for _, each in decoded), np.uint8)
    hashes = to_hex(perceptual_hashes(planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)))
    facts = ("width", "height", "mode", "format", "pixel_hash", "thumbnail", "encoding", "camera")
    for index, (row, each) in enumerate(decoded):
        place = (hashes[index], shard.key, shard.sha256, index)
        row |= {name: getattr(each, name) for name in facts} | {"surroundings": beside[index]}
        row |= dict(zip(("red", "green", "blue"), each.colour, strict=True))
        row |= dict(zip(PACKED, place, strict=True))
    return rows


def _measured(pixels: list[Pixels]) -> list[bytes]:
    """What packed pixels show beside the lesion: float32 of `OF_PIXELS`, as bytes."""
    groups = [pixels[at : at + AT_ONCE] for at in range(0, len(pixels), AT_ONCE)]
    return [row.tobytes() for group in groups for row in measured_on(np.stack(group))]


def shards_of(files: pd.DataFrame) -> tuple[Artifact, ...]:
    """The shards that the rows name, each once, in the order of their keys."""
    places = files[["shard", "shard_sha256"]].dropna().drop_duplicates().sort_values("shard")
    return tuple(
        Artifact(key=str(key), sha256=str(digest), size_bytes=0)
        for key, digest in places.itertuples(index=False)
    )


def _sound_shards(run: Run, files: pd.DataFrame) -> set[str]:
    """The shards that are unchanged.

    A shard with an unchanged ETag is believed, as delivered files are; any other shard is read. A
    step that reads the pixels later compares their SHA-256 in any case.
    """
    now = {entry.key: entry.etag for entry in run.store.list("shared/shards/")}
    then = set(zip(files["shard"], files["shard_etag"], strict=True))
    sound = set()
    for shard in shards_of(files):
        if shard.key not in now:
            continue
        try:
            if (shard.key, now[shard.key]) not in then:
                run.fetch(shard)
            sound.add(shard.key)
        except BadInput as error:
            log.warning("The files of a shard are decoded again: %s", error)
    return sound


def _kind(run: Run) -> str:
    """Name of the kind of pixels and figures: code and size of packing decide what these are."""
    config = run.config
    limits = f"{config.packed_size}px-{config.maximum_megapixels}mp"
    code = "".join(map(code_hash, ("intake.dicom", "intake.encoding", "intake.surroundings")))
    return f"{limits}-{sha256(code.encode())[:16]}"
