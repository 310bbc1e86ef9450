"""The demo's own pieces, without a demo that stands."""

import os
from pathlib import Path

from demo.__main__ import _lock_up
from demo.airflow_api import ENGINEER, PHYSICIAN
from demo.settings import passwords, passwords_file


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_an_earlier_version_left_open_is_locked_and_what_lies_outside_is_not(
    tmp_path: Path,
) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    (home / "store" / "raw").mkdir(parents=True)
    for path, given in ((home / "store" / "raw" / "a.jpg", 0o644), (home / "run.sh", 0o755)):
        path.touch()
        path.chmod(given)
    outside.touch()
    outside.chmod(0o644)
    (home / "link").symlink_to(outside)
    home.chmod(0o755)

    _lock_up(home)

    assert {mode(path) for path in home.rglob("*") if path.is_dir()} | {mode(home)} == {0o700}
    assert mode(home / "store" / "raw" / "a.jpg") == 0o600
    assert mode(home / "run.sh") == 0o700
    assert mode(outside) == 0o644


def test_each_demo_has_passwords_of_its_own_and_keeps_them(tmp_path: Path) -> None:
    before = os.umask(0)  # the mode does not depend on it
    try:
        made, other = passwords(tmp_path / "one"), passwords(tmp_path / "two")
    finally:
        os.umask(before)

    assert made.keys() == {ENGINEER, PHYSICIAN}
    assert len({*made.values(), *other.values()}) == 4
    assert min(map(len, made.values())) >= 16  # 96 bits
    assert passwords(tmp_path / "one") == made
    assert mode(passwords_file(tmp_path / "one")) == 0o600
    assert mode(passwords_file(tmp_path / "one").parent) == 0o700
