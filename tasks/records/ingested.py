"""The record of ``ingest``: the delivered files, decoded once."""

from typing import ClassVar

from pydantic import Field

from tasks.records.record import Artifact, Frozen, Record


class TableRead(Frozen):
    """A delivered table, as it was understood."""

    key: str = Field(description="Key of the file in the store.")
    rows: int = Field(description="Rows that name an image.")
    matched: int = Field(description="Of these, the rows whose image was delivered.")
    columns: dict[str, str] = Field(
        description="What each column was taken for; empty for a column that is kept unchanged."
    )
    problems: tuple[str, ...] = Field(description="What was not understood or used, in words.")
    unmatched: tuple[str, ...] = Field(description="A few of the ids whose image is not there.")
    codes: dict[str, int] = Field(
        description="Diagnoses that are not understood, with the number of their rows."
    )


class FolderRead(Frozen):
    """A folder whose name gives no label."""

    name: str = Field(description="Name of the folder.")
    files: int = Field(description="Number of its files.")
    suggestion: str | None = Field(description="The class that the name may mean, or None.")


class WithdrawnFiles(Frozen):
    """Delivered files that a person withdrew before the run began."""

    entry: int = Field(ge=1, description="Number of the entry of the ledger of deliveries.")
    by: str = Field(description="Who withdrew them, in words.")
    at: str = Field(description="When, UTC, ISO 8601.")
    reason: str = Field(description="Why.")
    files: int = Field(ge=1, description="Number of files.")
    examples: tuple[str, ...] = Field(description="A few of their keys.")


class Reading(Frozen):
    """What was understood of the delivered tables and folders, and what was not."""

    tables: tuple[TableRead, ...] = Field(description="The tables that were understood.")
    unread: dict[str, str] = Field(
        description="Files that should be tables and are not understood, with the reason."
    )
    folders: tuple[FolderRead, ...] = Field(
        description="Folders whose names give no label, those of the most files first; at most 50."
    )
    more_folders: int = Field(description="Number of such folders beyond these.")
    notes: tuple[str, ...] = Field(description="Ids that were linked or kept apart, in words.")
    withdrawn: tuple[WithdrawnFiles, ...] = Field(
        (), description="Files that are left out because they were withdrawn, by entry."
    )
    sources: dict[str, int] = Field({}, description="Number of images of each source.")


class ExternalSet(Frozen):
    """A labelled set of another place: models are judged on it, and never learn from it."""

    name: str = Field(description="Name of the set: its folder under ``external/``.")
    manifest: Artifact = Field(
        description="Parquet, one row per image file of the set, as `Ingested.manifest`."
    )
    shards: tuple[Artifact, ...] = Field(description="``.npy`` files, as in `Ingested`.")
    files: int = Field(description="Rows in the manifest.")
    decoded: int = Field(description="Rows whose pixels could be decoded.")
    ignored: tuple[str, ...] = Field(
        description="Keys of files of the set that are neither an image nor a recognized table."
    )
    rows_without_image: int = Field(description="Image ids in its tables without an image.")
    rows_without_image_examples: tuple[str, ...] = Field(description="A few of these image ids.")
    reading: Reading = Field(description="What was understood of its tables and folders.")


class IngestedPart(Record):
    """The files of one part, decoded."""

    rows: Artifact = Field(
        description="Parquet, one row per image file of this part: the columns of "
        "`tasks.intake.manifest.COLUMNS`, without those that metadata tables fill."
    )
    shards: tuple[Artifact, ...] = Field(description="``.npy`` files, as in `Ingested`.")
    fetched: int = Field(description="Files that had to be fetched, as in `Ingested`.")


class Ingested(Record):
    """The delivered files, decoded once."""

    # 1 kept no reading of tables and folders; 2 knew no external sets
    FORMAT: ClassVar[int] = 3
    ADDED: ClassVar[tuple[str, ...]] = ("reading", "external")

    manifest: Artifact = Field(
        description="Parquet, one row per file under ``raw/`` that is not a table; its columns "
        "are those of `tasks.intake.manifest.COLUMNS`."
    )
    shards: tuple[Artifact, ...] = Field(
        description="``.npy`` files, uint8 ``(n, packed_px, packed_px, 3)``, RGB, 0 to 255."
    )
    packed_px: int = Field(description="Side of the packed images, in pixels.")
    files: int = Field(description="Rows in the manifest.")
    decoded: int = Field(description="Rows whose pixels could be decoded.")
    fetched: int = Field(
        description="Files that had to be fetched. An earlier run whose ingest ended knew the "
        "other files by their ETag. The number of attempts makes no difference."
    )
    tables: dict[str, int] = Field(
        description="Metadata tables that were recognized, with the rows of each."
    )
    ignored: tuple[str, ...] = Field(
        description="Keys under ``raw/`` that are neither an image nor a recognized table."
    )
    rows_without_image: int = Field(
        description="Image ids in the tables without a delivered image."
    )
    rows_without_image_examples: tuple[str, ...] = Field(description="A few of these image ids.")
    synthetic: bool = Field(
        description="True if any file was drawn by ``tasks.intake.synthesize``."
    )
    reading: Reading | None = Field(
        None, description="What was understood of tables and folders; None in older records."
    )
    external: tuple[ExternalSet, ...] = Field(
        (), description="The external sets of the store, by name."
    )
