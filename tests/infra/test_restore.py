"""What a backup holds comes back whole, or is refused before anything is written."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.backups import DUMP, backup, run
from tests.support.servers import S3Server

pytestmark = pytest.mark.slow
on_s3 = pytest.mark.parametrize("s3", ["moto", "radosgw"], indirect=True)
on_moto = pytest.mark.parametrize("s3", ["moto"], indirect=True)

STORE = {
    "ledger/chain/000001.json": b"an entry",
    "private/patients.key": bytes(range(32)),
    "config.json": b"{}",
}


class Saved:
    """A store in a bucket, and a backup of it in another."""

    def __init__(self, s3: S3Server, folder: Path) -> None:
        self.s3, self.folder, self.client = s3, folder, s3.client()
        self.store, self.backups = s3.new_bucket(), s3.new_bucket()
        for key, data in STORE.items():
            self.put(self.store, f"clinic/{key}", data)
        done = backup(s3, folder, **self.places)
        assert done.returncode == 0, done.stderr
        (self.name,) = re.findall(r"/daily/(\S+)/$", done.stdout.strip())

    @property
    def places(self) -> dict[str, Any]:
        return {
            "MELANOMA_STORE": f"s3://{self.store}/clinic",
            "MELANOMA_BACKUPS": f"s3://{self.backups}/daily",
        }

    def put(self, bucket: str, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=data)

    def held(self) -> dict[str, bytes]:
        """Everything that lies in the store now."""
        found: Any = self.client.list_objects_v2(Bucket=self.store).get("Contents", ())
        return {
            each["Key"].removeprefix("clinic/"): self.client.get_object(
                Bucket=self.store, Key=each["Key"]
            )["Body"].read()
            for each in found
        }

    def restore(self, to: str, name: str = "") -> subprocess.CompletedProcess[str]:
        argv = ["-m", "infra.restore", name or self.name, str(self.folder / to)]
        return run(argv, self.s3, self.folder, **self.places)


@pytest.fixture
def saved(s3: S3Server, tmp_path: Path) -> Saved:
    return Saved(s3, tmp_path)


@on_s3
def test_a_backup_comes_back_into_an_empty_store(saved: Saved) -> None:
    saved.store = saved.s3.new_bucket()
    done = saved.restore("here")

    assert done.returncode == 0, done.stderr
    assert saved.held() == STORE
    listed = run(["-m", "infra.restore"], saved.s3, saved.folder, **saved.places)
    assert listed.stdout == f"{saved.name}\n"
    assert (saved.folder / "here/databases/airflow.dump").read_bytes() == DUMP
    assert f"{len(STORE)} objects written into the store, 0 were there" in done.stdout
    again = saved.restore("again")
    assert f"0 objects written into the store, {len(STORE)} were there" in again.stdout


@on_moto
def test_a_store_that_has_gone_on_is_not_written_to(saved: Saved) -> None:
    saved.store = saved.s3.new_bucket()
    saved.put(saved.store, "clinic/ledger/chain/000001.json", b"another entry")
    done = saved.restore("here")

    assert done.returncode != 0
    assert "other content: clinic/ledger/chain/000001.json" in done.stderr
    assert saved.held() == {"ledger/chain/000001.json": b"another entry"}


@on_moto
@pytest.mark.parametrize("change", ["store/config.json", "databases/airflow.dump"])
@pytest.mark.parametrize("removed", [True, False])
def test_a_backup_that_was_changed_is_not_taken(saved: Saved, change: str, removed: bool) -> None:
    saved.store = saved.s3.new_bucket()
    key = f"daily/{saved.name}/{change}"
    if removed:
        saved.client.delete_object(Bucket=saved.backups, Key=key)
    else:
        saved.put(saved.backups, key, b"changed")
    done = saved.restore("here")

    assert done.returncode != 0
    assert f"missing or changed: {change}" in done.stderr
    assert saved.held() == {}


@on_moto
def test_a_backup_that_is_not_whole_is_not_taken(saved: Saved) -> None:
    saved.client.delete_object(Bucket=saved.backups, Key=f"daily/{saved.name}/SHA256SUMS")
    saved.store = saved.s3.new_bucket()
    listed = run(["-m", "infra.restore"], saved.s3, saved.folder, **saved.places)

    assert listed.stdout == f"{saved.name}  not whole\n"
    for done in (saved.restore("here"), saved.restore("there", name="2020-01-01T000000Z")):
        assert done.returncode != 0
        assert "no such backup, or it ended early" in done.stderr
    assert saved.held() == {}


@on_moto
def test_no_folder_is_overwritten(saved: Saved) -> None:
    (saved.folder / "here").mkdir()

    assert "a folder that does not exist" in saved.restore("here").stderr


@on_moto
def test_a_dump_does_not_lie_in_memory_as_a_whole(s3: S3Server, tmp_path: Path) -> None:
    """The Job has 1 GiB of memory, and 10 GiB of disk for dumps."""
    source, target = s3.new_bucket(), s3.new_bucket()
    s3.client().put_object(Bucket=source, Key="config.json", Body=b"{}")
    measured = (
        "import re, runpy, sys; sys.argv = ['backup.py', sys.argv[1]]; "
        "runpy.run_path('infra/backup.py', run_name='__main__'); "
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    took = []
    for size in (1, 96):
        folder = tmp_path / str(size)
        folder.mkdir()
        with (folder / "airflow.dump").open("wb") as dump:
            dump.truncate(size << 20)
        places = {"MELANOMA_STORE": f"s3://{source}", "MELANOMA_BACKUPS": f"s3://{target}"}
        done = run(["-c", measured, str(folder)], s3, tmp_path, **places)
        assert done.returncode == 0, done.stderr
        took.append(int(done.stdout.split()[-1]) // 1024)  # MiB

    assert took[1] - took[0] < 48, took
