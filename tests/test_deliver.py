"""deliver: everything that a folder holds is delivered, or named; nothing is half delivered."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deliveries import picture, put_lesions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.__main__ import main
from tasks.deliver import deliver
from tasks.errors import BadInput
from tasks.folder import files_in
from tasks.ingest import _is_litter
from tasks.storage import open_store

NOBODY = 65534


def set_of(folder: Path) -> Path:
    """Two classes of three images, and a note."""
    for number, diagnosis in enumerate(("melanoma", "nevus")):
        (folder / diagnosis).mkdir(parents=True)
        for each in range(3):
            name = f"ISIC_{10 * number + each:07d}.png"
            (folder / diagnosis / name).write_bytes(picture(10 * number + each))
    (folder / "README.txt").write_text("drawn")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return set_of(tmp_path / "set")


def link_of_a_class(images: Path) -> str:
    (images / "melanoma").rename(images.parent / "elsewhere")
    (images / "melanoma").symlink_to(images.parent / "elsewhere")
    return "melanoma: a link to"


def link_that_stays_inside(images: Path) -> str:
    (images / "basal cell carcinoma").symlink_to("nevus")
    return "basal cell carcinoma: a link to 'nevus'"


def link_of_an_image(images: Path) -> str:
    outside = images.parent / "outside.png"
    outside.write_bytes(picture(50))
    (images / "nevus" / "linked.png").symlink_to(outside)
    return "nevus/linked.png: a link to"


def broken_link(images: Path) -> str:
    (images / "nevus" / "gone.png").symlink_to("nowhere.png")
    return "nevus/gone.png: a link to 'nowhere.png', broken"


def link_to_itself(images: Path) -> str:
    (images / "nevus" / "again").symlink_to(".")
    return "nevus/again: a link to '.'"


def named_pipe(images: Path) -> str:
    os.mkfifo(images / "nevus" / "pipe.png")
    return "nevus/pipe.png: a named pipe"


def bound_socket(images: Path) -> str:
    here = os.getcwd()
    os.chdir(images / "nevus")  # an address holds 107 bytes at most
    try:
        socket.socket(socket.AF_UNIX).bind("s.png")
    finally:
        os.chdir(here)
    return "nevus/s.png: a socket"


def device(images: Path) -> str:
    os.mknod(images / "nevus" / "zero.png", 0o666 | 0o020000, os.makedev(1, 5))
    return "nevus/zero.png: a device"


def name_in_cp1252(images: Path) -> str:
    path = os.fsencode(images / "nevus") + b"/Leberfleck gro\xdf.png"
    Path(os.fsdecode(path)).write_bytes(picture(51))
    return "Leberfleck gro\\udcdf.png': its name is no UTF-8"


def folder_in_cp1252(images: Path) -> str:
    (images / "nevus").rename(os.fsdecode(os.fsencode(images) + b"/n\xe6vus"))
    return "n\\udce6vus': its name is no UTF-8"


Spoil = Callable[[Path], str]
SPOILT: list[Spoil] = [
    *(link_of_a_class, link_that_stays_inside, link_of_an_image, broken_link, link_to_itself),
    *(named_pipe, bound_socket, name_in_cp1252, folder_in_cp1252),
    pytest.param(device, marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root")),
]


def refused(argv: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    code = main(argv)
    said = capfd.readouterr().err
    assert code == 64, said
    assert "Traceback" not in said
    assert "Expected:" in said
    assert "Do:" in said
    return said


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_cannot_be_taken_is_named_and_nothing_is_delivered(
    spoil: Spoil, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = spoil(images)
    store = tmp_path / "store"
    said = refused(["deliver", "--store", str(store), "--images", str(images)], capfd)
    assert named in said
    assert not (store / "raw").exists()


@pytest.mark.parametrize("spoil", SPOILT)
def test_tables_and_images_to_score_are_looked_at_alike(
    spoil: Spoil, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tables = set_of(tmp_path / "tables")
    named, store = spoil(tables), tmp_path / "store"
    argv = ["deliver", "--store", str(store), "--images", str(images), "--metadata", str(tables)]
    assert named in refused(argv, capfd)
    assert not (store / "raw").exists()
    with pytest.raises(BadInput) as told:
        files_in(tables, "images")  # as score does, after the model was found
    assert named in str(told.value)


def test_all_that_is_wrong_is_told_at_once(
    images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = [spoil(images) for spoil in (broken_link, named_pipe, name_in_cp1252)]
    for number in range(20):
        (images / f"z{number:02d}").symlink_to("nowhere")
    said = refused(["run", "--store", str(tmp_path / "store"), "--images", str(images)], capfd)
    assert "and 13 more" in said
    assert all(each in said for each in named)


AS_NOBODY = """
import os, sys
import tasks.deliver, tempfile, concurrent.futures.thread, typer.rich_utils, rich.traceback
from tasks.__main__ import main
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that an ordinary user may write to; pytest's own are closed to all but one."""
    folder = Path(tempfile.mkdtemp())
    set_of(folder / "set")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    yield folder
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def as_nobody(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *argv], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closed", ["set/melanoma", "set/nevus/ISIC_0000011.png", "set", ""])
def test_what_cannot_be_read_is_named_and_nothing_is_delivered(
    open_place: Path, closed: str
) -> None:
    (open_place / closed).chmod(0)
    argv = ("deliver", "--store", f"{open_place}/store", "--images", f"{open_place}/set")
    done = as_nobody(*argv)
    assert done.returncode == 64, done.stderr
    assert "Traceback" not in done.stderr
    assert "Permission denied" in done.stderr or "is not readable" in done.stderr
    assert closed.removeprefix("set/") in done.stderr
    (open_place / closed).chmod(0o700)
    assert not (open_place / "store/raw").exists()

    assert as_nobody(*argv).returncode == 0
    assert len(list((open_place / "store/raw").rglob("*.png"))) == 6


def test_a_store_in_the_folder_of_images_is_refused(
    images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for store in (images / "store", images, images / "nevus" / "deep" / "store"):
        said = refused(["deliver", "--store", str(store), "--images", str(images)], capfd)
        assert "The store lies in the folder of images" in said
    assert sorted(path.name for path in images.iterdir()) == ["README.txt", "melanoma", "nevus"]


def test_images_in_the_folder_of_the_store_are_delivered(tmp_path: Path) -> None:
    """As when both are the folder that one works in."""
    assert deliver(open_store(str(tmp_path)), set_of(tmp_path / "set")) == 7


def test_hidden_files_and_folders_are_left_out_and_told(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / ".DS_Store").write_bytes(b"litter")
    (images / ".git").mkdir()
    (images / ".git" / "link").symlink_to("nowhere")
    (images / "nevus" / "._ISIC_0000010.png").write_bytes(b"litter")
    assert deliver(open_store(str(tmp_path / "store")), images) == 7
    told = "3 hidden files or folders"
    assert told in caplog.text
    assert ".DS_Store; .git; nevus/._ISIC_0000010.png" in caplog.text


@pytest.mark.parametrize("name", [".isic9", "..isic9", "deep/.hidden/isic9"])
def test_images_in_a_hidden_folder_are_delivered_and_ingested(tmp_path: Path, name: str) -> None:
    store = open_store(str(tmp_path / "store"))
    assert deliver(store, set_of(tmp_path / name)) == 7
    keys = [entry.key for entry in store.list("raw/")]
    assert "raw/isic9/melanoma/ISIC_0000000.png" in keys
    assert not [key for key in keys if _is_litter(key)]


def test_a_folder_that_is_named_by_a_link_is_delivered(images: Path, tmp_path: Path) -> None:
    """Whoever names the link means what it leads to."""
    (tmp_path / "link").symlink_to(images)
    store = open_store(str(tmp_path / "store"))
    assert deliver(store, tmp_path / "link") == 7
    assert {entry.key.split("/")[1] for entry in store.list("raw/")} == {"set"}


def test_a_second_delivery_copies_what_is_new_and_overwrites_nothing(
    images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path / "store"))
    argv = ["deliver", "--store", str(tmp_path / "store"), "--images", str(images)]
    assert main(argv) == 0
    (images / "nevus" / "new.png").write_bytes(picture(60))
    assert main(argv) == 0
    assert "8 files delivered" in (said := capfd.readouterr().err)
    assert "1 of them new" in said
    (images / "nevus" / "new.png").write_bytes(picture(61))
    assert "Another file stands under this name" in refused(argv, capfd)
    assert store.read("raw/set/nevus/new.png") == picture(60)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.binary(min_size=1, max_size=12), min_size=1, max_size=6))
def test_every_name_is_delivered_or_told(names: set[bytes]) -> None:
    """Whatever bytes a file system takes as a name: each file is delivered, hidden or refused."""
    with tempfile.TemporaryDirectory() as place:
        folder, made = Path(place, "set"), set()
        (folder / "nevus").mkdir(parents=True)
        for name in names:
            if b"/" in name or b"\0" in name:
                continue
            file = Path(os.fsdecode(os.fsencode(folder / "nevus") + b"/" + name + b".png"))
            file.write_bytes(picture(1))
            made.add(name + b".png")
        if not made:
            return
        shown = {name for name in made if not name.startswith(b".")}
        if all(map(_is_text, shown)):
            found = files_in(folder, "images")
            assert {os.fsencode(path.name) for path in found} == shown
        else:
            with pytest.raises(BadInput, match="no UTF-8"):
                files_in(folder, "images")


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_pipe_for_labels_is_refused_and_not_waited_for(
    images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "labels.csv")
    model = tmp_path / "model.keras"
    model.write_bytes(b"")
    argv = ["--images", str(images), "--labels", str(tmp_path / "labels.csv")]
    said = refused(["score", "--model", str(model), "--threshold", "0.5", *argv], capfd)
    assert "The labels cannot be read" in said


def test_what_is_delivered_is_what_ingest_lists(images: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    put_lesions(store, "melanoma", range(2))
    deliver(store, images)
    assert len([e for e in store.list("raw/") if e.key.endswith(".png")]) == 8
