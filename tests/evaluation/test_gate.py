"""gate: which policy judged, at which look, and what becomes of lesions that were judged before."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.errors import BadInput, Momentary
from tasks.evaluation.elsewhere import drops
from tasks.evaluation.gate import gate
from tasks.evaluation.policy import policy_bytes
from tasks.evaluation.scoring import figures
from tasks.intake.manifest import read_parquet, table, to_parquet
from tasks.records.evaluated import Evaluated, External
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.records.verdict import Verdict
from tasks.splitting.looks import enter_look, hash_of_test_part, supersede
from tests.support.deliveries import do, run_of
from tests.support.judged import (
    MELANOMA_POLICY,
    THRESHOLD,
    figures_of,
    good,
    predictions,
)
from tests.support.records import known

# The step -----------------------------------------------------------------------------------------


def made(tmp_path: Path, leak: bool = False, found: int = 96) -> tuple[Run, Split, Evaluated]:
    """A run that judges 100 melanomas and 300 nevi, with a lesion on two sides if wanted."""
    run = replace(run_of(open_store(str(tmp_path)), policy="melanoma"), step="gate")
    told = predictions(found, 100, 280, 300)
    names = zip(told["image_id"], told["label"], strict=True)
    rows: list[dict[str, Any]] = [{"image_id": name, "label": label} for name, label in names]
    rows += [{"image_id": f"TRAIN_{n}", "label": "nevus"} for n in range(20)]
    for number, row in enumerate(rows):
        row |= {"key": f"raw/{number}.jpg", "size_bytes": 1, "lesion_id": f"L{number}"}
        row |= {"pixel_hash": sha256(row["image_id"].encode())}
    if leak:
        rows[-1]["lesion_id"] = "L0"
    sides = {True: "train", False: "test"}
    parts = table(rows)
    parts["side"] = parts["image_id"].str.startswith("TRAIN").map(sides)
    kept = run.keep("parts.parquet", to_parquet(parts))
    split = Split(
        parts=kept, proof=kept, left_out=kept, counts={}, groups={}, strata=(), bridging=0
    )
    evaluated = good(
        test_part=hash_of_test_part(parts[parts["side"] == "test"]),
        predictions=run.keep("predictions.parquet", to_parquet(told)),
        external=(elsewhere(run),),
    )
    return run, split, evaluated


def elsewhere(run: Run) -> External:
    """An external set on which the model does as well."""
    told = predictions(97, 100, 280, 300)
    told["image_id"] = "B_" + told["image_id"]
    told["pixel_hash"] = [sha256(name.encode()) for name in told["image_id"]]
    made, own = figures_of(97, 100, 280, 300), good().figures
    sensitivity_drop, auc_drop = drops(own, made)
    return External(
        name="clinic-b",
        set_sha256=hash_of_test_part(told),
        left={},
        without_image=0,
        figures=made,
        sensitivity_drop=sensitivity_drop,
        auc_drop=auc_drop,
        predictions=run.keep("elsewhere.parquet", to_parquet(told)),
        champion=None,
        standing=None,
    )


def test_each_look_at_an_external_set_widens_its_bounds_and_no_others(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    there = evaluated.external[0].predictions
    assert there
    rows = read_parquet(run, there)
    first = gate(run, split, evaluated)
    for number in range(5):
        enter_look(run, rows, f"{number + 1}" * 64, threshold=THRESHOLD, by="external")
    sixth = gate(run, split, evaluated)
    early, late = ({r.name: r for r in v.rules} for v in (first, sixth))
    outside, own = "melanoma sensitivity on clinic-b", "melanoma sensitivity"
    assert known(late[outside].lower) < known(early[outside].lower)
    assert late[own].lower == early[own].lower
    assert sixth.looks == first.looks


def judged_part(run: Run, split: Split) -> pd.DataFrame:
    parts = read_parquet(run, split.parts)
    return parts[parts["side"] == "test"]


def look(run: Run, rows: pd.DataFrame, model: str, threshold: float = THRESHOLD) -> None:
    enter_look(run, rows, model, threshold=threshold)


def test_the_step_names_the_policy_that_judged_by_its_bytes(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    said = gate(run, split, evaluated)
    assert said.decision == "pass"
    assert said.policy.sha256 == sha256(policy_bytes("melanoma"))
    assert (said.policy.name, said.policy.version) == ("melanoma", MELANOMA_POLICY.version)
    assert Verdict.model_validate_json(said.model_dump_json()) == said


def test_the_step_finds_a_lesion_on_both_sides_by_itself(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, leak=True)
    said = gate(run, split, evaluated)
    assert (said.decision, said.leaks) == ("fail", 1)
    assert "more than one side" in said.reason


def test_figures_of_another_test_part_are_refused(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    other = evaluated.model_copy(update={"test_part": "0" * 64})
    assert "not made on the test part" in gate(run, split, other).reason


def test_each_other_model_that_was_judged_on_these_images_is_counted_once(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    for digest in ("a" * 64, "b" * 64, "b" * 64):
        look(run, test, digest)
    look(run, test.iloc[:200], "c" * 64)  # half of the same images
    nevi = test[test["label"] == "nevus"]
    look(run, nevi.iloc[:60], "d" * 64)  # another test part
    look(run, test, evaluated.model.sha256)
    look(run, test, "e" * 64)  # later than this model's own turn
    assert gate(run, split, evaluated).earlier_evaluations == 3


def test_melanomas_that_were_looked_at_count_however_many_others_are_new(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    melanomas = test[test["label"] == "melanoma"]
    look(run, melanomas.iloc[:50], "a" * 64)
    look(run, melanomas.iloc[:49], "b" * 64)
    assert gate(run, split, evaluated).earlier_evaluations == 1
    whole = hash_of_test_part(test)
    for piece in (melanomas.iloc[:30], melanomas.iloc[30:60]):  # they count together
        enter_look(run, piece, "c" * 64, threshold=THRESHOLD, test_part=whole, by="score")
    assert gate(run, split, evaluated).earlier_evaluations == 2


def test_the_same_model_on_one_lesion_less_is_another_look(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    look(run, test.iloc[1:], evaluated.model.sha256)
    assert gate(run, split, evaluated).earlier_evaluations == 1


def test_bounds_hold_with_the_confidence_that_the_looks_leave(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    first = gate(run, split, evaluated)
    for number in range(9):
        look(run, judged_part(run, split), f"{number + 1}" * 64)
    tenth = gate(run, split, evaluated)
    assert first.looks
    assert tenth.looks
    assert (first.looks.look, tenth.looks.look) == (1, 10)
    assert first.looks.confidence == pytest.approx(1 - 0.05 * 6 / math.pi**2)
    assert tenth.looks.confidence == pytest.approx(1 - 0.05 * 6 / math.pi**2 / 100)
    for name in ("melanoma sensitivity", "balanced accuracy", "calibration error"):
        early, late = ({r.name: r for r in v.rules}[name] for v in (first, tenth))
        (low, high), (least, most) = (
            (known(rule.lower), known(rule.upper)) for rule in (early, late)
        )
        assert least < low <= known(early.figure) <= high < most
    assert "with 99.969 % confidence" in tenth.reason
    assert (first.looks.left or 0) - 9 == tenth.looks.left


def test_a_model_that_passes_at_its_first_look_may_need_more_at_a_later_one(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, found=92)
    assert gate(run, split, evaluated).decision == "pass"
    for number in range(9):
        look(run, judged_part(run, split), f"{number + 1}" * 64)
    assert gate(run, split, evaluated).decision == "insufficient evidence"


# External sets -----------------------------------------------------------------------------------


def told_of(run: Run, evaluated: Evaluated) -> pd.DataFrame:
    there = evaluated.external[0].predictions
    assert there
    return read_parquet(run, there)


def without_images(run: Run, evaluated: Evaluated, gone: pd.Series) -> Evaluated:
    """The record of a later run, whose external set lacks some images."""
    rows = told_of(run, evaluated)[~gone]
    there = evaluated.external[0].model_copy(
        update={
            "set_sha256": hash_of_test_part(rows),
            "predictions": run.keep("fewer.parquet", to_parquet(rows)),
        }
    )
    return evaluated.model_copy(update={"external": (there,)})


def test_an_external_image_that_a_model_missed_and_that_is_gone_stays_a_miss(
    tmp_path: Path,
) -> None:
    run, split, evaluated = made(tmp_path)
    rows = told_of(run, evaluated)
    look = {"threshold": THRESHOLD, "by": "external", "of_set": "clinic-b"}
    enter_look(run, rows, "1" * 64, **look)  # type: ignore[arg-type]  # as given above
    missed = (rows["label"] == "melanoma") & (rows["melanoma"] < THRESHOLD)
    assert missed.sum() == 3
    fewer = gate(run, split, without_images(run, evaluated, missed))
    same = gate(run, split, evaluated)
    name = "melanoma sensitivity on clinic-b"
    counts = [{r.name: r for r in each.rules}[name] for each in (fewer, same)]
    assert [(each.successes, each.n) for each in counts] == [(97, 100), (97, 100)]
    assert [each for each in fewer.warnings if "left it and count as misses" in each]
    assert not [each for each in same.warnings if "left it" in each]


def test_a_set_that_models_were_judged_on_and_that_is_gone_is_told(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    look = {"threshold": THRESHOLD, "by": "external", "of_set": "clinic-c"}
    enter_look(run, told_of(run, evaluated), "1" * 64, **look)  # type: ignore[arg-type]  # as given above
    said = gate(run, split, evaluated)
    assert [each for each in said.warnings if "are gone: clinic-c" in each]


# Lesions that were judged on --------------------------------------------------------------------


def later_without(
    run: Run, split: Split, evaluated: Evaluated, gone: list[str]
) -> tuple[Split, Evaluated]:
    """The records of a later run in which these images are delivered no more."""
    parts, told = read_parquet(run, split.parts), read_parquet(run, evaluated.predictions)
    parts = parts[~parts["image_id"].isin(gone)]
    told = told[~told["image_id"].isin(gone)]
    kept = run.keep("later.parquet", to_parquet(parts))
    return split.model_copy(update={"parts": kept}), evaluated.model_copy(
        update={
            "test_part": hash_of_test_part(parts[parts["side"] == "test"]),
            "predictions": run.keep("told.parquet", to_parquet(told)),
            "figures": figures(told, evaluated.classes, THRESHOLD, {"melanoma": 0.05}),
        }
    )


def test_a_missed_melanoma_that_left_is_named_and_still_counts_as_missed(tmp_path: Path) -> None:
    """Else whoever may deliver could rid a model of what it misses."""
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    before = gate(run, split, evaluated)
    missed = [f"ISIC_{n:07d}" for n in range(86, 100)]
    after = gate(run, *later_without(run, split, evaluated, missed))
    assert before.decision == after.decision == "insufficient evidence"
    assert [each.image_id for each in after.departed] == missed
    assert after.earlier_evaluations == 1  # the look is counted
    assert all(name in after.warnings[0] for name in missed[:10])
    kept = next(rule for rule in after.rules if rule.name == "judged lesions stay")
    assert all(name in kept.reason for name in missed)
    sensitivity = next(rule for rule in after.rules if rule.name == "melanoma sensitivity")
    assert (sensitivity.successes, sensitivity.n) == (86, 100)
    assert "each image that left as a miss" in sensitivity.reason


def test_what_others_were_judged_on_later_is_no_matter_of_this_model(tmp_path: Path) -> None:
    """A gate that is run again, or tried again, gives the verdict of the model's own turn."""
    run, split, evaluated = made(tmp_path)
    test = judged_part(run, split)
    own = enter_look(run, test, evaluated.model.sha256, threshold=THRESHOLD)
    then = evaluated.model_copy(update={"ledger": own.head})
    before = gate(run, split, then)
    grown = pd.concat([test, test.iloc[:1].assign(image_id="NEW", pixel_hash="9" * 64)])
    look(run, grown, "a" * 64)
    after = gate(run, split, then)
    assert after.departed == ()
    assert after.content_hash == before.content_hash
    assert gate(run, split, evaluated).departed  # without its own head it would be one


def test_lesions_of_which_nothing_left_are_judged_once(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    look(run, judged_part(run, split), evaluated.model.sha256)
    said = gate(run, split, evaluated)
    assert (said.departed, said.superseded) == ((), ())
    assert not any("as it was judged before" in rule.reason for rule in said.rules)


def test_a_superseded_label_is_judged_both_ways_and_the_worse_counts(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    told = read_parquet(run, evaluated.predictions)
    for number in range(86, 100):  # every miss is declared a nevus
        supersede(run, f"ISIC_{number:07d}", "nevus", "Dr. Example", "second histology")
        told.loc[number, "label"] = "nevus"
    parts = read_parquet(run, split.parts)
    labels = told.set_index("image_id")["label"]
    parts["label"] = parts["image_id"].map(labels).fillna(parts["label"])
    later = evaluated.model_copy(
        update={
            "test_part": hash_of_test_part(parts[parts["side"] == "test"]),
            "predictions": run.keep("told.parquet", to_parquet(told)),
        }
    )
    parts_kept = run.keep("later.parquet", to_parquet(parts))
    said = gate(run, split.model_copy(update={"parts": parts_kept}), later)
    assert said.decision == "insufficient evidence"
    assert len(said.superseded) == 14
    assert said.superseded[0].by == "Dr. Example"
    assert "Dr. Example" in " ".join(said.warnings)


def test_two_lesions_that_a_table_joins_later_are_judged_apart_too(tmp_path: Path) -> None:
    """Else a missed melanoma could hide in the mean with one that is found."""
    run, split, evaluated = made(tmp_path, found=86)
    look(run, judged_part(run, split), evaluated.model.sha256)
    told = read_parquet(run, evaluated.predictions)
    for number in range(86, 100):
        told.loc[number, "lesion"] = f"L{number - 86}"
        told.loc[number, ["melanoma", "nevus"]] = [0.45, 0.55]
        told.loc[number - 86, ["melanoma", "nevus"]] = [0.99, 0.01]
    later = evaluated.model_copy(update={"predictions": run.keep("told.parquet", to_parquet(told))})
    sensitivity = next(
        rule for rule in gate(run, split, later).rules if rule.name == "melanoma sensitivity"
    )
    assert (sensitivity.successes, sensitivity.n) == (86, 100)


def test_a_label_is_superseded_by_name_and_for_a_reason_only(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    look(run, judged_part(run, split), evaluated.model.sha256)
    for by, reason in (("", "histology"), ("Dr. Example", " ")):
        with pytest.raises(BadInput, match="a name and a reason"):
            supersede(run, "ISIC_0000001", "nevus", by, reason)
    with pytest.raises(BadInput, match="not judged on yet"):
        supersede(run, "ISIC_9999999", "nevus", "Dr. Example", "histology")
    with pytest.raises(BadInput, match="melanoma already"):
        supersede(run, "ISIC_0000001", "melanoma", "Dr. Example", "histology")
    assert supersede(run, "ISIC_0000001", "nevus", "Dr. Example", "histology") == (
        *("L1", "melanoma", "nevus"),
    )


def test_a_verdict_stands_and_is_reused_only_while_the_ledger_stands(tmp_path: Path) -> None:
    run, split, evaluated = made(tmp_path)
    for name in ("test", "later", "last"):
        for step, record in (("split", split), ("evaluate", evaluated)):
            key = f"runs/{name}/{step}/record.json"
            run.store.replace(key, record.model_dump_json().encode())
    first = do(run, "gate")
    look(run, judged_part(run, split), "a" * 64)

    again = do(run, "gate")
    later = do(replace(run, name="later"), "gate")
    last = do(replace(run, name="last"), "gate")

    assert again == first
    assert (first.earlier_evaluations, later.earlier_evaluations) == (0, 1)
    assert later.provenance.reused_from is None
    assert last.provenance.reused_from == "later"


def test_a_world_that_changes_under_a_step_is_a_fault_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, split, evaluated = made(tmp_path)
    for step, record in (("split", split), ("evaluate", evaluated)):
        run.store.replace(run.key("record.json", step), record.model_dump_json().encode())
    states = iter(["then", "now"])
    monkeypatch.setattr("tasks.engine.ledger.outside_state", lambda run: next(states))
    with pytest.raises(Momentary, match="changed while the step ran"):
        do(run, "gate")
    assert run.record("gate") is None
