"""Where a store in a directory lays what is not yet whole, and with which mode."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tests.support.missing import need_root

WRITER = (
    "import sys, itertools; from tasks.engine.storage import open_store\n"
    "store = open_store(sys.argv[1])\n"
    "for number in itertools.count(): store.create(f'runs/a/{number}', bytes(20_000_000))"
)


def keys(store: DirectoryStore) -> list[str]:
    return [entry.key for entry in store.list("")]


def test_what_a_kill_left_half_written_is_never_listed(tmp_path: Path) -> None:
    left: list[Path] = []
    deadline = time.monotonic() + 60
    while not left and time.monotonic() < deadline:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        while not left and writer.poll() is None:
            left = list(tmp_path.rglob(".partial-*"))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        left = list(tmp_path.rglob(".partial-*"))
    store = DirectoryStore(tmp_path)

    assert [path.parent for path in left] == [tmp_path / "runs" / "a"]  # beside its key
    assert all(store.read(key) == bytes(20_000_000) for key in keys(store))
    store.replace("runs/a/0", b"again")  # and is in nobody's way
    assert store.read("runs/a/0") == b"again"


def test_what_earlier_versions_left_half_written_is_never_listed(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "tmp0r7dk2").write_bytes(b"half")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / ".partial").write_bytes(b"a file that somebody delivered")

    assert keys(DirectoryStore(tmp_path)) == ["raw/.partial"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")
@pytest.mark.parametrize(("owner", "theirs"), [(65532, 65532), (0, 0)])
def test_what_root_writes_belongs_to_the_owner_of_the_store(
    tmp_path: Path, owner: int, theirs: int
) -> None:
    os.chown(tmp_path, owner, owner)
    DirectoryStore(tmp_path).create("ledger/promotions/000001.json", b"{}")
    made = [tmp_path / "ledger", *(tmp_path / "ledger").rglob("*")]
    assert len(made) == 3
    assert {path.stat().st_uid for path in made} == {theirs}


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644)])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    store, before = DirectoryStore(tmp_path), os.umask(mask)
    try:
        store.create("a/new", b"1")
        store.replace("a/over", b"2")
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {mode}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.fixture
def open_and_locked(tmp_path: Path) -> Iterator[tuple[DirectoryStore, Path]]:
    """A store that cannot be written but in one folder, which is a mount of its own."""
    need_root("mount a folder")
    store, own = tmp_path / "store", tmp_path / "store" / "runs" / "a" / "ingest"
    own.mkdir(parents=True)
    subprocess.run(["mount", "--bind", store, store], check=True)
    subprocess.run(["mount", "--bind", own, own], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
    yield DirectoryStore(store), own
    subprocess.run(["umount", own, store], check=True)


def test_a_folder_on_another_mount_is_enough_to_write_below_it(
    open_and_locked: tuple[DirectoryStore, Path],
) -> None:
    store, own = open_and_locked
    store.create("runs/a/ingest/0f/record.json", b"1")
    store.replace("runs/a/ingest/0f/record.json", b"2")

    assert (own / "0f" / "record.json").read_bytes() == b"2"
    with pytest.raises(BadInput, match="Read-only file system"):
        store.create("runs/a/train/record.json", b"1")
    assert keys(store) == ["runs/a/ingest/0f/record.json"]
