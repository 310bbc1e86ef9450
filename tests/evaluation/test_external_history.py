"""Nobody gains by changing an external set after a look: what was judged is known again."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.config import Retraining
from tasks.engine.judged import as_lists, judged_of
from tasks.engine.ledger import Chain, next_entry
from tasks.evaluation.cases import cases_of
from tasks.evaluation.decision import judge, warnings_of
from tasks.evaluation.external_history import Before, before_of
from tasks.evaluation.rules import Case
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA
from tasks.records.evaluated import Comparison, Evaluated, External
from tasks.records.figures import Figures
from tasks.records.verdict import Rule
from tasks.splitting.earlier_looks import looks_before
from tasks.splitting.looks import hash_of_test_part
from tasks.splitting.recognized import LIKENESS
from tests.support.judged import MELANOMA_POLICY, THRESHOLD, champion_of, evaluated_of, predictions

CLASSES: Any = ("melanoma", "nevus")
OWN = predictions(96, 100, 280, 300)


def external(name: str = "b", found: int = 45) -> pd.DataFrame:
    """Predictions on a set of 50 melanomas and 100 others; of each picture a hash of its own."""
    made = predictions(found, 50, 90, 100)
    made["image_id"] = [f"{name.upper()}_{n:07d}" for n in range(len(made))]
    made["lesion"] = made["group"] = made["image_id"]
    random = np.random.default_rng(7)  # of the picture, not of its name
    made[LIKENESS] = [random.bytes(8).hex() for _ in range(len(made))]
    made["pixel_hash"] = [f"{n:04d}{name}".ljust(64, "0") for n in range(len(made))]
    return made


def anew(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The same pictures, coded and named anew: other pixels, and two bits of each hash differ."""
    ids = [f"{name.upper()}_{n:07d}" for n in range(len(rows))]
    return rows.assign(
        image_id=ids,
        lesion=ids,
        group=ids,
        pixel_hash=[f"{n:04d}{name}x".ljust(64, "0") for n in range(len(rows))],
        **{LIKENESS: [f"{int(each, 16) ^ 0b1001:016x}" for each in rows[LIKENESS]]},
    )


def looked(chain: Chain, rows: pd.DataFrame, name: str, model: str, **without: str) -> Chain:
    """The chain with the look of a model at a set."""
    images = judged_of(
        rows.assign(lesion_id=rows["lesion"], perceptual_hash=rows[LIKENESS], **without),
        by_likeness=True,
    )
    said: dict[str, Any] = {
        "model_sha256": model * 64,
        "test_part": hash_of_test_part(rows),
        "threshold": repr(THRESHOLD),
        "mode": "hashed",
        "by": "external",
        "images": as_lists(images),
        "set": name,
    }
    return Chain((*chain.entries, next_entry(chain, "evaluation", "run", said)))


@cache
def own() -> Figures:
    return figures(OWN, CLASSES, THRESHOLD, {})


def judged_on(sets: dict[str, pd.DataFrame]) -> Evaluated:
    there = tuple(
        External(
            name=name,
            set_sha256=hash_of_test_part(rows),
            left={},
            without_image=0,
            figures=None,
            sensitivity_drop=own().auc,
            auc_drop=own().auc,
            predictions=None,
            champion=None,
            standing=None,
        )
        for name, rows in sets.items()
    )
    return evaluated_of(own(), external=there)


def before(sets: dict[str, pd.DataFrame], chain: Chain) -> dict[str, Before]:
    return before_of(judged_on(sets), sets, chain)


def found_of(rows: pd.DataFrame | None) -> tuple[int, int]:
    """Melanoma lesions that were found, and all melanoma lesions."""
    assert rows is not None
    lesions = by_lesion(rows, CLASSES)
    scores = lesions.loc[lesions["label"] == MELANOMA, MELANOMA]
    return int((scores >= THRESHOLD).sum()), len(scores)


def earlier(rows: pd.DataFrame, name: str, chain: Chain) -> int:
    return looks_before(chain, rows, ("0" * 64, hash_of_test_part(rows)[:16], "0.5"), name)


def cases(sets: dict[str, pd.DataFrame], chain: Chain) -> tuple[Case, ...]:
    """What the gate judges of the model 0, after its own look at each set."""
    for name, rows in sets.items():
        chain = looked(chain, rows, name, "0")
    test = OWN.assign(pixel_hash=OWN["image_id"], side="test", lesion_id=OWN["lesion"])
    config = Retraining.model_validate({})
    return cases_of(MELANOMA_POLICY, config, judged_on(sets), OWN, test, chain, sets)


def rules(found: tuple[Case, ...]) -> dict[str, Rule]:
    return {rule.name: rule for rule in judge(MELANOMA_POLICY, *found)}


# Looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_a_set_that_is_coded_and_named_anew_is_no_new_set(half: bool) -> None:
    first = external()
    chain = looked(looked(Chain(), first, "b", "1"), first, "b", "2")
    again = anew(first, "c").iloc[::2].reset_index(drop=True) if half else anew(first, "c")
    assert earlier(again, "c", chain) == 2


def test_other_pictures_are_a_new_set() -> None:
    chain = looked(Chain(), external(), "b", "1")
    random = np.random.default_rng(8)
    others = anew(external(), "c").assign(**{LIKENESS: [random.bytes(8).hex() for _ in range(150)]})
    assert earlier(others, "c", chain) == 0
    assert before({"c": others}, chain)["c"].relabelled == ()


@pytest.mark.parametrize(("name", "looks"), [("B_{:07d}", 1), ("b-{}", 1), ("IMG_{:04d}", 0)])
def test_an_id_tells_in_any_spelling_but_not_one_that_cameras_write(name: str, looks: int) -> None:
    """Of a look that kept no hash of the picture."""
    rows = external()
    rows["image_id"] = [f"B_{n:07d}" if looks else name.format(n) for n in range(150)]
    chain = looked(Chain(), rows.assign(**{LIKENESS: None}), "b", "1")
    assert len(chain.entries[0].content["images"][0]) == 6
    ids = [name.format(n) for n in range(150)]
    coded = anew(rows, "c").assign(image_id=ids, **{LIKENESS: None})
    assert earlier(coded, "c", chain) == looks
    assert earlier(coded, "b", chain) == 1


# Labels -------------------------------------------------------------------------------------------


def missed_become_nevi(rows: pd.DataFrame) -> pd.DataFrame:
    missed = (rows["label"] == MELANOMA) & (rows[MELANOMA] < THRESHOLD)
    return rows.assign(label=rows["label"].mask(missed, "nevus"))


@pytest.mark.parametrize("renamed", [False, True])
def test_a_missed_melanoma_that_becomes_a_nevus_is_still_missed(renamed: bool) -> None:
    first = external(found=35)
    chain = looked(Chain(), first, "b", "1")
    name = "c" if renamed else "b"
    flipped = missed_become_nevi(anew(first, name) if renamed else first)
    found = cases({name: flipped}, chain)
    here, then = found[0].external[0], found[1].external[0]
    assert (here.sensitivity.successes, here.sensitivity.n) == (35, 35)
    assert (then.sensitivity.successes, then.sensitivity.n) == (35, 50)
    assert [(each.judged_as, each.label) for each in here.relabelled] == [
        ("melanoma", "nevus")
    ] * 15
    said = rules(found)
    assert said[f"melanoma sensitivity on {name}"].decision != "pass"
    assert f"{flipped['image_id'][35]} of {name} (melanoma, now nevus)" in (
        said["labels of external sets stay"].reason
    )
    (warning,) = [
        each for each in warnings_of(MELANOMA_POLICY, found[0]) if "changed label" in each
    ]
    assert "15 images" in warning


def test_it_is_still_missed_when_the_next_model_is_judged_under_the_new_labels() -> None:
    first = external(found=35)
    flipped = missed_become_nevi(anew(first, "c"))
    chain = looked(looked(Chain(), first, "b", "1"), flipped, "c", "2")
    assert found_of(before({"c": flipped}, chain)["c"].as_judged) == (35, 50)


def test_unchanged_labels_are_judged_once() -> None:
    first = external()
    found = cases({"b": first}, looked(Chain(), first, "b", "1"))
    assert (len(found), found[0].relabelled) == (1, ())
    assert "labels of external sets stay" not in rules(found)


def test_a_correction_that_makes_a_model_worse_counts_too() -> None:
    now = external(found=35)
    then = missed_become_nevi(now)
    found = before({"b": now}, looked(Chain(), then, "b", "1"))["b"]
    assert (found_of(found.rows), found_of(found.as_judged)) == ((35, 50), (35, 35))


def test_a_missed_melanoma_that_joins_a_found_lesion_is_still_missed() -> None:
    first = external(found=35)
    first.loc[[1, 2], "lesion"] = first["lesion"][0]
    joined = first.assign(lesion=first["lesion"].where(first.index != 40, first["lesion"][0]))
    found = before({"b": joined}, looked(Chain(), first, "b", "1"))["b"]
    assert (found_of(found.rows), found_of(found.as_judged)) == ((33, 47), (33, 48))
    assert {each.image_id for each in found.relabelled if each.moved} == {
        *first["image_id"][:3], first["image_id"][40],
    }  # fmt: skip


# What left ----------------------------------------------------------------------------------------


def without_missed(rows: pd.DataFrame) -> pd.DataFrame:
    missed = (rows["label"] == MELANOMA) & (rows[MELANOMA] < THRESHOLD)
    return rows[~missed].reset_index(drop=True)


def with_other_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """Under the ids of the missed melanomas lie other pictures, which the model finds."""
    missed = (rows["label"] == MELANOMA) & (rows[MELANOMA] < THRESHOLD)
    far = [f"{int(each, 16) ^ (2**64 - 1):016x}" for each in rows[LIKENESS]]
    return rows.assign(
        melanoma=rows[MELANOMA].mask(missed, 0.9),
        pixel_hash=rows["pixel_hash"].mask(missed, "z" + rows["pixel_hash"]),
        **{LIKENESS: rows[LIKENESS].mask(missed, pd.Series(far))},
    )


@pytest.mark.parametrize(
    ("change", "name"),
    [(without_missed, "b"), (without_missed, "c"), (with_other_pictures, "b")],
)
def test_what_a_model_missed_cannot_be_taken_away(
    change: Callable[[pd.DataFrame], pd.DataFrame], name: str
) -> None:
    """Neither from the set, nor with the set, nor by another picture in its place."""
    first = external(found=35)
    chain = looked(Chain(), first, "b", "1")
    later = change(first)
    there = before({name: anew(later, "c") if name == "c" else later}, chain)[name]
    found, melanomas = found_of(there.rows)
    assert melanomas - found == 15
    assert len(there.departed) == 15


def test_a_set_that_is_gone_does_not_spoil_another_one() -> None:
    chain = looked(Chain(), external(found=35), "b", "1")
    random = np.random.default_rng(8)
    others = anew(external(), "c").assign(**{LIKENESS: [random.bytes(8).hex() for _ in range(150)]})
    there = before({"c": others}, chain)["c"]
    assert (there.departed, found_of(there.rows)) == ((), (45, 50))


def test_a_champion_has_the_benefit_of_the_doubt_about_what_is_gone() -> None:
    first = external(found=35).assign(champion_melanoma=0.9)
    chain = looked(Chain(), first, "b", "1")
    rows = without_missed(first)
    found = before({"b": rows}, chain)["b"].rows
    assert found is not None
    assert found["champion_melanoma"].min() == 0.9


# The champion -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("learned", "told"), [(3, "learned from 3 images"), (None, "not known"), (0, None)]
)
def test_what_the_champion_learned_from_of_a_set_is_told(
    learned: int | None, told: str | None
) -> None:
    compared = champion_of(2, 2).comparison
    assert isinstance(compared, Comparison)
    (each,) = judged_on({"b": external()}).external
    beside = each.model_copy(update={"champion": compared, "champion_learned_from": learned})
    evaluated = evaluated_of(own(), external=(beside,))
    case = Case(evaluated, leaks=0, same_test_part=True, earlier_evaluations=0, synthetic=False)
    said = [each for each in warnings_of(MELANOMA_POLICY, case) if "external set b" in each]
    assert len(said) == (told is not None)
    assert told is None or told in said[0]
