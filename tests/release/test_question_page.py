"""What a person reads who decides: true figures, each said once, with bounds that hold."""

import re
from pathlib import Path

import pytest

from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.figures import at_least, at_most
from tasks.records.evaluated import Evaluated
from tasks.records.record import LedgerHead
from tasks.records.registered import Registered
from tasks.records.verdict import Verdict
from tasks.registry.versions import HEAD, heads_of, mlflow_client
from tasks.release.question_page import page as page_of
from tasks.release.question_page import subject
from tests.support.approvals import question_about

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(registered_run: Run) -> list[str]:
    return page_of(question_about(registered_run)).replace("\u2060", "").splitlines()


def test_each_rule_is_told_once_and_by_its_name_once(registered_run: Run, page: list[str]) -> None:
    verdict = registered_run.record("gate")
    assert isinstance(verdict, Verdict)
    told = [line for line in page if line.startswith("- **")]
    assert len(told) == len(verdict.rules) > 1
    for rule, line in zip(verdict.rules, told, strict=True):
        assert line.startswith(f"- **{rule.decision}** · ")
        assert line.count(rule.name) == 1


def test_bounds_are_those_of_the_record_rounded_away(registered_run: Run, page: list[str]) -> None:
    evaluated = registered_run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    found = evaluated.figures.sensitivity
    (row,) = [line for line in page if line.startswith("| Melanoma sensitivity")]
    assert f"{at_least(found.lower, 1)} to {at_most(found.upper, 1)}" in row
    assert f"{found.successes} of {found.n}" in row
    low, high = (float(each) for each in re.findall(r"([\d.]+)\s%", row)[-2:])
    assert low <= 100 * found.lower <= 100 * found.upper <= high


def test_other_cancers_stand_apart_and_drawings_are_named(page: list[str]) -> None:
    text = "\n".join(page)
    for name in ("basal cell carcinoma", "squamous cell carcinoma", "actinic keratosis"):
        assert f"| Of the others, {name}" in text
    assert "rightly left alone" not in text
    assert page[0].startswith("**SYNTHETIC.**")


def test_the_registered_version_names_the_head_of_the_ledger(registered_run: Run) -> None:
    registered, verdict = registered_run.record("register"), registered_run.record("gate")
    assert isinstance(registered, Registered)
    assert isinstance(verdict, Verdict)
    assert verdict.ledger
    with mlflow_client(registered_run.store) as client:
        tags = client.get_model_version(registered.name, str(registered.version)).tags
        assert LedgerHead.model_validate_json(tags[HEAD]) == verdict.ledger
        assert heads_of(client, registered_run.store) == [verdict.ledger]
    assert chain_of(registered_run.store).holds(verdict.ledger)
    assert Path(registered_run.store.uri, "ledger", "chain").is_dir()


def test_the_subject_tells_questions_apart(registered_run: Run) -> None:
    asked = question_about(registered_run)
    other = asked.model_copy(update={"champion": asked.model})
    assert "version 1 of" in subject(asked)
    assert "first champion" in subject(asked)
    assert "instead of version 1" in subject(other)
    assert subject(asked).startswith("SYNTHETIC")
