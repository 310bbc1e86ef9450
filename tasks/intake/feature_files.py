"""Where local features lie, for who removes them: needs no OpenCV."""

from tasks.engine.sources import code_hash

FOLDER, SUFFIX = "shared/features/", ".features"


def shard_of(key: str) -> str:
    """The key of the shard whose features lie under this key, found by whatever code."""
    return f"shared/shards/{key.rpartition('/')[2].removesuffix(SUFFIX)}.npy"


def folder_now() -> str:
    """Where the features lie that this code finds."""
    return f"{FOLDER}{code_hash('intake.local_features')[:16]}/"
