"""What a step tells an orchestrator that cannot read exit codes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import __main__ as command_line
from tasks.__main__ import main
from tasks.errors import BadInput, Halt, Momentary
from tasks.records.verdict import Verdict


def ends(monkeypatch: pytest.MonkeyPatch, with_: Any) -> None:
    """Let every step end with a record or an exception."""

    def execute(*_: Any) -> Any:
        if isinstance(with_, Exception):
            raise with_
        return with_

    monkeypatch.setattr(command_line, "execute", execute)


def tell(store: Path, outcome: Path, step: str = "gate") -> int:
    return main([step, "--run", f"{store}/runs/first", "--outcome", str(outcome)])


def verdict(decision: str) -> Verdict:
    said: dict[str, Any] = {"decision": decision}
    return Verdict.model_construct(**said)


@pytest.mark.parametrize("decision", ["pass", "fail", "insufficient evidence"])
def test_the_gate_tells_its_decision(
    decision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, verdict(decision))

    assert tell(tmp_path, tmp_path / "outputs" / "outcome") == 0
    assert (tmp_path / "outputs" / "outcome").read_text() == decision


def test_a_halt_ends_well_only_for_who_asked_to_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(monkeypatch, Halt("register: nothing is registered"))

    assert tell(tmp_path, tmp_path / "outcome", "register") == 0
    assert (tmp_path / "outcome").read_text() == "halted"
    assert main(["register", "--run", f"{tmp_path}/runs/first"]) == Halt.exit_code


def test_any_other_step_tells_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, SimpleNamespace())

    assert tell(tmp_path, tmp_path / "outcome", "split") == 0
    assert (tmp_path / "outcome").read_text() == "done"


@pytest.mark.parametrize(
    "error", [Momentary("gone"), BadInput("no", expected="a", received="b", do="c")]
)
def test_a_failure_stays_one_and_tells_nothing(
    error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, error)

    assert tell(tmp_path, tmp_path / "outcome") == error.exit_code
    assert not (tmp_path / "outcome").exists()
