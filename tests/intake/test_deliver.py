"""deliver: what is not taken is named before anything is copied, and nothing is left out unsaid."""

import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.missing import need_root

from tasks.__main__ import main
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary
from tasks.intake.folder import files_in
from tests.support.deliveries import do, folder_of, picture, run_of, table_of

Spoil = Callable[[Path], object]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes with two images each."""
    for number, name in enumerate(("melanoma", "nevus") * 2):
        file = tmp_path / "clinic" / name / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return tmp_path / "clinic"


def delivering(store: Path, images: Path, *more: str) -> list[str]:
    return ["deliver", "--store", str(store), "--images", str(images), *more]


def moved_and_linked(folder: Path, elsewhere: Path) -> None:
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # such an address may be some 100 bytes long
        listener.bind(path.name)
        os.chdir(here)


def device(path: Path) -> None:
    need_root("make a device")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


SPOILS: dict[str, tuple[str, Spoil]] = {
    "a class that is a link out": (
        "melanoma (a link to",
        lambda at: moved_and_linked(at / "melanoma", at.parent / "elsewhere"),
    ),
    "a class that is a link inside": (
        "naevus (a link to nevus)",
        lambda at: (at / "naevus").symlink_to("nevus"),
    ),
    "an image that is a link": (
        "nevus/7.png (a link to ../melanoma/0.png)",
        lambda at: (at / "nevus/7.png").symlink_to("../melanoma/0.png"),
    ),
    "a broken link": (
        "nevus/7.png (a link to absent.png, broken)",
        lambda at: (at / "nevus/7.png").symlink_to("absent.png"),
    ),
    "a loop": ("nevus/loop (a link to ..", lambda at: (at / "nevus/loop").symlink_to("..")),
    "a link to itself": (
        "nevus/self (a link to self, broken)",
        lambda at: (at / "nevus/self").symlink_to("self"),
    ),
    "a pipe": ("nevus/7.png (a pipe)", lambda at: os.mkfifo(at / "nevus/7.png")),
    "a socket": ("nevus/7.png (a socket)", lambda at: bind(at / "nevus/7.png")),
    "a device": ("nevus/7.png (a device)", lambda at: device(at / "nevus/7.png")),
    "a file in cp1252": (
        r"nevus/n\xe4vus.png (its name is not UTF-8)",
        lambda at: Path(os.fsdecode(os.fsencode(at / "nevus") + b"/n\xe4vus.png")).touch(),
    ),
    "a folder in cp1252": (
        r"n\xe4vus (its name is not UTF-8)",
        lambda at: Path(os.fsdecode(os.fsencode(at) + b"/n\xe4vus")).mkdir(),
    ),
}


@pytest.mark.parametrize("kind", ["images", "metadata"])
@pytest.mark.parametrize("spoil", SPOILS)
def test_what_is_no_plain_file_is_named_and_nothing_is_delivered(
    spoil: str,
    kind: str,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = delivering(tmp_path / "store", images)
    if kind == "metadata":  # the same tree, beside images that are in order
        (tmp_path / "sound").mkdir()
        (tmp_path / "sound/0.png").write_bytes(picture(0))
        argv = delivering(tmp_path / "store", tmp_path / "sound", "--metadata", str(images))
    named, do_it = SPOILS[spoil]
    do_it(images)
    assert main(argv) == BadInput.exit_code
    said = capsys.readouterr().err
    assert named in said
    assert f"The folder of {kind} holds something that cannot be taken" in said
    assert "Traceback" not in said
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("spoil", SPOILS)
def test_score_names_what_is_no_plain_file_and_scores_nothing(
    spoil: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, do_it = SPOILS[spoil]
    do_it(images)
    assert main(scoring(tmp_path, images)) == BadInput.exit_code
    said = capsys.readouterr()
    assert named in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_score_takes_plain_files_also_below_a_folder_named_like_an_image(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "nevus").rename(images / "nevus.png")
    (images / "table.csv").touch()
    argv = scoring(tmp_path, images)
    (tmp_path / "labels.csv").write_text("image_id,diagnosis\nanother,nevus\n")
    assert main(argv) == 64
    said = capsys.readouterr().err
    assert "1 files are not images, by their names" in said
    assert "4 images, none of them such" in said


def scoring(folder: Path, images: Path) -> list[str]:
    """A command that scores the images by a file that is no model, found out only when asked."""
    rows = [f"{number},nevus" for number in range(4)]
    (folder / "labels.csv").write_text("\n".join(["image_id,diagnosis", *rows]))
    (folder / "model.keras").write_bytes(b"no model")
    told = ["--images", str(images), "--labels", str(folder / "labels.csv"), "--threshold", "0.5"]
    return ["score", "--model", str(folder / "model.keras"), *told]


@pytest.mark.parametrize("count", [10, 11, 25])
def test_ten_offenders_are_named_and_the_others_counted(
    count: int, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(count):
        (images / f"nevus/broken{number:02}.png").symlink_to("absent")
    assert main(delivering(tmp_path / "store", images)) == 64
    said = capsys.readouterr().err
    assert [f"broken{number:02}" in said for number in range(count)] == [
        number < 10 for number in range(count)
    ]
    assert (f"and {count - 10} more" in said) == (count > 10)


# What may not be read -----------------------------------------------------------------------------


def as_nobody(argv: list[str], errors: Path) -> int | None:
    """The command in a child process of a user who is not root; its standard error in a file."""

    def child() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.dup2(descriptor, 2)
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace")
        code = main(argv)
        sys.stderr.flush()
        os._exit(code)

    descriptor = os.open(errors, os.O_CREAT | os.O_WRONLY)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    os.close(descriptor)
    return process.exitcode


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("kind", ["images", "metadata"])
@pytest.mark.parametrize(
    ("place", "mode", "named"),
    [
        ("melanoma", 0o000, "melanoma/ (Permission denied)"),
        ("melanoma", 0o444, "melanoma/0.png (Permission denied)"),  # may be listed, not entered
        ("nevus/1.png", 0o000, "nevus/1.png (Permission denied)"),
        (".", 0o000, "is not readable"),
        ("nevus/1.png", 0o444, None),
    ],
)
def test_what_may_not_be_read_is_named_and_nothing_is_delivered(
    place: str, mode: int, named: str | None, kind: str, images: Path, tmp_path: Path
) -> None:
    for folder in (*tmp_path.parents, tmp_path):
        if folder.stat().st_mode & 0o005 != 0o005 and folder.owner() == "root":
            folder.chmod(folder.stat().st_mode | 0o005)  # pytest's own folders are private
    store = tmp_path / "open/store"
    store.parent.mkdir()
    store.parent.chmod(0o777)
    argv = delivering(store, images)
    if kind == "metadata":
        (tmp_path / "sound").mkdir()
        (tmp_path / "sound/0.png").write_bytes(picture(0))
        argv = delivering(store, tmp_path / "sound", "--metadata", str(images))
    (images / place).chmod(mode)
    code = as_nobody(argv, tmp_path / "errors")
    (images / place).chmod(0o755)
    said = " ".join((tmp_path / "errors").read_text().replace("│", "").split())
    assert "Traceback" not in said
    if named is None:
        assert code == 0
        assert len(folder_of(store)) == 4 + (kind == "metadata")
    else:
        assert code == BadInput.exit_code, said
        assert named in said
        assert not store.exists()


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
