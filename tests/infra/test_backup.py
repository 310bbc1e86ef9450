"""The CronJob's backup holds what no run can make again, and says whether it is whole."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.backups import DUMP, backup
from tests.support.manifests import of_kind, rendered
from tests.support.missing import lacking
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


def filled(s3: S3Server) -> str:
    """A bucket with a store under the prefix `clinic`."""
    bucket, client = s3.new_bucket(), s3.client()
    for key, data in (STORE | LEFT).items():
        client.put_object(Bucket=bucket, Key=f"clinic/{key}", Body=data)
    client.put_object(Bucket=bucket, Key="other/ledger/0001", Body=b"of another store")
    return bucket


@on_s3
def test_a_backup_holds_what_no_run_can_make_again(s3: S3Server, tmp_path: Path) -> None:
    source, target, client = filled(s3), s3.new_bucket(), s3.client()
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
        "databases/airflow.dump": DUMP
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

    assert done.returncode == 64
    assert "MELANOMA_STORE is no address of a bucket" in done.stderr
    assert "Received: /var/store" in done.stderr


@pytest.mark.parametrize("s3", ["moto"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"dump": None}, "no file"),
        ({"dump": b""}, "empty: airflow.dump"),
        ({"MELANOMA_STORE": "s3://{source}/clinik"}, "There is nothing to save"),
        ({"MELANOMA_STORE": ""}, "MELANOMA_STORE is not set"),
        ({"MELANOMA_BACKUPS": ""}, "MELANOMA_BACKUPS is not set"),
        ({"STORE_CREDENTIALS": ""}, "STORE_CREDENTIALS is not set"),
    ],
)
def test_a_backup_of_nothing_is_none(
    s3: S3Server, tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    """Nobody relies on sums of what was never there."""
    source, target = filled(s3), s3.new_bucket()
    right = {"MELANOMA_STORE": f"s3://{source}/clinic", "MELANOMA_BACKUPS": f"s3://{target}/daily"}
    more = {
        name: value.format(source=source) if isinstance(value, str) else value
        for name, value in wrong.items()
    }
    done = backup(s3, tmp_path, **(right | more))

    assert done.returncode == 64
    assert told in done.stderr
    assert "Do:" in done.stderr
    assert "Contents" not in s3.client().list_objects_v2(Bucket=target)


# In a cluster -------------------------------------------------------------------------------------


def test_the_cloud_gives_the_backup_this_key_and_no_other() -> None:
    (job,) = of_kind(rendered("cloud"), "CronJob")
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (keep,) = spec["containers"]
    env = {each["name"]: each["value"] for each in keep["env"]}
    keys = {item["key"] for volume in spec["volumes"]
            for item in volume.get("secret", {}).get("items", ())}  # fmt: skip

    assert env["STORE_CREDENTIALS"] == env["BACKUP_CREDENTIALS"] == "/run/secrets/s3_backup"
    assert {key for key in keys if key.startswith("s3_")} == {"s3_backup"}


def test_every_database_is_dumped(tmp_path: Path) -> None:
    """By the command of the manifest, with the secrets that stack.sh makes."""
    if not shutil.which("openssl"):
        lacking("no openssl", install="apt-get install openssl")
    path = os.environ["PATH"]
    stack = {"PATH": path, "STACK": str(tmp_path / "stack")}
    subprocess.run([ROOT / "containers/stack.sh", "secrets"], env=stack, check=True)
    (job,) = of_kind(rendered("trial"), "CronJob")
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (shell, option, script) = pod["initContainers"][0]["command"]
    mounted = next(each["secret"]["items"] for each in pod["volumes"] if each["name"] == "secrets")
    (tmp_path / "run").mkdir()
    for item in mounted:
        (tmp_path / "run" / item["path"]).symlink_to(tmp_path / "stack/secrets" / item["key"])
    (tmp_path / "pg_dump").write_text('#!/bin/sh\necho "$4 $5"\n')
    (tmp_path / "pg_dump").chmod(0o755)

    def dump() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shell, option, script.replace("/run/secrets", str(tmp_path / "run"))],
            env={"PATH": f"{tmp_path}:{path}"}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = dump()
    dumped = re.findall(
        r"^/backup/(\w+)\.dump postgresql://\w+:[0-9a-f]{48}@postgres/(\w+)$", done.stdout, re.M
    )
    made = re.findall(
        r"CREATE DATABASE (\w+)", (ROOT / "containers/stack/databases.sh").read_text()
    )

    assert done.returncode == 0, done.stderr
    assert dumped == [(name, name) for name in made]
    assert len(done.stdout.splitlines()) == len(made) == 3

    (tmp_path / "run" / "mlflow_users").unlink()
    hard = "postgresql+psycopg2://mlflow:a%%25b@postgres/mlflow_users"  # as MLflow reads it
    (tmp_path / "run" / "mlflow_users").write_text(f"[mlflow]\ndatabase_uri = {hard}\n")
    done = dump()
    assert "postgresql://mlflow:a%25b@postgres/mlflow_users" in done.stdout

    (tmp_path / "run" / "mlflow_users").write_text("[mlflow]\n")
    done = dump()
    assert done.returncode != 0
    assert "no address of mlflow_users" in done.stderr
