"""What becomes of a backup and of a restoration that end halfway, with an engine that is none."""

import hashlib
import importlib.util
import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.fake_compose import FakeStack
from tests.support.missing import lacking
from tests.support.paths import ROOT

HALF = "A restoration did not end: the stack is not whole."
DATABASES = ("airflow", "mlflow", "mlflow_users")


@pytest.fixture
def stack(tmp_path: Path) -> FakeStack:
    """A stack that was started."""
    if subprocess.run(["sh", "-c", "command -v openssl"], capture_output=True).returncode:
        lacking("no openssl", install="apt-get install openssl")
    made = FakeStack(tmp_path)
    made("up").done()
    made.calls()
    return made


@pytest.fixture
def backup(stack: FakeStack) -> Path:
    """Its backup; the stack itself was destroyed."""
    stack("backup", "backup").done()
    stack("destroy").done()
    stack.calls()
    return stack.home / "backup"


def shell(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


# Backup ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["backup", "backup/", "a b/backup//", "-"])
def test_a_backup_holds_all_with_its_sums(stack: FakeStack, name: str) -> None:
    folder = stack.home / name if name != "-" else stack.home / "./-"
    stack("backup", name if name != "-" else "./-").done()

    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    secrets = {f"secrets/{path.name}" for path in stack.secrets.iterdir()}
    dumps = {f"{database}.dump" for database in DATABASES}
    assert files == dumps | secrets | {"objects.tar", "environment", "SHA256SUMS"}
    shell("sh", "-c", 'cd "$1" && sha256sum --strict --check SHA256SUMS', "-", str(folder))
    assert not list(folder.parent.glob("*.partial"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["a folder", "a file", "a link to nothing"])
def test_a_backup_never_goes_where_something_is(stack: FakeStack, what: str) -> None:
    target = stack.home / "backup"
    {
        "a folder": lambda: target.mkdir(),
        "a file": lambda: target.touch(),
        "a link to nothing": lambda: target.symlink_to("nothing"),
    }[what]()
    before = stack.state()

    stack("backup", "backup").refused()
    stack("backup", "backup/").refused()
    assert stack.calls() == []
    assert stack.state() == before


@pytest.mark.parametrize("fails", ["pg_dump --format custom mlflow_users", "objects save"])
def test_a_backup_that_failed_leaves_nothing_and_can_be_tried_again(
    stack: FakeStack, fails: str
) -> None:
    before = stack.state()
    said = stack("backup", "backup", FAIL=fails)
    assert said.code != 0
    assert "No backup was made." in said.words
    assert stack.state() == before

    stack("backup", "backup").done()


def test_what_another_backup_left_is_not_taken_into_a_new_one(stack: FakeStack) -> None:
    """As after a kill, or while another one runs."""
    left = stack.home / "backup.partial"
    left.mkdir()
    (left / "secrets_old").write_text("old")
    assert "rm -r backup.partial" in stack("backup", "backup").refused()
    assert (left / "secrets_old").exists()
    assert not (stack.home / "backup").exists()

    shutil.rmtree(left)
    stack("backup", "backup").done()


def test_a_secret_that_is_a_link_is_saved_with_what_it_holds(stack: FakeStack) -> None:
    house = stack.home / "key of the house"
    house.write_text("key")
    key = stack.secrets / "tls_key"
    key.unlink()
    key.symlink_to(house)
    stack("backup", "backup").done()
    house.unlink()

    assert (stack.home / "backup/secrets/tls_key").read_text() == "key"


# Restoration -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "here, without secrets", "elsewhere", "s t&x|y"])
def test_a_backup_comes_back(stack: FakeStack, backup: Path, where: str) -> None:
    before = {path.name: path.read_bytes() for path in stack.secrets.iterdir()}
    if where == "here, without secrets":
        shutil.rmtree(stack.secrets)
    elif where != "here":
        stack.folder = stack.home / where
        stack.secrets = stack.folder / "secrets"
    stack("restore", f"{backup}/").done()

    calls = stack.calls()
    assert [call.split()[-1] for call in calls if "pg_restore" in call] == list(DATABASES)
    assert calls.index("run --rm -T objects load") < calls.index("up --detach")
    restored = (stack.engine.parent / "restored").read_text()
    assert restored == "dump\n" * 3 + "objects\n"
    assert {path.name: path.read_bytes() for path in stack.secrets.iterdir()} == before
    assert stack.settings()["MELANOMA_SECRETS"] == str(stack.secrets)
    assert not (stack.folder / "restoring").exists()
    for argv in (["up"], ["tasks", "ledger"], ["backup", "another"]):
        stack(*argv).done()


STEPS = [
    *("up --detach postgres", " ps --quiet", "--dbname airflow"),
    *("--dbname mlflow_users", "objects load"),
]


@pytest.mark.parametrize("fails", STEPS)
def test_a_restoration_that_failed_is_told_and_never_taken_for_a_whole_stack(
    stack: FakeStack, backup: Path, fails: str
) -> None:
    said = stack("restore", "backup", FAIL=fails)
    assert said.code != 0
    assert "The restoration did not end" in said.words
    assert "containers/stack.sh destroy" in said.words
    assert "http://" not in said.words
    stack.calls()
    for argv in (["up"], ["up", "--tls"], ["tasks"], ["backup", "b"], ["secrets"]):
        assert HALF in stack(*argv).refused()
    assert stack.calls() == []
    stack("stop").done()  # and compose, to look at what failed
    stack("compose", "logs").done()

    stack("destroy").done()
    stack("restore", "backup").done()
    stack("up").done()


def test_a_restoration_that_failed_before_there_was_data_can_be_tried_again(
    stack: FakeStack, backup: Path
) -> None:
    shutil.rmtree(stack.folder)
    assert stack("restore", "backup", FAIL="up --detach postgres").code != 0
    assert (stack.secrets / "app_users").exists()

    stack("restore", "backup").done()


def test_a_stack_that_was_restored_can_be_destroyed_before_it_has_settings(
    stack: FakeStack, backup: Path
) -> None:
    """As after a kill at the first moment."""
    shutil.rmtree(stack.folder)
    stack.folder.mkdir()
    (stack.folder / "restoring").write_text("backup\n")
    assert HALF in stack("up").refused()
    stack("destroy").done()
    assert stack.calls() == []
    stack("up").done()


def test_secrets_whose_copy_was_cut_are_not_completed_with_new_ones(
    stack: FakeStack, backup: Path
) -> None:
    shutil.rmtree(stack.secrets)
    full = stack.home / "engine" / "full"
    full.mkdir()
    (full / "cp").write_text(
        f'#!/bin/sh\n{shutil.which("cp")} "$@"\nfor last; do :; done\n'
        'rm -f "$last/tls_key"\necho "cp: disk full" >&2\nexit 1\n'
    )
    (full / "cp").chmod(0o755)
    said = stack("restore", "backup", PATH=f"{full}{os.pathsep}{os.environ['PATH']}")
    assert said.code != 0
    assert not stack.secrets.exists()
    assert HALF in stack("up").refused()

    stack("restore", "backup").done()
    assert (stack.secrets / "tls_key").read_bytes() == (backup / "secrets/tls_key").read_bytes()
    assert not list(stack.folder.glob("*.partial"))


def summed(backup: Path) -> None:
    """Write the sums of what is there now."""
    files = sorted(path for path in backup.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(backup)}\n"
        for path in files
        if path.name != "SHA256SUMS"
    ]
    (backup / "SHA256SUMS").write_text("".join(lines))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a changed file": lambda backup: (backup / "mlflow.dump").write_text("other"),
    "a missing file": lambda backup: (backup / "mlflow.dump").unlink(),
    "a further secret": lambda backup: (backup / "secrets/new").touch(),
    "no sums": lambda backup: (backup / "SHA256SUMS").unlink(),
    "empty sums": lambda backup: (backup / "SHA256SUMS").write_text(""),
    "no objects, with sums": lambda backup: (backup / "objects.tar").unlink(),
    "no secrets, with sums": lambda backup: shutil.rmtree(backup / "secrets"),
    "a project of no name, with sums": lambda backup: (backup / "environment").write_text(
        "COMPOSE_PROJECT_NAME=A b\n"
    ),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_a_whole_backup_is_refused_before_anything_is_written(
    stack: FakeStack, backup: Path, change: str
) -> None:
    shutil.rmtree(stack.folder)
    CHANGES[change](backup)
    if change.endswith("with sums"):
        summed(backup)
    before = stack.state()

    stack("restore", "backup").refused()
    assert stack.calls() == []
    assert stack.state() == before


def test_a_stack_with_another_store_is_refused_before_anything_is_written(
    stack: FakeStack, backup: Path
) -> None:
    environment = stack.folder / "environment"
    settings = environment.read_text()
    for other in ("MELANOMA_STORE=s3://other/x", "MLFLOW_ARTIFACTS=s3://other/y"):
        environment.write_text(f"{settings}{other}\n")
        before = stack.state()
        said = stack("restore", "backup").refused()
        name, _, address = other.partition("=")
        assert f"another {name}" in said
        assert address in said
        assert stack.calls() == []
        assert stack.state() == before

    # The default is no other place than its own name.
    environment.write_text(f"{settings}MELANOMA_STORE=s3://melanoma/store\n")
    stack("restore", "backup").done()


def test_data_or_an_engine_that_does_not_say_is_refused(stack: FakeStack, backup: Path) -> None:
    shutil.rmtree(stack.folder)
    said = stack("restore", "backup", FAIL="volume ls")
    assert said.code == 75
    assert "The engine does not answer." in said.words
    assert not stack.folder.exists()

    (stack.engine.parent / "volumes").write_text("melanoma_s3\n")
    said = stack("restore", "backup")
    assert "This stack has data." in said.refused()
    assert not stack.folder.exists()
    assert [call for call in stack.calls() if not call.startswith("volume ls")] == []


# Objects ---------------------------------------------------------------------------------------


@pytest.fixture
def objects() -> ModuleType:
    """What runs in the container."""
    file = ROOT / "containers" / "stack" / "objects.py"
    spec = importlib.util.spec_from_file_location("objects", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bucket(dict[str, bytes]):
    """A client of S3, as far as it takes objects."""

    def upload_fileobj(self, content: io.BytesIO, bucket: str, key: str) -> None:
        self[f"{bucket}/{key}"] = content.read()


def archive(*members: tarfile.TarInfo) -> SimpleNamespace:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w|") as file:
        for member in members:
            member.size = 3 if member.isfile() else 0
            file.addfile(member, io.BytesIO(b"abc"))
    return SimpleNamespace(buffer=io.BytesIO(made.getvalue()))


def test_objects_come_back_into_the_buckets_of_the_stack_alone(
    objects: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of = {"melanoma": Bucket(), "mlflow": Bucket()}
    members = [tarfile.TarInfo("melanoma/store/a"), tarfile.TarInfo("mlflow/b")]
    monkeypatch.setattr("sys.stdin", archive(*members))
    assert objects.load(of) == (2, 6)
    assert of == {"melanoma": {"melanoma/store/a": b"abc"}, "mlflow": {"mlflow/b": b"abc"}}

    folder = tarfile.TarInfo("melanoma")
    folder.type = tarfile.DIRTYPE
    for wrong in (tarfile.TarInfo("other/a"), folder):
        monkeypatch.setattr("sys.stdin", archive(wrong))
        with pytest.raises(SystemExit) as ended:
            objects.load(of)
        assert ended.value.code == 64
        assert "Expected: an object in melanoma or mlflow" in capsys.readouterr().err
