"""Recompute the figures on external sets, and check that nothing was learned from these sets."""

import pandas as pd

from tasks.evaluation.comparison import COLUMN, STANDING
from tasks.evaluation.elsewhere import beside, drops, with_labels
from tasks.evaluation.rules import NAMES_SETS
from tasks.evaluation.scoring import figures
from tasks.records.evaluated import Evaluated, External
from tasks.records.ingested import Ingested
from tasks.records.split import Split
from tasks.records.validated import ExternalKept, Validated
from tasks.release.checks.flaw import check_same, config_of, first_difference, flaw, record_of
from tasks.release.evidence import Bundle
from tasks.splitting.looks import hash_of_test_part
from tasks.splitting.recognized import LIKENESS
from tasks.validation.apart import linked

LINKS = ("image_id", "pixel_hash", "lesion_id", "patient_id")
SAME = ("key", "image_id", "pixel_hash", "label", "folder")  # of a kept row, as ingest wrote it


def external_sets_share_nothing_with_what_was_learned_from(bundle: Bundle) -> str:
    validated, split = record_of(bundle, Validated), record_of(bundle, Split)
    delivered = {each.name: each for each in record_of(bundle, Ingested).external}
    kept_of = {each.name: each for each in validated.external}
    check_same("each external set is looked at", set(kept_of), set(delivered))
    if not delivered:
        return "there is no external set"
    parts = bundle.table("split", split.parts)
    for name, each in kept_of.items():
        kept = bundle.rows("validate", each.kept)
        _accounted_for(bundle, each, kept, bundle.rows("ingest", delivered[name].manifest))
        both = pd.concat([parts, kept], ignore_index=True)
        both = both.assign(**linked(both))
        for link in LINKS:
            cells = both[link]
            shared = set(cells[: len(parts)].dropna()) & set(cells[len(parts) :].dropna())
            if shared:
                raise flaw(
                    f"the external set {each.name} shares images with the split",
                    f"no {link} of both",
                    min(map(str, shared)),
                )
    names = ", ".join(each.name for each in validated.external)
    return f"no image of the external sets ({names}) shares anything with an image of the split"


def _accounted_for(
    bundle: Bundle, told: ExternalKept, kept: pd.DataFrame, delivered: pd.DataFrame
) -> None:
    """Check that each image of a set counts as it was delivered, or is named with a reason."""
    left = bundle.table("validate", told.left)
    gone = bundle.erased
    here = [*kept["key"], *left["key"]]
    check_same(f"each image of {told.name} is accounted for", set(here), set(delivered["key"]))
    if len(here) != len(delivered) or (left["reason"] == "").any():
        raise flaw(f"images of {told.name} stand twice, or without a reason", "each once", "more")
    columns = list(SAME)
    ours, theirs = (
        set(map(tuple, rows.loc[~rows["image_id"].isin(list(gone)), columns].fillna("").to_numpy()))
        for rows in (kept, delivered)
    )
    if not ours <= theirs:
        other = str(min(ours - theirs))
        raise flaw(f"an image of {told.name} is not as delivered", "its row", other)


def the_external_figures_follow_from_the_predictions(bundle: Bundle) -> str:
    evaluated, validated = record_of(bundle, Evaluated), record_of(bundle, Validated)
    kept = {each.name: each for each in validated.external}
    told = {each.name: each for each in evaluated.external}
    check_same("each external set is judged", set(told), set(kept))
    if not told:
        return "no model was judged on an external set"
    for name, each in told.items():
        _check(bundle, evaluated, each, kept[name])
    count = sum(each.figures.images if each.figures else 0 for each in told.values())
    return f"the figures on external sets follow from {count} predictions, made anew"


def _check(bundle: Bundle, evaluated: Evaluated, told: External, kept: ExternalKept) -> None:
    own, coarse = evaluated.figures, config_of(evaluated).coarse_codes
    delivered = bundle.rows("validate", kept.kept)
    rows, left = with_labels(delivered, coarse, evaluated.classes)
    for why, count in kept.reasons.items():
        left[why] = left.get(why, 0) + count
    gone = bundle.erased & set(delivered["image_id"])
    if not gone:
        _same_images(told, hash_of_test_part(rows))
        if (told.left, told.without_image) != (left, kept.without_image):
            what = f"what does not count of {told.name} is told otherwise"
            raise flaw(what, str(left), str(told.left))
    if told.predictions is None:
        if len(rows) or told.figures:
            raise flaw(f"{told.name} was not judged", f"{len(rows)} predictions", "none")
        return
    predictions = bundle.table("evaluate", told.predictions)
    _same_images(told, hash_of_test_part(predictions))
    if evaluated.written_in >= NAMES_SETS:
        _alike(told, delivered, predictions, gone)
    if gone:  # of these, what tables said is gone too
        _others_are_as_delivered(told, rows, predictions, gone)
    others = {COLUMN: told.champion, STANDING: told.standing}
    for column, other in others.items():
        if (column in predictions) != (other is not None):
            raise flaw(
                f"the predictions on {told.name} and the comparison do not belong together",
                f"a comparison if, and only if, there is a column {column}",
                "one without the other",
            )
    bars = {column: other.threshold for column, other in others.items() if other}
    made = figures(predictions, own.classes, own.threshold, {})
    if gone and told.figures:  # an erased image has no age or site any more
        made = made.model_copy(update={"subgroups": told.figures.subgroups})
    again = (made, *drops(own, made), *beside(predictions, own, bars))
    said = (told.figures, told.sensitivity_drop, told.auc_drop, told.champion, told.standing)
    if difference := first_difference(said, again):
        raise flaw(f"a figure on {told.name} does not follow from its predictions", *difference)


def _alike(
    told: External, rows: pd.DataFrame, predictions: pd.DataFrame, gone: frozenset[str]
) -> None:
    """Check the hashes by which pictures are recognized that models were judged on before."""
    hashes = dict(zip(rows["image_id"], rows["perceptual_hash"].fillna(""), strict=True))
    here = zip(predictions["image_id"], predictions[LIKENESS].fillna(""), strict=True)
    for name, found in here:
        if name not in gone and hashes.get(name) != found:
            raise flaw(
                f"{name} of {told.name} is told to look otherwise",
                f"the perceptual hash {hashes.get(name)}",
                str(found),
            )


def _others_are_as_delivered(
    told: External, rows: pd.DataFrame, predictions: pd.DataFrame, gone: frozenset[str]
) -> None:
    """Check that each image that was not erased was judged under its label, and no other image.

    A lesion may have lost what another image of it said, so its label may be coarser now.
    """
    lesions = set(predictions.loc[predictions["image_id"].isin(list(gone)), "lesion"])
    kept = predictions[~predictions["image_id"].isin(list(gone))]
    here = rows.set_index("image_id")["label"]
    for name, label, lesion in zip(kept["image_id"], kept["label"], kept["lesion"], strict=True):
        if here.get(name) != label and lesion not in lesions:
            raise flaw(
                f"{name} of {told.name} was judged under another label",
                str(here.get(name)),
                str(label),
            )


def _same_images(told: External, found: str) -> None:
    if told.set_sha256 != found:
        raise flaw(
            f"other images or labels of {told.name} were judged",
            f"SHA-256 {found} over images and labels",
            told.set_sha256,
        )
