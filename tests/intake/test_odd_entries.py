"""What is no plain file or may not be read is named, and nothing is delivered."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer._click._textwrap  # the child of `as_nobody` may not read the environment
import typer.rich_utils  # noqa: F401  # for the same child

from tasks.__main__ import main
from tasks.engine.storage import open_store
from tasks.errors import BadInput
from tests.support.deliveries import delivering, do, folder_of, picture, run_of, table_of
from tests.support.missing import need_root

Spoil = Callable[[Path], object]


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


def in_cp1252(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


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
}
# What score refuses, and deliver keeps apart.
ODD: dict[str, tuple[str, Spoil]] = {
    "a file in cp1252": (
        r"nevus/n\xe4vus.png (its name is not UTF-8)",
        lambda at: in_cp1252(at / "nevus", b"n\xe4vus.png").write_bytes(picture(9)),
    ),
    "a folder in cp1252": (
        r"n\xe4vus/9.png (its name is not UTF-8)",
        lambda at: (fresh(in_cp1252(at, b"n\xe4vus")) / "9.png").write_bytes(picture(9)),
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


@pytest.mark.parametrize("spoil", ODD)
def test_a_name_that_no_store_can_keep_is_quarantined_and_the_rest_is_delivered(
    spoil: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, do_it = ODD[spoil]
    do_it(images)
    assert main(["inspect", "--images", str(images)]) == 0
    assert "1 image with a name that no store can keep" in capsys.readouterr().out
    assert main(delivering(tmp_path / "store", images)) == 0
    assert named in capsys.readouterr().err
    run = run_of(open_store(str(tmp_path / "store")))
    manifest = table_of(run, do(run, "ingest").manifest)
    odd = manifest[manifest["law"] == "unsafe_name"]
    assert list(odd["key"]) == [f"raw/clinic/{named.partition(' (')[0]}"]
    assert (manifest["law"].isna().sum(), len(manifest)) == (4, 5)
    assert main(delivering(tmp_path / "store", images)) == 0  # again, as after a kill
    assert len(folder_of(tmp_path / "store/raw")) == 5


def test_a_path_that_is_too_long_for_a_store_is_quarantined_too(
    images: Path, tmp_path: Path
) -> None:
    deep = images / "/".join(["a" * 200] * 5) / "nevus"
    deep.mkdir(parents=True)
    (deep / "9.png").write_bytes(picture(9))
    assert main(delivering(tmp_path / "store", images)) == 0
    run = run_of(open_store(str(tmp_path / "store")))
    manifest = table_of(run, do(run, "ingest").manifest)
    assert (manifest["law"] == "unsafe_name").sum() == 1
    assert manifest["key"].str.len().max() < 1024


def test_a_name_that_was_put_under_raw_in_cp1252_blocks_no_run(
    images: Path, tmp_path: Path
) -> None:
    assert main(delivering(tmp_path / "store", images)) == 0
    raw = tmp_path / "store/raw"
    in_cp1252(raw / "clinic/nevus", b"n\xe4vus.png").write_bytes(picture(9))
    (fresh(in_cp1252(raw, b"\xe4")) / "labels.csv").write_text("image_id,diagnosis\n0,nevus\n")
    run = run_of(open_store(str(tmp_path / "store")))
    record = do(run, "ingest")
    assert list(record.reading.unread) == [r"raw/\xe4/labels.csv"]
    manifest = table_of(run, record.manifest)
    assert (manifest["law"] == "unsafe_name").sum() == 1


@pytest.mark.parametrize("spoil", [*SPOILS, *ODD])
def test_score_names_what_is_no_plain_file_and_scores_nothing(
    spoil: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named, do_it = (SPOILS | ODD)[spoil]
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
    assert "INFO 1 files in" in said
    assert "are not images, by their names" in said
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
        assert len(folder_of(store / "raw")) == 4 + (kind == "metadata")
    else:
        assert code == BadInput.exit_code, said
        assert named in said
        assert not store.exists()
