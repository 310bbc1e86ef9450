"""A key for each step, on a real S3 server: it suffices for the step, and for nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.s3_policy import APP, BACKUP, ROWS, bucket_policy
from tasks.config import Retraining
from tasks.engine.execute import execute
from tasks.engine.run import Run, open_run
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tasks.feedback.release import delete, release
from tasks.intake.deliver import deliver
from tasks.intake.synthesize import synthesize
from tasks.pipeline import PIPELINE, Step
from tasks.release.promote import promote
from tasks.reporting.report import report
from tests.support.approvals import approved
from tests.support.backups import backup, key_of
from tests.support.feedback import REVIEWER, diagnosed, kept
from tests.support.servers import S3Server

PREFIX = "house/melanoma"
CONFIG = Retraining(
    image_size=32, packed_size=48, recipes=("baseline",), epochs=1, minimum_groups=3,
    policy="smoke", checkpoint_minutes=0.001,
)  # fmt: skip
PLACES = (
    *("raw", "external/ph2", "ledger", "ledger/chain", "ledger/promotions", "shared/shards"),
    *("runs/first/evidence", "runs/first/evidence/ingest", "private"),
    *("monitoring", "monitoring/reference", "monitoring/traces", "ledger/monitoring"),
    *("review", "raw/feedback", "raw/metadata/feedback", "ledger/feedback", "ledger/deliveries"),
    *(f"runs/first/{step.name}" for step in PIPELINE),
)
# What each may write, said once more: a row that may write more must be meant.
MORE = {
    "ingest": {"private"},
    "split": {"ledger/chain"},
    "evaluate": {"ledger/chain"},
    "promote": {"ledger/promotions"},
    "rollback": {"ledger/promotions"},
    "propose": {"ledger/promotions"},
    "drift": {"monitoring", "monitoring/reference", "monitoring/traces", "ledger/monitoring"},
    "outcomes": {"monitoring", "monitoring/reference", "monitoring/traces", "ledger/monitoring"},
    "ask": {p for p in PLACES if p.startswith(("runs/", "ledger", "shared/", "private"))},
    "register": {"runs/first/evidence", "runs/first/evidence/ingest"},
}
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def bucket(radosgw: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bucket with a delivery, and the policy of a key for each step."""
    name = radosgw.new_bucket()
    synthesize(tmp_path_factory.mktemp("drawn") / "images", scale=0.2)
    with pytest.MonkeyPatch.context() as patch:
        use(radosgw, patch)
        images = next(tmp_path_factory.getbasetemp().glob("drawn*")) / "images"
        deliver(open_store(f"s3://{name}/{PREFIX}"), images)
    return name


@pytest.fixture(scope="module")
def keys(radosgw: S3Server, bucket: str) -> dict[str, S3Server]:
    names = [APP, BACKUP, *(row.name for row in ROWS)]
    users = {name: radosgw.new_user(f"melanoma-{name}") for name in names}
    policy = json.dumps(bucket_policy(bucket, PREFIX))
    assert len(policy) < 20_480  # the most that AWS takes
    radosgw.client().put_bucket_policy(Bucket=bucket, Policy=policy)
    return users


def use(server: S3Server, patch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        patch.setenv(name, value)


def run_with(key: S3Server, bucket: str, step: str, patch: pytest.MonkeyPatch) -> Run:
    use(key, patch)
    return open_run(f"s3://{bucket}/{PREFIX}/runs/first", CONFIG, step=step)


def writable(client: Any, bucket: str, user: str) -> set[str]:
    """The places that a user may write to. All others answer 403."""
    written, answered = set(), set()
    for place in PLACES:
        there = {"Bucket": bucket, "Key": f"{PREFIX}/{place}/tried-by-{user}"}
        try:
            client.put_object(**there, Body=b"")
            written.add(place)
        except ClientError as error:
            answered.add(error.response["ResponseMetadata"]["HTTPStatusCode"])
    assert answered == {403}
    return written


def test_every_step_can_do_its_work_with_its_own_key(
    keys: dict[str, S3Server], bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for step in PIPELINE:
        run = run_with(keys[step.name], bucket, step.name, monkeypatch)
        assert execute(step, run)
        assert not list(run.store.list(f"runs/first/{step.name}/checkpoints/"))  # could be deleted
    report(run_with(keys["report"], bucket, "", monkeypatch))
    run = run_with(keys["promote"], bucket, "", monkeypatch)
    assert promote(run, approved(run).id) == 1


def test_the_app_delivers_what_a_reviewer_releases_and_writes_nothing_else(
    radosgw: S3Server, keys: dict[str, S3Server], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"Bucket": bucket, "Key": f"{PREFIX}/private/secret"}
    radosgw.client().put_object(**secret, Body=b"")
    use(keys[APP], monkeypatch)
    store = open_store(f"s3://{bucket}/{PREFIX}")
    first, second = kept(store, 1), kept(store, 2)
    diagnosed(store, first)
    assert len(release(store, [first], REVIEWER)) == 1
    delete(store, second, REVIEWER, "The patient asked.")
    assert list(store.list("review/")) == []

    client = keys[APP].client()
    assert writable(client, bucket, APP) == {
        *("monitoring/traces", "review", "raw/feedback", "raw/metadata/feedback"),
        *("ledger/feedback", "ledger/deliveries"),
    }
    (image, *_) = store.list("raw/feedback/melanoma/")
    for key in (image.key, "ledger/feedback/000001.json"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=bucket, Key=f"{PREFIX}/{key}")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.get_object(**secret)


@pytest.mark.parametrize(("user", "works"), [(BACKUP, True), (APP, False)])
def test_only_the_key_of_backups_suffices_for_one(
    user: str,
    works: bool,
    radosgw: S3Server,
    keys: dict[str, S3Server],
    bucket: str,
    tmp_path: Path,
) -> None:
    """The app's key may not read what is private, which a backup must hold."""
    radosgw.client().put_object(Bucket=bucket, Key=f"{PREFIX}/private/patients.key", Body=b"key")
    target, client = f"backups-of-{user}", keys[user].client()
    client.create_bucket(Bucket=target)
    key = key_of(keys[user], tmp_path)
    done = backup(
        radosgw,
        tmp_path,
        MELANOMA_STORE=f"s3://{bucket}/{PREFIX}",
        MELANOMA_BACKUPS=f"s3://{target}",
        STORE_CREDENTIALS=key,
        BACKUP_CREDENTIALS=key,
    )
    saved = [each["Key"] for each in client.list_objects_v2(Bucket=target).get("Contents", ())]

    assert (done.returncode == 0) == works, done.stderr
    assert works or "AccessDenied" in done.stderr
    for path in ("store/private/patients.key", "SHA256SUMS"):
        assert any(each.endswith(f"/{path}") for each in saved) == works


def test_the_key_of_backups_writes_and_deletes_nothing_in_the_store(
    keys: dict[str, S3Server], bucket: str
) -> None:
    client = keys[BACKUP].client()
    (delivered, *_) = client.list_objects_v2(Bucket=bucket, Prefix=f"{PREFIX}/raw/")["Contents"]

    assert writable(client, bucket, BACKUP) == set()
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key=delivered["Key"])


@each_row
def test_the_key_of_a_step_is_refused_everywhere_else(
    keys: dict[str, S3Server], bucket: str, row: Step
) -> None:
    client = keys[row.name].client()
    written = writable(client, bucket, row.name)
    mine = {f"runs/first/{row.name}"} if row in PIPELINE else set()
    assert written == mine | ({"shared/shards"} if mine else set()) | MORE.get(row.name, set())

    if row.name not in ("ingest", "ask"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.get_object(Bucket=bucket, Key=f"{PREFIX}/private/tried-by-ingest")

    outside = ("other/key", f"{PREFIX}-not/key", f"{PREFIX}/runs/first/evidence/raw.json")
    for key in outside:
        if row.name in ("register", "ask") and "evidence" in key:
            continue
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key=key, Body=b"")
    record = f"{PREFIX}/runs/first/{row.name}/tried-by-{row.name}"
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key=record)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_bucket_policy(Bucket=bucket)


def test_who_has_none_of_these_keys_reads_nothing(
    radosgw: S3Server, keys: dict[str, S3Server], bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(radosgw.new_user("stranger"), monkeypatch)
    with pytest.raises(BadInput, match="AccessDenied"):
        list(open_store(f"s3://{bucket}/{PREFIX}").list("raw/"))
    use(keys["gate"], monkeypatch)
    assert list(open_store(f"s3://{bucket}/{PREFIX}").list("raw/"))
