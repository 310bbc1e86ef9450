"""Where local features, and comparisons of pictures, lie, for who removes them: needs no OpenCV."""

from tasks.engine.sources import code_hash
from tasks.records.record import sha256

FOLDER, SUFFIX = "shared/features/", ".features"
COMPARED = "shared/compared/"


def shard_of(key: str) -> str:
    """The key of the shard whose features lie under this key, found by whatever code."""
    return f"shared/shards/{key.rpartition('/')[2].removesuffix(SUFFIX)}.npy"


def folder_now() -> str:
    """Where the features lie that this code finds."""
    return f"{FOLDER}{code_hash('intake.local_features')[:16]}/"


def compared_now() -> str:
    """Where the comparisons lie that this code makes."""
    code = code_hash("intake.copies") + code_hash("intake.same_pixels")
    return f"{COMPARED}{sha256(code.encode())[:16]}/"
