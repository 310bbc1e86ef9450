"""Recompute the figures, the comparison and cross-validation from the predictions."""

import pandas as pd

from tasks.evaluation.comparison import COLUMN, STANDING, compared, ranked
from tasks.evaluation.scoring import by_lesion, figures
from tasks.evaluation.shortcuts import probes_of
from tasks.lesions import MELANOMA
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.figures import Figures
from tasks.records.split import Split
from tasks.records.trained import Trained
from tasks.release.checks.flaw import check_same, config_of, first_difference, flaw, record_of
from tasks.release.evidence import Bundle
from tasks.splitting.looks import hash_of_test_part


def the_model_is_one_that_was_trained(bundle: Bundle) -> str:
    trained, evaluated = record_of(bundle, Trained), record_of(bundle, Evaluated)
    hashes = {recipe_now(each.recipe): each.model.sha256 for each in trained.recipes}
    if hashes.get(recipe_now(evaluated.recipe)) != evaluated.model.sha256:
        raise flaw(
            "the model that was judged is not the one that was trained",
            str(hashes.get(recipe_now(evaluated.recipe))),
            evaluated.model.sha256,
        )
    return f"the model that was judged, {evaluated.model.sha256[:12]}, is one that was trained"


def the_figures_follow_from_the_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    parts = bundle.table("split", record_of(bundle, Split).parts)
    predictions = bundle.table("evaluate", evaluated.predictions)
    test = parts[parts["side"] == "test"]
    found = hash_of_test_part(test)
    if found != evaluated.test_part:
        raise flaw("another test part was scored", evaluated.test_part, found)
    _check_images(
        "the predictions are not of the test part", predictions, test, ["image_id", "label"]
    )
    config = config_of(evaluated)
    again = figures(predictions, evaluated.classes, evaluated.threshold, config.prevalence)
    difference = _difference(bundle, evaluated, evaluated.figures, again)
    if difference:
        raise flaw("a figure does not follow from the predictions", *difference)
    lesions = by_lesion(predictions, evaluated.classes)
    low = lesions[(lesions["label"] == MELANOMA) & (lesions[MELANOMA] < evaluated.threshold)]
    check_same(
        "the missed melanomas are those below the threshold",
        {each.image_ids for each in evaluated.missed},
        set(low["image_ids"]),
    )
    return f"all figures follow from {len(predictions)} predictions, made anew"


def the_shortcut_probes_follow_from_the_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    again = probes_of(bundle.table("evaluate", evaluated.predictions), evaluated.threshold)
    difference = first_difference(evaluated.shortcuts, again)
    if difference:
        raise flaw("a shortcut probe does not follow from the predictions", *difference)
    if again is None:
        return "the model was not asked about changed images, and none is told of"
    return f"{len(again.probes)} shortcut probes follow from the predictions, made anew"


def _check_images(
    what: str, predictions: pd.DataFrame, images: pd.DataFrame, columns: list[str]
) -> None:
    """Check that each image has exactly one prediction. Raises `Corrupt`, with the text `what`."""
    ours, theirs = (
        sorted(map(tuple, each[columns].to_numpy(str))) for each in (predictions, images)
    )
    if ours != theirs:
        raise flaw(what, f"{len(theirs)} images", f"{len(ours)}")


def _difference(
    bundle: Bundle, evaluated: Evaluated, told: Figures, again: Figures
) -> tuple[str, str] | None:
    """The first figure that differs, as `first_difference`. Where images were erased, subgroups may
    differ, as what was known of these images, such as an age, is gone; but no more than that."""
    known = _as_known(again, told, evaluated)
    if not bundle.erased:
        return first_difference(told, known)
    found = first_difference(told, known.model_copy(update={"subgroups": told.subgroups}))
    if found is None:
        _check_subgroups(told, again, 2 * len(bundle.erased))
    return found


def _check_subgroups(told: Figures, again: Figures, most: int) -> None:
    """Check that at most this many lesions left or joined the subgroups of a trait. An erased image
    may leave one, and its lesion join another.

    Raises:
        Corrupt: There are more.
    """
    for trait in {each.trait for each in told.subgroups}:
        then, now = (
            {each.value: each for each in found.subgroups if each.trait == trait}
            for found in (told, again)
        )
        other = [name for name in then.keys() | now.keys() if then.get(name) != now.get(name)]
        sizes = [{n: each.lesions for n, each in found.items()} for found in (then, now)]
        moved = sum(abs(sizes[0].get(name, 0) - sizes[1].get(name, 0)) for name in other)
        if (trait == "source" and other) or max(len(other), moved) > most:
            raise flaw(
                f"the subgroups by {trait} differ by more than was erased",
                f"at most {most} lesions",
                f"{moved} lesions, in {len(other)} subgroups",
            )


FIRST_WITH_MIXED = 4  # format of `Evaluated`


def _as_known(again: Figures, told: Figures, evaluated: Evaluated) -> Figures:
    """Recomputed figures, without the fields that the older version of `told` did not keep."""
    came = evaluated.provenance
    missing = {"called": None} if told.called is None else {}
    if told.mixed is None and came and came.format < FIRST_WITH_MIXED:
        missing["mixed"] = None
    return again.model_copy(update=missing)


def _check_belongs(what: str, answered: bool, told: bool) -> None:
    """Check that another model is compared with if, and only if, its answers are there."""
    if answered != told:
        raise flaw(
            f"the predictions and the {what} do not belong together",
            "a comparison, for the other model answered"
            if answered
            else "no comparison, for no other model answered",
            "none" if answered else "one",
        )


def the_comparison_follows_from_the_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    predictions = bundle.table("evaluate", evaluated.predictions)
    comparison = evaluated.champion.comparison if evaluated.champion else None
    _check_belongs("comparison with the champion", COLUMN in predictions, comparison is not None)
    if comparison is None:
        _same_said_of_the_champion(evaluated, {})
        return "no champion answered, and none is compared with"
    lesions = by_lesion(predictions, (*evaluated.classes, COLUMN))
    again = compared(lesions, evaluated.threshold, comparison.threshold)
    difference = first_difference(comparison, again)
    if difference:
        raise flaw(
            "the comparison with the champion does not follow from the predictions", *difference
        )
    misses = lesions[COLUMN] < comparison.threshold
    _same_said_of_the_champion(
        evaluated, dict(zip(lesions["image_ids"], misses.map(bool), strict=True))
    )
    return (
        f"the comparison with the champion follows from the predictions, made anew: "
        f"{len(again.lost)} of {again.sensitivity.n} melanomas are found by it alone"
    )


def the_ranking_follows_from_the_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    predictions = bundle.table("evaluate", evaluated.predictions)
    ranking = evaluated.standing.ranking if evaluated.standing else None
    what = "ranking beside the standing challenger"
    _check_belongs(what, STANDING in predictions, ranking is not None)
    if ranking is None:
        return "no other challenger waited, or none answered, and none is ranked beside"
    lesions = by_lesion(predictions, (*evaluated.classes, STANDING))
    difference = first_difference(ranking, ranked(lesions, evaluated.threshold, ranking.threshold))
    if difference:
        raise flaw(
            "the ranking beside the standing challenger does not follow from the predictions",
            *difference,
        )
    return "the ranking beside the standing challenger follows from the predictions, made anew"


def _same_said_of_the_champion(evaluated: Evaluated, misses: dict[tuple[str, ...], bool]) -> None:
    """Check, for each missed melanoma, whether the champion misses the melanoma too."""
    for each in evaluated.missed:
        again = misses.get(each.image_ids)
        if each.by_champion is not again:
            raise flaw(
                f"whether the champion misses {each.image_ids[0]} too is told otherwise",
                f"by_champion {again}",
                f"by_champion {each.by_champion}",
            )


def the_cross_estimate_follows_from_its_predictions(bundle: Bundle) -> str:
    evaluated = record_of(bundle, Evaluated)
    config = config_of(evaluated)
    cross = evaluated.cross
    if (cross is not None) != (config.evaluation == "cross"):
        raise flaw("cross-validation is not as configured", config.evaluation, str(bool(cross)))
    if cross is None:
        return "no cross-validation was asked for, and none is told of"
    if not cross.folds == len(cross.thresholds) == config.folds:
        raise flaw(
            "cross-validation was not in as many folds as configured",
            f"{config.folds} folds",
            f"{cross.folds} folds, {len(cross.thresholds)} thresholds",
        )
    parts = bundle.table("split", record_of(bundle, Split).parts)
    predictions = bundle.table("evaluate", cross.predictions)
    _check_images(
        "cross-validation did not judge each image once",
        predictions,
        parts,
        ["image_id", "label", "group"],
    )
    torn = predictions.groupby("group")["fold"].nunique()
    if (torn > 1).any():
        raise flaw("a group stands in several folds", "none does", str(torn[torn > 1].index[0]))
    bars = tuple((n + 1, bar) for n, bar in enumerate(cross.thresholds))
    found = tuple(sorted(set(zip(predictions["fold"], predictions["threshold"], strict=True))))
    again = figures(predictions, evaluated.classes, None, config.prevalence)
    difference = first_difference(bars, found) or _difference(
        bundle, evaluated, cross.figures, again
    )
    if difference:
        raise flaw("cross-validation does not follow from its predictions", *difference)
    return f"cross-validation follows from {len(predictions)} predictions, each image judged once"
