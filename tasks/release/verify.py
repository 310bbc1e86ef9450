"""verify: whether the evidence of a run holds, told by nothing but the evidence.

Checks in this order, and stops at the first that does not hold: no file was changed, added or
taken away; the records follow from each other; the split lets no group straddle; copies are of
training images; the figures follow from the predictions, and so do the comparison with the champion
and what cross-validation found; the verdict follows from the figures and the policy. Needs neither
Airflow nor MLflow, nor any network for a bundle in a directory.

What it cannot see: whether the predictions are those of the models (the images are not in the
bundle), whether the threshold is that of the validation part (whose predictions are not in it
either), what the champion's threshold is and what it learned from (the registry and the champion's
own run tell), and whether somebody who made up a whole run has sealed it. Against the latter stands
the manifest's hash in the registry: `expected`.
"""

import json
import math
import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel

from tasks.config import Retraining
from tasks.engine.environment import plain
from tasks.engine.ledger import RECORDING
from tasks.engine.run import sha256
from tasks.errors import Corrupt
from tasks.evaluation.cases import cases_of
from tasks.evaluation.comparison import COLUMN, compared
from tasks.evaluation.decision import decide, judge, reason_of, told, warnings_of
from tasks.evaluation.policy import Policy, parse_policy
from tasks.evaluation.rules import Case
from tasks.evaluation.scoring import by_lesion, figures
from tasks.lesions import MELANOMA, source_from
from tasks.records.contracts import (
    Evaluated,
    Figures,
    Frozen,
    Ingested,
    Oversampled,
    Record,
    Rule,
    Split,
    Trained,
    Validated,
    Verdict,
)
from tasks.release.card import card_as_html, card_version, model_card
from tasks.release.evidence import FIRST, FORMAT, MANIFEST, STEPS, Bundle, places
from tasks.splitting.groups import LINKS, straddling
from tasks.splitting.looks import hash_of_test_part, settled_of
from tasks.splitting.sides import SIDES, flaw_in, register_of

# Of figures made again: another processor may add in another order.
TOLERANCE = 1e-6

# What tables, records and files that somebody made up raise. A forger need not be tidy.
UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(OSError, RecursionError),  # pyarrow's, of a broken table; JSON that is nested too deeply
)

R = TypeVar("R", bound=Record)


class Verified(Frozen):
    """A bundle that holds.

    Attributes:
        held: What was checked, in words, in the order of the checks.
    """

    evidence: str
    manifest_sha256: str
    run: str
    decision: str
    model_sha256: str
    held: tuple[str, ...]


def verify(uri: str, expected: str | None = None) -> Verified:
    """Check a bundle.

    Args:
        uri: Of the folder with the manifest: a directory, or ``s3://bucket/prefix``.
        expected: SHA-256 of the manifest, from the registry, if it is known.

    Raises:
        Corrupt: Something does not hold; the message names the first thing that does not.
        BadInput: There is no bundle.
    """
    bundle = Bundle(uri)
    held = []
    for check in CHECKS:
        try:
            said = check(bundle, expected) if check is _the_manifest_is_sealed else check(bundle)
        except UNREADABLE as error:
            raise _flaw(
                f"{check.__name__.strip('_').replace('_', ' ')}: it cannot be read",
                "tables and records as this version of the pipeline writes them",
                f"{type(error).__name__}: {error}"[:300],
            ) from error
        held.append(said)
    evaluated, verdict = _record(bundle, Evaluated), _record(bundle, Verdict)
    return Verified(
        evidence=bundle.uri,
        manifest_sha256=sha256(bundle.manifest_data),
        run=bundle.manifest.run,
        decision=verdict.decision,
        model_sha256=evaluated.model.sha256,
        held=tuple(held),
    )


def _flaw(what: str, expected: str, received: str) -> Corrupt:
    return Corrupt(
        f"The evidence does not hold: {what}.",
        expected=expected,
        received=received,
        do="do not rely on this bundle or promote its model; find out who changed it",
    )


def _record(bundle: Bundle, of: type[R]) -> R:
    record = bundle.record(next(step.name for step in STEPS if step.gives is of))
    assert isinstance(record, of)
    return record


# The bundle as files ----------------------------------------------------------------------------


def _the_manifest_is_sealed(bundle: Bundle, expected: str | None = None) -> str:
    manifest = bundle.manifest
    if manifest.format not in (FIRST, FORMAT):
        raise _flaw("its format is not known", FORMAT, manifest.format[:100])
    if manifest.data != bundle.manifest_data or manifest.sealed() != manifest:
        raise _flaw(f"{MANIFEST} was changed", "the seal over its own content", manifest.seal)
    if expected and sha256(bundle.manifest_data) != expected:
        raise _flaw(
            "it is not the bundle that was registered", expected, sha256(bundle.manifest_data)
        )
    return "the manifest is as it was sealed"


def _every_file_is_there_unchanged(bundle: Bundle) -> str:
    named = set(bundle.manifest.files)
    there = bundle.paths() - {MANIFEST}
    for path in sorted(named - there):
        raise _flaw(f"{path} is missing", f"{len(named)} files", f"{len(there)} files")
    for path in sorted(there - named):
        raise _flaw(f"{path} was added", f"{len(named)} files", f"{len(there)} files")
    for path in sorted(named):
        bundle.read(path)
    return f"{len(named)} files are there, none was changed or added"


# The records ------------------------------------------------------------------------------------


def _the_records_follow_from_each_other(bundle: Bundle) -> str:
    records = {step.name: bundle.record(step.name) for step in STEPS}
    for step in STEPS:
        came = records[step.name].provenance
        if came is None or (came.step, came.run) != (step.name, bundle.manifest.run):
            raise _flaw(
                f"the record of {step.name} is not one of this run",
                f"{step.name} of {bundle.manifest.run}",
                f"{came.step} of {came.run}" if came else "no provenance",
            )
        for need in step.needs:
            if came.inputs.get(need) != records[need].content_hash:
                raise _flaw(
                    f"{step.name} was not made from this record of {need}",
                    str(came.inputs.get(need)),
                    records[need].content_hash,
                )
    return f"the {len(records)} records follow from each other"


def _the_records_vouch_for_the_files(bundle: Bundle) -> str:
    vouched = 0
    for step in STEPS:
        for path, artifact in places(step.name, bundle.record(step.name)).items():
            file = bundle.manifest.files.get(path)
            if file is None or file.sha256 != artifact.sha256:
                raise _flaw(
                    f"{path} is not what the record of {step.name} vouches for",
                    artifact.sha256,
                    file.sha256 if file else "no such file",
                )
            vouched += 1
    return f"the records vouch for {vouched} of the files"


def _the_ledger_is_one_chain(bundle: Bundle) -> str:
    if bundle.manifest.format == FIRST:
        return "there is no ledger in a bundle of the first format"
    chain = bundle.ledger()
    named = {step: getattr(bundle.record(step), "ledger", None) for step in RECORDING}
    for step, head in named.items():
        if head is None or not chain.holds(head):
            raise _flaw(
                f"the ledger does not hold what {step} recorded",
                f"entry {head.number}, {head.sha256}" if head else "the head of a ledger",
                f"{len(chain.entries)} entries",
            )
    if chain.head != named["gate"]:
        raise _flaw("the ledger goes on after the verdict", str(named["gate"]), str(chain.head))
    return f"the ledger is one chain of {len(chain.entries)} entries, and ends at the verdict"


# The data ---------------------------------------------------------------------------------------


def _every_file_delivered_is_accounted_for(bundle: Bundle) -> str:
    validated, split = _record(bundle, Validated), _record(bundle, Split)
    manifest = set(bundle.table("ingest", _record(bundle, Ingested).manifest)["key"])
    accepted = set(bundle.table("validate", validated.accepted)["key"])
    quarantine = set(bundle.table("validate", validated.quarantine)["key"])
    parts = set(bundle.table("split", split.parts)["key"])
    left = set(bundle.table("split", split.left_out)["key"])
    _same("the manifest's files are accepted or quarantined", accepted | quarantine, manifest)
    _same("no file is accepted and quarantined", accepted & quarantine, set())
    _same("accepted files are in a part or left out", parts | left, accepted)
    _same("no file is in a part and left out", parts & left, set())
    return (
        f"all {len(manifest)} files delivered are accounted for: {len(parts)} in a part, "
        f"{len(quarantine)} quarantined, {len(left)} left out"
    )


def _same(what: str, found: set[Any], expected: set[Any]) -> None:
    for key in sorted(found ^ expected):
        raise _flaw(f"it is not so that {what}", f"{len(expected)} files", f"see {key}")


def _no_group_straddles(bundle: Bundle) -> str:
    split = _record(bundle, Split)
    parts = bundle.table("split", split.parts)
    proof = bundle.table("split", split.proof)
    torn = straddling(parts)
    if torn:
        raise _flaw("a group stands on several sides", "none does", ", ".join(torn[:3]))
    for link in LINKS:
        sides = parts.groupby(link)["side"].nunique() if link in parts else pd.Series(dtype=int)
        for value in sides[sides > 1].index:
            raise _flaw(f"two sides share a {link}", "they share none", str(value))
    config = split.provenance.config if split.provenance else None
    assert config  # checked with the records
    hashed = config.test_part == "hashed"
    register, judged = _known_of_images(bundle, split, config)
    shares = (config.test_share, config.validation_share) if hashed else None
    flaw = flaw_in(proof, shares, register, judged)
    if flaw:
        raise _flaw(f"the split proof is wrong, {flaw}", "what the hash decides", "proof.csv")
    theirs = proof.set_index("key")[["group", "side"]].sort_index().to_numpy(str)
    if (parts.set_index("key")[["group", "side"]].sort_index().to_numpy(str) != theirs).any():
        raise _flaw("the split proof is of another split", "the rows of parts.parquet", "proof.csv")
    counts = {side: _counted(parts[parts["side"] == side]["label"]) for side in SIDES}
    if counts != {side: dict(split.counts[side]) for side in SIDES}:
        raise _flaw("the parts are not as counted", f"{split.counts}", f"{counts}")
    return f"{parts['group'].nunique()} groups, none on two sides of the split, found anew"


def _known_of_images(
    bundle: Bundle, split: Split, config: Retraining
) -> tuple[dict[str, str] | None, set[str]]:
    """What the ledger said of images when they were split; nothing in a bundle without one."""
    if bundle.manifest.format == FIRST:
        return None, set()
    chain = bundle.ledger().until(split.ledger)
    return register_of(chain), set(settled_of(chain, config.test_part).images)


def _counted(labels: pd.Series) -> dict[Any, int]:
    return {str(name): int(count) for name, count in labels.value_counts().items()}


def _copies_are_of_training_images(bundle: Bundle) -> str:
    parts = bundle.table("split", _record(bundle, Split).parts)
    copies = bundle.table("oversample", _record(bundle, Oversampled).copies)
    strays = set(copies["source_key"]) - set(parts.loc[parts["side"] == "train", "key"])
    for key in sorted(strays):
        raise _flaw("a copy was drawn from outside training", "training images only", key)
    return f"{len(copies)} oversampled copies, all of training images"


# Figures and verdict ----------------------------------------------------------------------------


def _the_model_is_one_that_was_trained(bundle: Bundle) -> str:
    trained, evaluated = _record(bundle, Trained), _record(bundle, Evaluated)
    hashes = {each.recipe: each.model.sha256 for each in trained.recipes}
    if hashes.get(evaluated.recipe) != evaluated.model.sha256:
        raise _flaw(
            "the model that was judged is not the one that was trained",
            str(hashes.get(evaluated.recipe)),
            evaluated.model.sha256,
        )
    return f"the model that was judged, {evaluated.model.sha256[:12]}, is one that was trained"


def _the_figures_follow_from_the_predictions(bundle: Bundle) -> str:
    evaluated = _record(bundle, Evaluated)
    parts = bundle.table("split", _record(bundle, Split).parts)
    predictions = bundle.table("evaluate", evaluated.predictions)
    test = parts[parts["side"] == "test"]
    found = hash_of_test_part(test)
    if found != evaluated.test_part:
        raise _flaw("another test part was scored", evaluated.test_part, found)
    columns = ["image_id", "label"]
    ours, theirs = (sorted(map(tuple, each[columns].to_numpy(str))) for each in (predictions, test))
    if ours != theirs:
        raise _flaw(
            "the predictions are not of the test part", f"{len(theirs)} images", f"{len(ours)}"
        )
    config = evaluated.provenance.config if evaluated.provenance else None
    assert config  # checked with the records
    again = figures(predictions, evaluated.classes, evaluated.threshold, config.prevalence)
    difference = first_difference(evaluated.figures, _as_known(again, evaluated.figures))
    if difference:
        raise _flaw("a figure does not follow from the predictions", *difference)
    lesions = by_lesion(predictions, evaluated.classes)
    low = lesions[(lesions["label"] == MELANOMA) & (lesions[MELANOMA] < evaluated.threshold)]
    _same(
        "the missed melanomas are those below the threshold",
        {each.image_ids for each in evaluated.missed},
        set(low["image_ids"]),
    )
    return f"all figures follow from {len(predictions)} predictions, made anew"


def _as_known(again: Figures, told: Figures) -> Figures:
    """Figures made again, without what the version that told them did not keep."""
    return again if told.called is not None else again.model_copy(update={"called": None})


def _the_comparison_follows_from_the_predictions(bundle: Bundle) -> str:
    evaluated = _record(bundle, Evaluated)
    predictions = bundle.table("evaluate", evaluated.predictions)
    comparison = evaluated.champion.comparison if evaluated.champion else None
    asked = COLUMN in predictions
    if asked != (comparison is not None):
        raise _flaw(
            "the predictions and the comparison with the champion do not belong together",
            "a comparison, for the champion answered" if asked else "none, for none answered",
            "no comparison" if asked else "a comparison",
        )
    if comparison is None:
        _same_said_of_the_champion(evaluated, {})
        return "no champion answered, and none is compared with"
    lesions = by_lesion(predictions, (*evaluated.classes, COLUMN))
    again = compared(lesions, evaluated.threshold, comparison.threshold)
    difference = first_difference(comparison, again)
    if difference:
        raise _flaw(
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


def _same_said_of_the_champion(evaluated: Evaluated, misses: dict[tuple[str, ...], bool]) -> None:
    """Of each missed melanoma the record says whether the champion misses it too."""
    for each in evaluated.missed:
        again = misses.get(each.image_ids)
        if each.by_champion is not again:
            raise _flaw(
                f"whether the champion misses {each.image_ids[0]} too is told otherwise",
                f"by_champion {again}",
                f"by_champion {each.by_champion}",
            )


def _the_cross_estimate_follows_from_its_predictions(bundle: Bundle) -> str:
    evaluated = _record(bundle, Evaluated)
    config = evaluated.provenance.config if evaluated.provenance else None
    assert config  # checked with the records
    cross = evaluated.cross
    if (cross is not None) != (config.evaluation == "cross"):
        raise _flaw("cross-validation is not as configured", config.evaluation, str(bool(cross)))
    if cross is None:
        return "no cross-validation was asked for, and none is told of"
    if not cross.folds == len(cross.thresholds) == config.folds:
        raise _flaw(
            "cross-validation was not in as many folds as configured",
            f"{config.folds} folds",
            f"{cross.folds} folds, {len(cross.thresholds)} thresholds",
        )
    parts = bundle.table("split", _record(bundle, Split).parts)
    predictions = bundle.table("evaluate", cross.predictions)
    columns = ["image_id", "label", "group"]
    ours, theirs = (
        sorted(map(tuple, each[columns].to_numpy(str))) for each in (predictions, parts)
    )
    if ours != theirs:
        raise _flaw(
            "cross-validation did not judge each image once",
            f"{len(theirs)} images",
            f"{len(ours)}",
        )
    torn = predictions.groupby("group")["fold"].nunique()
    if (torn > 1).any():
        raise _flaw("a group stands in several folds", "none does", str(torn[torn > 1].index[0]))
    bars = tuple((n + 1, bar) for n, bar in enumerate(cross.thresholds))
    found = tuple(sorted(set(zip(predictions["fold"], predictions["threshold"], strict=True))))
    difference = first_difference(bars, found) or first_difference(
        cross.figures,
        _as_known(figures(predictions, evaluated.classes, None, config.prevalence), cross.figures),
    )
    if difference:
        raise _flaw("cross-validation does not follow from its predictions", *difference)
    return f"cross-validation follows from {len(predictions)} predictions, each image judged once"


def _the_verdict_follows_from_the_figures(bundle: Bundle) -> str:
    evaluated, verdict = _record(bundle, Evaluated), _record(bundle, Verdict)
    parts = bundle.table("split", _record(bundle, Split).parts)
    data = bundle.read("policy.yaml")
    if sha256(data) != verdict.policy.sha256:
        raise _flaw("another policy judged", verdict.policy.sha256, sha256(data))
    policy = parse_policy(data, "policy.yaml")
    cases = _cases(bundle, policy, evaluated, verdict, parts)
    case, rules = cases[0], judge(policy, *cases)
    for ours, theirs in zip(verdict.rules, rules, strict=False):
        difference = first_difference(_in_figures(bundle, ours), _in_figures(bundle, theirs))
        if difference:
            raise _flaw(f"the rule {ours.name} is judged otherwise", *difference)
    if len(rules) != len(verdict.rules) or decide(rules) != verdict.decision:
        raise _flaw(
            "the verdict does not follow from the rules",
            f"{decide(rules)}, by {len(rules)} rules",
            f"{verdict.decision}, by {len(verdict.rules)} rules",
        )
    counted = "earlier_evaluations", "looks", "departed", "superseded"
    said = (verdict.reason, verdict.warnings, *(getattr(verdict, name) for name in counted))
    again: tuple[Any, ...] = (reason_of(rules, evaluated), warnings_of(policy, case))
    if bundle.manifest.format == FIRST:  # some of its words are others now
        words = told(verdict.rules)
        said, again = (verdict.reason[: len(words)], *said[1:]), (words, *again[1:])
    difference = first_difference(said, (*again, *(getattr(case, name) for name in counted)))
    if difference:
        raise _flaw("the verdict is told otherwise than it was reached", *difference)
    return f"the verdict, {verdict.decision}, follows from the figures and the policy"


def _in_figures(bundle: Bundle, rule: Rule) -> Rule:
    """A rule, without the words if an earlier version chose them."""
    return rule.model_copy(update={"reason": ""}) if bundle.manifest.format == FIRST else rule


def _cases(
    bundle: Bundle, policy: Policy, evaluated: Evaluated, verdict: Verdict, parts: pd.DataFrame
) -> tuple[Case, ...]:
    config = evaluated.provenance.config if evaluated.provenance else None
    assert config  # checked with the records
    if bundle.manifest.format == FIRST:  # its looks cost nothing, and were counted elsewhere
        case = Case(
            evaluated=evaluated,
            leaks=len(straddling(parts)),
            same_test_part=True,  # checked with the figures
            earlier_evaluations=verdict.earlier_evaluations,
            synthetic=bool(parts["image_id"].map(source_from).eq("SYNTHETIC").all()),
        )
        return (case,)
    predictions = bundle.table("evaluate", evaluated.predictions)
    return cases_of(policy, config, evaluated, predictions, parts, bundle.ledger())


def _the_card_tells_the_verdict(bundle: Bundle) -> str:
    """Word by word where this version of the program made it; else what it says in numbers."""
    verdict = _record(bundle, Verdict)
    made_here = json.loads(bundle.read("environment.json")).get("card") == card_version()
    card, page = (bundle.read(f"model_card.{kind}").decode() for kind in ("md", "html"))
    if made_here:
        again = model_card(
            bundle.manifest.run, {step.name: bundle.record(step.name) for step in STEPS}
        )
        for name, ours, theirs in (
            ("model_card.md", again, card),
            ("model_card.html", card_as_html(again, bundle.manifest.run), page),
        ):
            if ours != theirs:
                raise _flaw(f"{name} is another model's", *_first_other_line(ours, theirs))
        return "the model card is the one that these records make"
    decisions = [rule.decision for rule in verdict.rules]
    for name, text in (("model_card.md", card), ("model_card.html", page)):
        told = re.findall(r"Verdict of the gate: ([a-z ]+)\.", text)
        if told != [verdict.decision]:
            raise _flaw(f"{name} tells another verdict", verdict.decision, ", ".join(told)[:100])
        found = re.findall(RULE_OF_A_CARD, text)
        if found != decisions:
            raise _flaw(f"{name} tells other rules", ", ".join(decisions), ", ".join(found)[:300])
    return "the model card tells the verdict and what each rule said"


RULE_OF_A_CARD = r"(?:- \*\*|<li>\s*<strong>)([a-z ]+)(?:\*\*|</strong>) ·"


def _first_other_line(ours: str, theirs: str) -> tuple[str, str]:
    pairs = zip_longest(ours.splitlines(), theirs.splitlines(), fillvalue="(no line)")
    return next(((one[:200], other[:200]) for one, other in pairs if one != other), ("", ""))


def first_difference(ours: Any, theirs: Any, where: str = "") -> tuple[str, str] | None:
    """The first place where two records differ by more than rounding: theirs, and ours."""
    if isinstance(ours, BaseModel):
        ours, theirs = dict(ours), dict(theirs)
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = [(name, ours[name], theirs[name]) for name in ours]
    elif isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        pairs = [(number, *pair) for number, pair in enumerate(zip(ours, theirs, strict=True))]
    elif isinstance(ours, float) and isinstance(theirs, float):
        close = math.isclose(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return None if close else (f"{where} {theirs}", f"{ours}")
    else:
        return None if ours == theirs else (f"{where} {theirs}", f"{ours}")
    for name, one, other in pairs:
        found = first_difference(one, other, f"{where}.{name}" if where else str(name))
        if found:
            return found
    return None


def _the_libraries_are_listed(bundle: Bundle) -> str:
    """A bundle made where the tool is not installed has no list, and says so here."""
    installed = json.loads(bundle.read("environment.json"))["distributions"]
    if "sbom.cdx.json" not in bundle.manifest.files:
        return f"{len(installed)} libraries are named; there is no bill of materials"
    listed = json.loads(bundle.read("sbom.cdx.json"))
    found = {plain(each["name"]): each["version"] for each in listed["components"]}
    for name in sorted(set(found) ^ set(installed)):
        raise _flaw("the bill of materials is of other libraries", "those installed", name)
    return f"the bill of materials lists the {len(installed)} libraries that were installed"


CHECKS: tuple[Callable[..., str], ...] = (
    _the_manifest_is_sealed,
    _every_file_is_there_unchanged,
    _the_records_follow_from_each_other,
    _the_records_vouch_for_the_files,
    _the_ledger_is_one_chain,
    _every_file_delivered_is_accounted_for,
    _no_group_straddles,
    _copies_are_of_training_images,
    _the_model_is_one_that_was_trained,
    _the_figures_follow_from_the_predictions,
    _the_comparison_follows_from_the_predictions,
    _the_cross_estimate_follows_from_its_predictions,
    _the_verdict_follows_from_the_figures,
    _the_card_tells_the_verdict,
    _the_libraries_are_listed,
)
