"""The manifest: a row for each delivered picture, as a pandas table; and the packed pixels."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from tasks.engine.run import Run
from tasks.intake.contradictions import Contradiction
from tasks.lesions import Code
from tasks.records.record import Artifact

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

Array = np.ndarray[Any, Any]

IMAGES_PER_SHARD = 512  # 50 MB at 180 px: large enough for S3, small enough to hold a few

COLUMNS = {
    "key": "str",  # path in the store
    "size_bytes": "int64",
    "sha256": "str",  # SHA-256 of the file; empty if the file was not fetched
    "frame": "Int64",  # number of the picture within a file of several frames, or missing
    "image_id": "str",
    "folder": "str",  # name of the folder of the file
    "part": "str",  # Train or Test, if the delivery says so
    "label": "str",  # one of the nine diagnoses, or missing
    "source": "str",  # archive, by image id; the camera, by the tags of a DICOM
    "width": "Int64",  # pixels, upright
    "height": "Int64",
    "mode": "str",  # Pillow's colour mode
    "format": "str",
    "pixel_hash": "str",
    "thumbnail": "object",  # 1,024 bytes: uint8 (32, 32), grey
    "red": "Float64",  # mean of the thumbnail before it was grey, 0 to 255
    "green": "Float64",
    "blue": "Float64",
    "encoding": "str",  # settings of the JPEG encoder; empty for another format
    "camera": "str",  # by the EXIF block of the file, or empty
    "surroundings": "object",  # float32 figures, see `tasks.intake.surroundings.OF_PIXELS`
    "tags": "str",  # what the tags of a DICOM say, as JSON; see `tasks.intake.dicom_tags.Tags`
    "perceptual_hash": "str",  # 64 bits, as 16 hexadecimal digits
    "law": "str",  # the law that decoding broke, or missing
    "reason": "str",  # the reason, for a person
    "shard": "str",  # key of the shard that holds the pixels
    "shard_sha256": "str",
    "index": "Int64",  # row inside the shard
    "lesion_id": "str",
    "patient_id": "str",
    "age_years": "Float64",
    "sex": "str",
    "site": "str",
    "archive_diagnosis": "object",  # tuple of Code: the diagnosis of each archive; or missing
    "contradiction": "object",  # tuple of Contradiction: how tables contradict each other
    "other_metadata": "str",  # unknown columns of the tables, as JSON
}
BYTES = ("thumbnail", "surroundings")  # columns that no person reads


def table(rows: list[dict[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Make a manifest of rows, with exactly `COLUMNS`, in the order of the keys."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return frame.sort_values("key", ignore_index=True)


def file_of(frame: pd.DataFrame) -> pd.Series:
    """The key of the file of each row; that of a later frame ends in ``#`` and its number."""
    later = frame["frame"].gt(1).fillna(False).astype(bool)
    if not later.any():
        return frame["key"]
    return frame["key"].mask(later, frame["key"].str.rpartition("#")[0])


def tags_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What the tags of each row say, empty for what is no DICOM, also in older manifests."""
    said = frame["tags"] if "tags" in frame else [None] * len(frame)
    return [json.loads(each) if isinstance(each, str) else {} for each in said]


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet; a cell with several values is a list of structs."""
    buffer = io.BytesIO()
    told = {name: _cells(frame[name], _structs) for name in NESTED if name in frame}
    frame.assign(**told).to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def parquet_of(data: bytes) -> pd.DataFrame:
    """Read the Parquet that `to_parquet`, or an earlier version of the program, wrote."""
    frame = pd.read_parquet(io.BytesIO(data))
    told = {name: _cells(frame[name], read) for name, read in NESTED.items() if name in frame}
    return frame.assign(**told)


def _cells(column: pd.Series, change: Callable[[Any], Any]) -> pd.Series:
    """Change each cell that is not missing."""
    cells = [None if _missing(cell) else change(cell) for cell in column]
    return pd.Series(cells, index=column.index, dtype="object")


def _missing(cell: Any) -> bool:
    return cell is None or (not isinstance(cell, str) and not np.iterable(cell))


def _structs(cell: "tuple[Code | Contradiction, ...]") -> list[dict[str, Any]]:
    return [asdict(each) for each in cell]


def _codes(cell: Any) -> tuple[Code, ...]:
    if not isinstance(cell, str):
        return tuple(Code(each["archive"], tuple(each["terms"])) for each in cell)
    # Format 1 joined codes: archive=code|archive=code, with a colon between the archive's terms.
    split = [each.partition("=") for each in cell.split("|") if each]
    return tuple(
        Code(archive, tuple(text.split(":")) if archive == "ISIC Archive" else (text,))
        for archive, _, text in split
    )


def _contradictions(cell: Any) -> tuple[Contradiction, ...]:
    if not isinstance(cell, str):
        return tuple(Contradiction(**each) for each in cell)
    # Format 1 joined contradictions: "age 50 or 51; sex male or female".
    split = [each.partition(" ") for each in cell.split("; ")]
    return tuple(
        Contradiction("age_years" if about == "age" else about, *said.partition(" or ")[::2])
        for about, _, said in split
    )


NESTED: dict[str, Callable[[Any], Any]] = {
    "archive_diagnosis": _codes,
    "contradiction": _contradictions,
}


def read_parquet(run: Run, artifact: Artifact) -> pd.DataFrame:
    """Fetch a table that `to_parquet` wrote."""
    return parquet_of(run.fetch(artifact))


def to_npy(images: "Array | Sequence[Array]") -> bytes:
    """The bytes that `numpy.save` writes, made with one copy of the pixels instead of three."""
    form, header = np.lib.format, io.BytesIO()
    first = images[0]
    told = form.header_data_from_array_1_0(first) | {"shape": (len(images), *first.shape)}
    form.write_array_header_1_0(header, told | {"fortran_order": False})
    rows = (np.ascontiguousarray(image).data.cast("B") for image in images)
    return b"".join((header.getvalue(), *rows))


def pixels_of(run: Run, frame: pd.DataFrame) -> Pixels:
    """The packed pixels of a table's rows, in their order.

    Args:
        run: Names the store with the shards.
        frame: Rows with ``shard``, ``shard_sha256`` and ``index``, none missing.

    Returns:
        uint8 ``(rows, packed_px, packed_px, 3)``, RGB, 0 to 255.

    Raises:
        Corrupt: A shard is not the one that the table names.
    """
    pixels: Pixels = np.zeros((0, 1, 1, 3), np.uint8)
    for places, packed in by_shard(run, frame):
        if not len(pixels):
            pixels = np.empty((len(frame), *packed.shape[1:]), np.uint8)
        pixels[places] = packed
    return pixels


def by_shard(run: Run, frame: pd.DataFrame) -> Iterator[tuple[Array, Pixels]]:
    """The pixels of `pixels_of`, shard by shard. Only one shard is in memory at a time.

    Yields:
        The positions of the rows of one shard, int ``(n,)``, 0 to rows - 1, and their packed
        pixels, uint8 ``(n, packed_px, packed_px, 3)``.

    Raises:
        Corrupt: A shard is not the one that the table names.
    """
    numbered = frame.reset_index(drop=True)
    for (key, digest), rows in numbered.groupby(["shard", "shard_sha256"], sort=True):
        data = run.fetch(Artifact(key=str(key), sha256=str(digest), size_bytes=0))
        shard = np.load(io.BytesIO(data), allow_pickle=False)
        yield rows.index.to_numpy(), shard[rows["index"].to_numpy(int)]
