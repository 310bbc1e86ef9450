"""The CronJob's backup holds what no run can make again, and says whether it is whole."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.servers import S3Server

pytestmark = pytest.mark.slow
on_s3 = pytest.mark.parametrize("s3", ["moto", "radosgw"], indirect=True)

STORE = {
    "ledger/deliveries/0001": b"an entry",
    "ledger/chain/0001": b"another",
    "private/patients.key": bytes(range(32)),
    "policies/own.yaml": b"name: own\n",
    "config.json": b"{}",
}
LEFT = {"raw/first/nevus/a.jpg": b"pixels", "runs/first/ingest/record.json": b"{}"}


def backup(s3: S3Server, tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the backup as the CronJob does, with a key in a file for each bucket."""
    key = tmp_path / "key"
    key.write_text(
        f"[default]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n"
    )
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    (dumps / "airflow.dump").write_bytes(b"a dump")
    environment = {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORE_CREDENTIALS": str(key),
        "BACKUP_CREDENTIALS": str(key),
        **more,
    }
    argv = [sys.executable, "infra/backup.py", str(dumps)]
    return subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@on_s3
def test_a_backup_holds_what_no_run_can_make_again(s3: S3Server, tmp_path: Path) -> None:
    source, target, client = s3.new_bucket(), s3.new_bucket(), s3.client()
    for key, data in (STORE | LEFT).items():
        client.put_object(Bucket=source, Key=f"clinic/{key}", Body=data)
    client.put_object(Bucket=source, Key="other/ledger/0001", Body=b"of another store")
    done = backup(
        s3,
        tmp_path,
        MELANOMA_STORE=f"s3://{source}/clinic",
        MELANOMA_BACKUPS=f"s3://{target}/daily",
    )

    assert done.returncode == 0, done.stderr
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=target)["Contents"]]
    (folder,) = {"/".join(key.split("/")[:2]) for key in keys}
    found = {
        key.removeprefix(f"{folder}/"): client.get_object(Bucket=target, Key=key)["Body"].read()
        for key in keys
    }
    sums = dict(
        reversed(line.split("  ")) for line in found.pop("SHA256SUMS").decode().split("\n")[:-1]
    )
    assert found == {f"store/{key}": data for key, data in STORE.items()} | {
        "databases/airflow.dump": b"a dump"
    }
    assert sums == {key: hashlib.sha256(data).hexdigest() for key, data in found.items()}
    assert f"{len(found)} files" in done.stdout


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_a_backup_that_ends_early_is_not_whole(s3: S3Server, tmp_path: Path) -> None:
    source, client = s3.new_bucket(), s3.client()
    client.put_object(Bucket=source, Key="config.json", Body=b"{}")
    done = backup(
        s3, tmp_path, MELANOMA_STORE=f"s3://{source}", MELANOMA_BACKUPS="s3://tests-absent-bucket/x"
    )

    assert done.returncode != 0
    assert "absent" in done.stderr or "NoSuchBucket" in done.stderr


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_an_address_that_is_none_is_told(s3: S3Server, tmp_path: Path) -> None:
    done = backup(
        s3, tmp_path, MELANOMA_STORE="/var/store", MELANOMA_BACKUPS="s3://tests-absent-bucket/x"
    )

    assert done.returncode != 0
    assert "MELANOMA_STORE must be s3://bucket/prefix" in done.stderr
