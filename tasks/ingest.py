"""ingest: what was delivered, decoded once, as packed pixels and a manifest."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel

from tasks.contracts import Artifact, Ingested, IngestedPart
from tasks.errors import BadInput, NotFound
from tasks.images import THUMBNAIL_PX, Decoded, decode
from tasks.lesions import (
    COARSE_CODES,
    IMAGE_SUFFIXES,
    SYNTHETIC_PREFIX,
    TABLE_COLUMNS,
    Diagnosis,
    archive_says,
    diagnosis_from,
    image_id_from,
    source_from,
)
from tasks.likeness import perceptual_hashes, to_hex
from tasks.manifest import IMAGES_PER_SHARD, read_parquet, table, to_npy, to_parquet
from tasks.parts import Part, bucket_of
from tasks.run import Run, code_hash
from tasks.storage import Entry, read_many
from tasks.tables import join_tables

log = logging.getLogger(__name__)

Row = dict[str, Any]


def ingest_part(run: Run, part: Part) -> IngestedPart:
    """Fetch and decode what no earlier run has seen of one part of the files.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    images, _, _ = _delivered(run)
    mine = [entry for entry in images if part.holds(entry.key)]
    known = _known_rows(run, part)
    rows = [known[entry.key, entry.etag] for entry in mine if (entry.key, entry.etag) in known]
    new = [entry for entry in mine if (entry.key, entry.etag) not in known]
    done = 0
    for pack in _packs(new):
        rows += _decode_shard(run, pack)
        done += len(pack)
        run.progress(done, len(new), f"{done} of {len(new)} images decoded")
    frame = table(rows)
    return IngestedPart(
        rows=run.keep("rows.parquet", to_parquet(frame)), shards=_shards(frame), fetched=len(new)
    )


def _packs(entries: list[Entry]) -> Iterator[list[Entry]]:
    """What to pack together: files of one bucket, so that the packs do not depend on the parts."""
    buckets: dict[int, list[Entry]] = {}
    for entry in entries:
        buckets.setdefault(bucket_of(entry.key), []).append(entry)
    for _, bucket in sorted(buckets.items()):
        for start in range(0, len(bucket), IMAGES_PER_SHARD):
            yield bucket[start : start + IMAGES_PER_SHARD]


def ingest(run: Run, parts: tuple[IngestedPart, ...]) -> Ingested:
    """Join the parts, and describe every file by what the delivered tables say of it.

    Raises:
        BadInput: There is no image under ``raw/``.
    """
    images, tables, ignored = _delivered(run)
    rows = [row for part in parts for row in _rows_of(read_parquet(run, part.rows))]
    fetched = sum(part.fetched for part in parts)
    contents = read_many(run.store, [entry.key for entry in tables])
    facts, recognized, unread = join_tables(
        {entry.key: data for entry, data in zip(tables, contents, strict=True)}
    )
    coarse = run.config.coarse_codes
    manifest = table([_labelled(row | facts.get(row["image_id"], {}), coarse) for row in rows])
    artifact = run.share("manifests", to_parquet(manifest), ".parquet")
    memory = Memory(manifest=artifact, etags={entry.key: entry.etag for entry in images})
    run.store.replace(_memory_key(run), memory.model_dump_json().encode())
    decoded = int(manifest["shard"].notna().sum())
    unmatched = sorted(facts.keys() - set(manifest["image_id"]))
    log.info(
        "%d files under raw/: %d decoded, %d refused; %d fetched now, %d known from earlier runs.",
        len(manifest), decoded, len(manifest) - decoded, fetched, len(images) - fetched,
    )  # fmt: skip
    for name, count in recognized.items():
        log.info("Table %s speaks of %d images.", name, count)
    for key in (*ignored, *unread):
        log.warning("Ignored %s: neither an image nor a table that is recognized.", key)
    return Ingested(
        manifest=artifact,
        shards=_shards(manifest),
        packed_px=run.config.packed_size,
        files=len(manifest),
        decoded=decoded,
        fetched=fetched,
        tables=recognized,
        ignored=(*ignored, *unread),
        rows_without_image=len(unmatched),
        rows_without_image_examples=tuple(unmatched[:10]),
        synthetic=bool(manifest["image_id"].str.startswith(SYNTHETIC_PREFIX).any()),
    )


def _delivered(run: Run) -> tuple[list[Entry], list[Entry], tuple[str, ...]]:
    """The images, the tables, and the keys of all else."""
    entries = run.delivered()
    shown = [entry for entry in entries if not _is_litter(entry.key)]
    images = [entry for entry in shown if entry.key.casefold().endswith(IMAGE_SUFFIXES)]
    tables = [entry for entry in shown if entry.key.casefold().endswith(".csv")]
    taken = {entry.key for entry in images + tables}
    ignored = tuple(entry.key for entry in entries if entry.key not in taken)
    if not images:
        raise BadInput(
            "There is nothing to learn from.",
            expected=f"images under raw/ in {run.store.uri}, in folders named after their "
            "diagnosis, such as raw/first/Train/melanoma/ISIC_0000002.jpg",
            received=f"{len(tables)} tables, {len(ignored)} other files and no image",
            do="deliver images: python -m tasks deliver --store STORE --images DIR",
        )
    return images, tables, ignored


def _is_litter(key: str) -> bool:
    """Hidden files and what archivers of macOS leave behind; '..' is none, but a law's matter."""
    parts = key.split("/")
    return "__MACOSX" in parts or any(re.match(r"\.(?!\.?$)", part) for part in parts)


def _folder_of(parts: list[str]) -> str:
    """The nearest enclosing folder that names a diagnosis; else the one that the file lies in."""
    for name in reversed(parts[:-1]):
        if diagnosis_from(name):
            return name
        if name.casefold() in ("train", "test", *COARSE_CODES):
            break
    return parts[-2]


def _decode_shard(run: Run, entries: list[Entry]) -> list[Row]:
    """Fetch and decode up to one shard of images; returns their rows."""
    contents = read_many(run.store, [entry.key for entry in entries])
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow and hashlib release the GIL
        described = list(
            threads.map(lambda entry, data: _describe(run, entry, data), entries, contents)
        )
    pixels = [decoded.pixels for _, decoded in described if decoded]
    if not pixels:
        return [row for row, _ in described]
    shard = run.share("shards", to_npy(np.stack(pixels)), ".npy")
    planes = np.frombuffer(b"".join(each.thumbnail for _, each in described if each), np.uint8)
    hashes = to_hex(perceptual_hashes(planes.reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX)))
    index = 0
    for row, decoded in described:
        if decoded:
            row |= {"shard": shard.key, "shard_sha256": shard.sha256, "index": index}
            row["perceptual_hash"] = hashes[index]
            index += 1
    return [row for row, _ in described]


def _describe(run: Run, entry: Entry, data: bytes) -> tuple[Row, Decoded | None]:
    parts = entry.key.split("/")
    image_id = image_id_from(entry.key)
    row: Row = {
        "key": entry.key,
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "image_id": image_id,
        "folder": _folder_of(parts),
        "part": next((part for part in parts if part.casefold() in ("train", "test")), None),
        "source": source_from(image_id),
    }
    if ".." in parts:  # an S3 key may hold anything; on a disk it would leave the folder
        return row | {"law": "unsafe_name", "reason": "the name holds '..'"}, None
    result = decode(
        data,
        packed_px=run.config.packed_size,
        maximum_megapixels=run.config.maximum_megapixels,
    )
    if not isinstance(result, Decoded):
        return row | {"law": result.law, "reason": result.reason}, None
    facts = ("width", "height", "mode", "format", "pixel_hash", "thumbnail")
    colour = dict(zip(("red", "green", "blue"), result.colour, strict=True))
    return row | {name: getattr(result, name) for name in facts} | colour, result


def _labelled(row: Row, coarse_codes: dict[str, Diagnosis]) -> Row:
    """The folder names the diagnosis; where it does not, the archives' tables may, exactly."""
    label = diagnosis_from(row["folder"])
    told = row.get("archive_diagnosis")
    if label is None and told:
        said = archive_says(told) or ()
        meant = [coarse_codes.get(each.split("=", 1)[1]) for each in told.split("|")]
        label = said[0] if len(said) == 1 else next(filter(None, meant), None)
    return row | {"label": label}


# What earlier runs have decoded -----------------------------------------------------------------


class Memory(BaseModel):
    """What was decoded, and the ETag that each file had then. ETags stay out of the manifest:
    the same files have others in another store."""

    manifest: Artifact
    etags: dict[str, str]


def _memory_key(run: Run) -> str:
    """Pixels packed by other code, or to another size, are not the same pixels."""
    config = run.config
    return (
        f"shared/decoded/{config.packed_size}px-{config.maximum_megapixels}mp-"
        f"{code_hash('images')[:16]}.json"
    )


def _known_rows(run: Run, part: Part) -> dict[tuple[str, str], Row]:
    try:
        memory = Memory.model_validate_json(run.store.read(_memory_key(run)))
        manifest = read_parquet(run, memory.manifest)
        manifest = manifest[manifest["key"].map(part.holds).astype(bool)]
        for shard in _shards(manifest):
            run.fetch(shard)
    except NotFound:
        return {}
    except (BadInput, ValueError) as error:
        log.warning("What earlier runs decoded cannot be used, all is decoded anew: %s", error)
        return {}
    return {(row["key"], memory.etags.get(row["key"], "")): row for row in _rows_of(manifest)}


def _rows_of(manifest: pd.DataFrame) -> list[Row]:
    """The rows, without what is told by tables, which may change from run to run."""
    told = (set(TABLE_COLUMNS) - {"image_id"}) | {
        "label", "archive_diagnosis", "contradiction", "other_metadata",
    }  # fmt: skip
    own = [name for name in manifest.columns if name not in told]
    rows = manifest[own].astype(object).where(manifest[own].notna(), None).to_dict("records")
    return [cast(Row, row) for row in rows]


def _shards(manifest: pd.DataFrame) -> tuple[Artifact, ...]:
    packed = manifest.dropna(subset=["shard"])
    return tuple(
        Artifact(key=str(key), sha256=str(digest), size_bytes=0)
        for key, digest in sorted(set(zip(packed["shard"], packed["shard_sha256"], strict=True)))
    )
