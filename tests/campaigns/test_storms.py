"""An S3 server that fails in one of twenty requests, again and again: nothing is lost."""

import os
from pathlib import Path

import pytest

from tests.support.campaigns import found
from tests.support.missing import need_public_sets
from tests.support.paths import DATA
from tests.support.servers import S3Server
from tests.support.storms import sample, split_behind_faults

STORMS = int(os.environ.get("STORMS", "50"))


@pytest.mark.parametrize("s3", ["radosgw"], indirect=True)
@pytest.mark.parametrize("seed", range(1, STORMS + 1))
def test_every_public_image_arrives(
    s3: S3Server, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tenth storm takes the whole nine-class set, the others a fixed sample."""
    need_public_sets("isic9")
    whole = seed % 10 == 1
    images = DATA / "isic9" if whole else sample(DATA / "isic9", tmp_path / "isic9", 10)
    found("storms", {f"seed {seed}": split_behind_faults(s3, images, seed, monkeypatch)})
