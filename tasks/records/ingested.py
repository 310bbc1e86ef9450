"""The record of ``ingest``: the delivered files, decoded once."""

from pydantic import Field

from tasks.records.record import Artifact, Record


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
