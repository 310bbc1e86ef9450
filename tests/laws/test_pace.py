"""Which tests which target runs, and what is told of those that a machine cannot run."""

from pathlib import Path

import pytest

from tests.support.campaigns import told
from tests.support.missing import lines_of
from tests.support.pace import is_campaign, is_slow
from tests.support.paths import ROOT

TESTS = ROOT / "tests"


def test_what_is_real_or_says_that_it_is_slow_is_left_out_of_the_check(tmp_path: Path) -> None:
    quick, slow = tmp_path / "test_quick.py", tmp_path / "test_slow.py"
    quick.write_text("import pytest\n# pytestmark = pytest.mark.slow\n")
    slow.write_text("import pytest\n\npytestmark = pytest.mark.slow\n")

    assert is_slow(slow)
    assert is_slow(TESTS / "real" / "kills" / "test_kill.py")
    assert not is_slow(quick)
    assert not is_slow(TESTS / "text" / "test_lines.py")


def test_only_a_campaign_is_one() -> None:
    assert is_campaign(TESTS / "campaigns" / "test_kills.py")
    assert not is_campaign(TESTS / "real" / "kills" / "test_kill.py")


def test_each_missing_thing_is_one_line_with_what_would_install_it() -> None:
    engine, server = "Skipped: no engine: start one", "Skipped: no server: install one"

    assert lines_of([server, engine, engine]) == [
        "2 skipped, no engine: start one",
        "1 skipped, no server: install one",
    ]
    assert lines_of([]) == []


def test_a_campaign_that_found_nothing_writes_no_page(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run `make campaign`"):
        told(tmp_path)
    (tmp_path / "kills.json").write_text('{"gate": {"killed": 7}}')
    assert "| gate | 7 |" in told(tmp_path)


def test_a_campaign_that_did_not_run_here_keeps_its_table(tmp_path: Path) -> None:
    (tmp_path / "kills.json").write_text('{"gate": {"killed": 7}}')
    page = told(tmp_path)
    (tmp_path / "kills.json").unlink()
    (tmp_path / "storms.json").write_text('{"gate": {"faults": 3}}')
    both = told(tmp_path, page)
    assert "| gate | 7 |" in both
    assert "| gate | 3 |" in both

    (tmp_path / "kills.json").write_text('{"gate": {"killed": 9}}')
    anew = told(tmp_path, both)
    assert "| gate | 9 |" in anew
    assert "| gate | 7 |" not in anew
    assert told(tmp_path, anew) == anew
