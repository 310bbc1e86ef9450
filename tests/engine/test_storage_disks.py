"""What a disk or a directory that will not do costs: a clear error, and nothing half written."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.directory import DirectoryStore
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput
from tests.support.missing import need_root
from tests.support.stores import assert_explains, assert_nothing_partial, keys, on_a_directory


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 1 MB."""
    need_root("mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip("mounts are not allowed: run outside of a container, or in a privileged one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_bad_input_and_leaves_nothing_half_written(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)
    store.create("a", b"a" * 600_000)
    store.create("b", b"b")

    for write, key in ((store.create, "c"), (store.replace, "b"), (store.create, "new/c")):
        with pytest.raises(BadInput) as caught:
            write(key, b"x" * 600_000)
        assert_explains(caught.value, "full", key)

    assert keys(store) == ["a", "b"]
    assert store.read("b") == b"b"
    assert_nothing_partial(store)
    store.create("c", b"there is still room for what fits")


def test_a_disk_without_hard_links_or_writing_is_bad_input(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)
    store.create("a", b"1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    for write in (store.create, store.replace):
        with pytest.raises(BadInput) as caught:
            write("b", b"2")
        assert_explains(caught.value, "Read-only")
    assert store.read("a") == b"1"


def as_nobody(action: Callable[[], Any]) -> Any:
    """Do it in a child process that has no rights of root."""
    processes = multiprocessing.get_context("fork")
    near, far = processes.Pipe()

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            far.send(action())
        except Exception as error:
            far.send((type(error).__name__, str(error)))

    process = processes.Process(target=child)
    process.start()
    answer = near.recv()
    process.join()
    return answer


@on_a_directory
@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_directory_that_may_not_be_read_or_written_is_bad_input(
    store: Store, tmp_path: Path
) -> None:
    store.create("raw/nevus/1.jpg", b"1")
    store.create("raw/melanoma/2.jpg", b"2")
    for folder in (*tmp_path.parents, tmp_path):
        if folder.stat().st_mode & 0o005 != 0o005 and folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o005)  # pytest's own folders are private
    (tmp_path / "store/raw/melanoma").chmod(0o700)

    attempts: tuple[Callable[[], Any], ...] = (
        lambda: keys(store),  # never a list that is silently short
        lambda: store.read("raw/melanoma/2.jpg"),
        lambda: store.create("raw/nevus/3.jpg", b"3"),
        lambda: store.replace("raw/nevus/1.jpg", b"3"),
    )
    for attempt in attempts:
        kind, message = as_nobody(attempt)
        assert kind == "BadInput"
        assert_explains(Exception(message), "Permission denied", "owner")
    assert as_nobody(lambda: keys(store, "raw/nevus/")) == ["raw/nevus/1.jpg"]
    assert as_nobody(lambda: store.read("raw/nevus/1.jpg")) == b"1"


def test_a_file_where_the_directory_should_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    store = open_store(str(tmp_path / "store"))

    for write in (store.create, store.replace):
        with pytest.raises(BadInput) as caught:
            write("a", b"")
        assert_explains(caught.value)
