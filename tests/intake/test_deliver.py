"""deliver: the folders, what changes meanwhile, and every entry found, refused or hidden."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary
from tasks.intake.folder import files_in
from tests.support.deliveries import delivering, do, folder_of, picture, run_of, table_of

# The folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["clinic", "clinic/store", "clinic/nevus/.s", "."])
def test_a_store_within_the_images_or_around_them_is_refused(
    store: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = folder_of(tmp_path)
    assert main(delivering(tmp_path / store, images)) == 64
    assert "lie within one another" in capsys.readouterr().err
    assert folder_of(tmp_path) == before


def test_a_store_around_the_tables_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = tmp_path / "store/tables"
    tables.mkdir(parents=True)
    (tables / "a.csv").write_text("image_id,diagnosis\n")
    argv = delivering(tmp_path / "store", images, "--metadata", str(tables))
    assert main(argv) == 64
    assert "lie within one another" in capsys.readouterr().err
    assert folder_of(tmp_path / "store") == {"tables/a.csv"}


def test_a_store_whose_name_only_begins_alike_is_taken(images: Path, tmp_path: Path) -> None:
    assert main(delivering(tmp_path / "clinic-store", images)) == 0
    assert len(folder_of(tmp_path / "clinic-store/raw/clinic")) == 4


@pytest.mark.parametrize("given", ["absent", "file", "loop"])
def test_a_folder_that_is_none_is_refused_by_name(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert main(delivering(tmp_path / "store", tmp_path / given)) == 64
    said = capsys.readouterr().err
    assert str(tmp_path / given) in said
    assert "Traceback" not in said


def test_a_link_that_a_person_gives_is_taken_by_the_name_of_its_target(
    images: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(images)
    assert main(delivering(tmp_path / "store", tmp_path / "link")) == 0
    assert len(folder_of(tmp_path / "store/raw/clinic")) == 4


def test_hidden_files_are_left_out_and_told(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / ".DS_Store").write_bytes(b"x")
    (images / "nevus/._1.png").write_bytes(b"x")
    (images / ".thumbnails").mkdir()
    (images / ".thumbnails/1.png").write_bytes(picture(1))
    (images / "nevus/empty").mkdir()
    assert main(delivering(tmp_path / "store", images)) == 0
    said = capsys.readouterr().err
    told = "3 hidden files and folders are left out: .DS_Store, .thumbnails, nevus/._1.png"
    assert told in said
    assert "1 folders are empty: nevus/empty/" in said
    assert len(folder_of(tmp_path / "store/raw")) == 4


def test_a_delivery_from_a_hidden_folder_is_delivered_and_ingested(
    images: Path, tmp_path: Path
) -> None:
    hidden = tmp_path / ".cache/.isic9"
    hidden.parent.mkdir()
    images.rename(hidden)
    (hidden / ".hidden.png").write_bytes(picture(9))
    assert main(delivering(tmp_path / "store", hidden)) == 0
    store = open_store(str(tmp_path / "store"))
    store.create("raw/.isic9/nevus/.litter/9.png", picture(9))
    store.create("raw/.loose.png", picture(9))
    run = run_of(store)
    record = do(run, "ingest")
    manifest = table_of(run, record.manifest)
    assert set(manifest["label"]) == {"melanoma", "nevus"}
    assert (record.files, record.decoded) == (4, 4)
    assert set(record.ignored) == {"raw/.isic9/nevus/.litter/9.png", "raw/.loose.png"}


# What changes -----------------------------------------------------------------------------------


def test_other_content_under_a_known_name_is_told_before_anything_is_copied(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = delivering(tmp_path / "store", images)
    assert main(argv) == main(argv) == 0
    before = folder_of(tmp_path / "store")
    (images / "melanoma/0.png").write_bytes(picture(7))
    (images / "melanoma/new.png").write_bytes(picture(8))
    assert main(argv) == 64
    assert "raw/clinic/melanoma/0.png" in capsys.readouterr().err
    assert folder_of(tmp_path / "store") == before


@pytest.mark.parametrize("change", ["grows", "shrinks", "is written over"])
def test_a_file_that_changes_while_it_is_copied_is_not_taken(
    change: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, done = images / "nevus/1.png", threading.Event()
    whole = picture(1, side=200)
    file.write_bytes(whole)

    def write() -> None:
        while not done.is_set():
            with file.open("r+b") as opened:
                if change == "grows":
                    opened.seek(0, os.SEEK_END)
                    opened.write(b"more")
                elif change == "shrinks":
                    opened.truncate(max(file.stat().st_size - 1, 1))
                else:
                    opened.write(whole[::-1])
            time.sleep(0.0005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        code = main(delivering(tmp_path / "store", images))
    finally:
        done.set()
        writer.join()
    said = capsys.readouterr().err
    assert code == Momentary.exit_code
    assert f"{file} changed while it was read" in said
    assert "Traceback" not in said
    assert not (tmp_path / "store/raw/clinic/nevus/1.png").exists()
    assert main(delivering(tmp_path / "store", images)) == 0


# A law ------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", ".b", "c d", "e.png", "é"])
KINDS = st.sampled_from(["file", "folder", "link", "pipe"])


@settings(max_examples=60)
@given(tree=st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), KINDS))
def test_every_entry_is_found_or_refused_or_hidden(
    tree: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("tree")
    made: dict[str, str] = {}
    for name, kind in tree.items():
        path = root / name
        with suppress(FileExistsError, NotADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(path):
                make(path, kind)
                made[name] = kind
    shown = {name: k for name, k in made.items() if not f"/{name}".count("/.")}
    special = sorted(name for name, kind in shown.items() if kind in ("link", "pipe"))
    if special:
        with pytest.raises(BadInput) as caught:
            files_in(root, "images")
        assert all(f"{name} (a " in caught.value.received for name in special[:10])
    else:
        found = [file.within for file in files_in(root, "images")]
        assert found == sorted(name for name, kind in shown.items() if kind == "file")


def make(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_bytes(b"x")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("absent")
    else:
        os.mkfifo(path)
