"""The judge of images lies in the evidence, and no forger can better what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.run import Run
from tasks.errors import Corrupt
from tasks.evaluation.answerable import Answerable
from tasks.evaluation.refusal_kinds import WITHOUT_SKIN
from tasks.evaluation.refusals import JUDGE, REFUSED
from tasks.intake.manifest import parquet_of, to_parquet
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.release.verify import verify
from tests.support.bundles import linked_records, reseal
from tests.support.deliveries import table_of

pytestmark = pytest.mark.slow

JUDGE_FILE = f"evaluate/{JUDGE}"
PREDICTIONS = "evaluate/predictions.parquet"


@pytest.fixture
def evaluated(run: Run) -> Evaluated:
    found = run.record("evaluate")
    assert isinstance(found, Evaluated)
    return found


def test_the_judge_lies_in_the_evidence_as_the_record_names_it(
    sealed: Path, evaluated: Evaluated
) -> None:
    assert evaluated.refusals
    data = (sealed / JUDGE_FILE).read_bytes()
    assert sha256(data) == evaluated.refusals.judge.sha256
    assert Answerable.from_bytes(data).side == 48
    said = " ".join(verify(str(sealed)).held)
    assert "lesions of the test part are refused" in said
    assert "the judge of images says the same of" in said


def test_the_record_tells_every_kind_and_what_is_not_measured(evaluated: Evaluated) -> None:
    told = evaluated.refusals
    assert told
    assert told.validation.successes <= told.allowed * told.validation.n
    assert "clinical photographs" in told.not_measured
    assert not {each.kind for each in told.kinds} & set(told.fit_kinds)
    drawn = [each for each in told.kinds if each.origin == "drawn"]
    assert drawn
    assert {each.refused.n for each in drawn} == {WITHOUT_SKIN}


def test_the_predictions_hold_the_grounds_of_each_image(run: Run, evaluated: Evaluated) -> None:
    assert evaluated.refusals
    table = table_of(run, evaluated.predictions)
    lesions = table.assign(gone=table[REFUSED] != "").groupby("lesion")["gone"].any()
    assert int(lesions.sum()) == evaluated.refusals.lesions[0].refused.successes


def test_the_card_tells_what_is_refused(sealed: Path) -> None:
    card = (sealed / "model_card.md").read_text()
    assert "A judge of images" in card
    assert "Not measured: clinical photographs" in card


def better(told: Any) -> None:
    told["lesions"][0]["melanomas_refused"]["successes"] += 1


def surer(told: Any) -> None:
    told["kinds"][0]["at_least"] = 0.999


def more(told: Any) -> None:
    told["validation"]["upper"] = 0.02


@pytest.mark.parametrize("change", [better, surer, more], ids=lambda each: each.__name__)
def test_a_figure_that_does_not_follow_is_caught_though_sealed_anew(
    copied: Path, change: Callable[[Any], None]
) -> None:
    files = linked_records(copied, {"evaluate": lambda content: change(content["refusals"])})
    reseal(copied, files)
    with pytest.raises(Corrupt, match="a refusal does not follow from the predictions"):
        verify(str(copied))


def test_a_record_without_its_judge_is_caught_though_sealed_anew(copied: Path) -> None:
    def dropped(content: Any) -> None:
        content["refusals"] = None

    reseal(copied, linked_records(copied, {"evaluate": dropped}))
    (copied / JUDGE_FILE).unlink()
    reseal(copied, {})
    with pytest.raises(Corrupt, match="no predictions hold refusals"):
        verify(str(copied))


def _named(content: Any, name: str, data: bytes) -> None:
    artifact = content["refusals"]["judge"] if name == JUDGE_FILE else content["predictions"]
    artifact |= {"sha256": sha256(data), "size_bytes": len(data)}


def test_a_judge_with_other_limits_is_caught_though_sealed_anew(copied: Path) -> None:
    """The golden images are asked about anew; the forger's judge refuses all of them."""
    judge = Answerable.from_bytes((copied / JUDGE_FILE).read_bytes())
    data = replace(judge, limits=judge.limits | {"far": 0.0}).to_bytes()
    changes = linked_records(
        copied, {"evaluate": lambda content: _named(content, JUDGE_FILE, data)}
    )
    reseal(copied, changes | {JUDGE_FILE: data})
    with pytest.raises(Corrupt, match="the judge of images says otherwise of golden image"):
        verify(str(copied))


def test_predictions_with_other_refusals_are_caught_though_sealed_anew(copied: Path) -> None:
    table = parquet_of((copied / PREDICTIONS).read_bytes())
    table[REFUSED] = "blurred"
    data = to_parquet(table)
    changes = linked_records(
        copied, {"evaluate": lambda content: _named(content, PREDICTIONS, data)}
    )
    reseal(copied, changes | {PREDICTIONS: data})
    with pytest.raises(Corrupt, match="a refusal does not follow from the predictions"):
        verify(str(copied))
