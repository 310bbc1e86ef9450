"""The figures on an external set verify offline, and no forger can better or hide them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.__main__ import main
from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.errors import Corrupt
from tasks.evaluation.comparison import COLUMN
from tasks.evaluation.policy import parse_policy
from tasks.intake.deliver import deliver
from tasks.intake.manifest import parquet_of, to_parquet
from tasks.intake.second_clinic import second_clinic
from tasks.records.record import sha256
from tasks.records.validated import Validated
from tasks.release.card import model_card
from tasks.release.evidence import STEPS, Bundle, keep_evidence
from tasks.release.verify import verify
from tasks.reporting.report import report
from tests.support.approvals import promoted
from tests.support.bundles import linked_records, reseal
from tests.support.deliveries import BEFORE_REGISTER, delivered, do, run_of, table_of
from tests.support.moved import moved

pytestmark = pytest.mark.slow

NAME = "clinic-b"


@pytest.fixture(scope="module")
def judged(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose model was judged on an external set too, beside a champion."""
    folder = tmp_path_factory.mktemp("elsewhere")
    store = delivered(drawn, folder / "store")
    small: dict[str, Any] = {"epochs": 1, "minimum_groups": 4, "recipes": ("baseline",)}
    first = run_of(store, "first", policy="smoke", **small)
    do(first, *BEFORE_REGISTER, "register")
    promoted(first)
    second_clinic(folder / "b", scale=0.2)
    deliver(store, folder / "b", external=NAME)
    second = run_of(store, "second", seed=2, policy="synthetic", **small)
    do(second, *BEFORE_REGISTER)
    keep_evidence(second)
    return second


@pytest.fixture
def copied(judged: Run, tmp_path: Path) -> Path:
    bundle = Path(judged.store.uri, "runs", "second", "evidence")
    return Path(shutil.copytree(bundle, tmp_path / "evidence"))


def evaluated(judged: Run) -> Any:
    return judged.record("evaluate")


def test_the_set_is_scored_at_the_models_threshold_beside_the_champion(judged: Run) -> None:
    (there,) = evaluated(judged).external
    assert there.name == NAME
    assert there.figures.threshold == evaluated(judged).threshold
    assert there.figures.sensitivity.n == 8
    assert there.champion.sensitivity.n == 8
    assert COLUMN in table_of(judged, there.predictions)
    assert there.sensitivity_drop.value == pytest.approx(
        evaluated(judged).figures.sensitivity.estimate - there.figures.sensitivity.estimate
    )


def test_nothing_of_the_set_is_learned_from_or_chosen_on(judged: Run) -> None:
    split: Any = judged.record("split")
    there = set(table_of(judged, evaluated(judged).external[0].predictions)["image_id"])
    assert len(there) == 42
    assert not there & set(table_of(judged, split.parts)["image_id"])


def test_the_look_at_the_set_is_counted(judged: Run) -> None:
    looks = [e for e in chain_of(judged.store).of("evaluation") if e.content["by"] == "external"]
    assert [len(each.content["images"]) for each in looks] == [42]
    verdict: Any = judged.record("gate")
    assert f"melanoma sensitivity on {NAME}" in {rule.name for rule in verdict.rules}


def test_true_figures_verify(copied: Path) -> None:
    held = verify(str(copied)).held
    assert "the figures on external sets follow from 42 predictions, made anew" in held
    assert [each for each in held if each.startswith("no image of the external sets (clinic-b)")]


def find_more(content: Any) -> None:
    content["external"][0]["figures"]["sensitivity"]["successes"] -= 1


def drop_less(content: Any) -> None:
    content["external"][0]["sensitivity_drop"]["upper"] -= 0.1


def judge_fewer(content: Any) -> None:
    content["external"][0]["set_sha256"] = "0" * 64


def keep_silent(content: Any) -> None:
    content["external"] = []


def tell_of_fewer(content: Any) -> None:
    content["external"][0]["without_image"] = 7


def forget_the_champion(content: Any) -> None:
    content["external"][0]["champion"] = None


@pytest.mark.parametrize(
    ("alter", "named"),
    [
        (find_more, "a figure on clinic-b does not follow"),
        (drop_less, "a figure on clinic-b does not follow"),
        (judge_fewer, "other images or labels of clinic-b"),
        (keep_silent, "each external set is judged"),
        (tell_of_fewer, "told otherwise"),
        (forget_the_champion, "do not belong together"),
    ],
)
def test_what_a_forger_betters_or_hides_is_caught_though_sealed_anew(
    copied: Path, alter: Callable[[Any], None], named: str
) -> None:
    reseal(copied, linked_records(copied, {"evaluate": alter}))
    with pytest.raises(Corrupt, match=named):
        verify(str(copied))


@pytest.mark.parametrize("named", ["each external set is looked at", "is accounted for"])
def test_a_set_or_a_row_that_is_hidden_from_both_records_is_caught(
    copied: Path, named: str
) -> None:
    """Though validate, evaluate and gate are written anew, in line with each other."""
    content = json.loads((copied / "validate/record.json").read_text())
    table = copied / f"validate/external/{NAME}.parquet"
    if named.endswith("looked at"):
        content["external"] = []
    else:
        data = to_parquet(parquet_of(table.read_bytes()).iloc[1:])
        table.write_bytes(data)
        content["external"][0]["kept"] |= {"sha256": sha256(data), "size_bytes": len(data)}
    hidden = Validated.model_validate(content).content_hash
    (copied / "validate/record.json").write_text(json.dumps(content))

    def in_line(evaluated: Any) -> None:
        evaluated["provenance"]["inputs"]["validate"] = hidden
        evaluated["external"] = evaluated["external"] if content["external"] else []

    split = json.loads((copied / "split/record.json").read_text())
    split["provenance"]["inputs"]["validate"] = hidden
    (copied / "split/record.json").write_text(json.dumps(split))
    reseal(copied, linked_records(copied, {"evaluate": in_line}))
    with pytest.raises(Corrupt, match=named):
        verify(str(copied))


def test_the_first_sentence_of_the_card_says_where_the_model_was_judged(
    judged: Run, copied: Path
) -> None:
    card = (copied / "model_card.md").read_text()
    assert f"Judged on its own archive and elsewhere, on {NAME}." in card
    bundle = Bundle(str(copied))
    records = {step.name: bundle.record(step.name) for step in STEPS}
    alone = evaluated(judged).model_copy(update={"external": ()})
    policy = parse_policy(bundle.read("policy.yaml"), "policy.yaml")
    said = model_card("second", records | {"evaluate": alone}, policy)
    first = said.split("\n\n", 3)[1:3]
    assert "Judged on its own archive only" in " ".join(first)


def test_the_first_screen_shows_own_and_external_figures(judged: Run) -> None:
    page = judged.store.read(report(judged)).decode()
    first = page.partition("<nav")[0]
    assert "Own test part" in first
    assert f"Elsewhere: {NAME}" in first
    assert "Judged on its own archive only" not in page
    without = judged.store.read(report(Run(judged.store, "first", judged.config))).decode()
    assert "Judged on its own archive only" in without.partition("<nav")[0]


def test_a_run_without_a_set_says_so_in_its_records(judged: Run) -> None:
    then = json.loads(judged.store.read("runs/first/evaluate/record.json"))
    assert then["external"] == []


# Erased ------------------------------------------------------------------------------------------


def test_an_erased_external_image_is_nowhere_and_the_evidence_still_verifies(
    judged: Run, tmp_path: Path
) -> None:
    store = moved(judged.store.uri, tmp_path / "store")
    root = Path(store.uri)
    there = evaluated(judged).external[0]
    name = str(table_of(judged, there.predictions)["image_id"].iloc[0])
    (kept,) = judged.record("validate").external  # type: ignore[union-attr]  # it ran
    row = table_of(judged, kept.kept).set_index("image_id").loc[name]
    shard = np.load(root / str(row["shard"]), allow_pickle=False)
    traces = {
        "file": (root / str(row["key"])).read_bytes(),
        "pixels": shard[int(str(row["index"]))].tobytes(),
        "thumbnail": bytes(row["thumbnail"]),
    }
    assert {what for _, what in where(root, traces)} == {"file", "pixels", "thumbnail"}
    given = ["--store", store.uri, "--image", name, "--reason", "consent withdrawn"]
    assert main(["erase", *given]) == 0
    assert where(root, traces) == []
    held = verify(str(root / "runs/second/evidence"))
    assert "1 image on" in held.gaps
    assert not (root / str(row["key"])).exists()


def where(root: Path, traces: dict[str, bytes]) -> list[tuple[str, str]]:
    """The objects that hold something of an image."""
    found = []
    for path in (each for each in root.rglob("*") if each.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            data += b"".join(map(bytes, frame.get("thumbnail", pd.Series(dtype=object)).dropna()))
        found += [(path.name, what) for what, trace in traces.items() if trace in data]
    return found
