"""The page on which a person decides: every figure comes from the verified bundle.

Names and tables of a delivery are hostile input, so the page shows them as plain text.
"""

import shlex
from collections.abc import Iterable

from tasks.evaluation.serious import Serious, serious_of
from tasks.figures import at_least, at_most, percent
from tasks.recipes import recipe_now
from tasks.records.evaluated import Comparison, Evaluated, Standing
from tasks.records.figures import Proportion
from tasks.records.ingested import Ingested
from tasks.records.validated import Changes, Validated
from tasks.records.verdict import Rule, Verdict
from tasks.registry.promotions import Question
from tasks.registry.shown import measured
from tasks.registry.versions import MODEL
from tasks.release.card import drop_in_words
from tasks.release.checks.flaw import record_of
from tasks.release.evidence import FOLDER, Bundle
from tasks.release.signature import signature_in_words
from tasks.release.trainers import STARTED
from tasks.text.markdown import code, plain

VERIFY = ("python", "-m", "tasks", "verify", "--evidence")


def subject(question: Question) -> str:
    """The question in one line, so that several open questions can be told apart."""
    evaluated = record_of(_bundle(question), Evaluated)
    found = evaluated.figures.sensitivity
    champion = question.champion
    instead = f"instead of version {champion.version}" if champion else "as the first champion"
    drawn = "SYNTHETIC: " if record_of(_bundle(question), Ingested).synthetic else ""
    return (
        f"{drawn}Shall version {question.model.version} of {MODEL} go into use, {instead}? "
        f"It found {found.successes} of {found.n} melanomas."
    )


def page(question: Question, own_policy: tuple[str, ...] = ()) -> str:
    """The evidence for the decision, in Markdown.

    Args:
        question: The question.
        own_policy: What a person must know of a policy that is the installation's own, in lines of
            Markdown; none for a released policy.
    """
    bundle = _bundle(question)
    evaluated, verdict = record_of(bundle, Evaluated), record_of(bundle, Verdict)
    champion = evaluated.champion
    compared = champion.comparison if champion else None
    return "\n".join(
        [
            *_synthetic(bundle),
            f"**Model** {plain(MODEL)}, version {question.model.version}; recipe "
            f"{plain(recipe_now(evaluated.recipe))}, threshold {evaluated.threshold:.3f}. "
            f"{_in_use(question)}",
            "",
            *_who(question),
            "",
            *_side_by_side(evaluated, compared),
            "",
            *_elsewhere(evaluated),
            *_against_champion(evaluated),
            *_beside_standing(evaluated.standing),
            *_classes(evaluated),
            "",
            f"**Gate: {verdict.decision}.** Policy {plain(verdict.policy.name)}, version "
            f"{verdict.policy.version}. {plain(verdict.reason)}",
            "",
            *map(_as_item, verdict.rules),
            "",
            *own_policy,
            *(f"**Warning.** {plain(warning)}\n" for warning in verdict.warnings),
            f"Missed melanomas: {_named([each.image_ids for each in evaluated.missed])}.",
            "",
            *_changes(record_of(bundle, Validated).changes),
            f"Report: {code(f'{question.model.run}/report.html')}",
            "",
            f"Evidence: {code(bundle.uri)}, manifest SHA-256 "
            f"{code(question.model.evidence_sha256 or '')}. It was verified for this page, and is "
            f"verified again before anything is promoted. {signature_in_words(bundle)} To verify "
            f"the evidence yourself: {code(shlex.join([*VERIFY, bundle.uri]))}",
            *([f"\n**Gaps.** {plain(bundle.gaps.in_words)}."] if bundle.gaps else []),
        ]
    )


def _bundle(question: Question) -> Bundle:
    return Bundle(f"{question.model.run}/{FOLDER}")


def _synthetic(bundle: Bundle) -> list[str]:
    if not record_of(bundle, Ingested).synthetic:
        return []
    return ["**SYNTHETIC.** Drawn lesions: nothing here says anything about patients.", ""]


def _in_use(question: Question) -> str:
    if question.champion is None:
        return "No model is in use yet."
    return f"In use now: version {question.champion.version}."


def _who(question: Question) -> list[str]:
    asked = question.asked
    trainers = ", ".join(each.in_words for each in question.trained_by)
    people = "Two people must approve" if asked.approvals == 2 else "One person must approve"
    began = "Training started by"
    if question.did != STARTED:
        began = "Training started by no person, on files and defaults by"
    told = [f"{began}: {plain(trainers or 'nobody who is known')}. {people}."]
    if asked.different_from_trainer and question.trained_by:
        told.append(
            f"Whoever {question.did} may not approve; anybody may reject. After an answer that "
            "does not count, the question comes back; the ledger says why, which Airflow shows "
            "under Answers so far."
        )
    if asked.one_person:
        told.append("This installation has switched the second person off.")
    if asked.authenticated:
        told.append("The policy asks for a person who has logged in.")
    return [" ".join(told)]


def _side_by_side(evaluated: Evaluated, compared: Comparison | None) -> list[str]:
    figures = evaluated.figures
    rows: list[tuple[str, str, str]] = [
        (
            "Melanoma sensitivity: melanomas called melanoma",
            _share(figures.sensitivity),
            _share(compared.sensitivity) if compared else "",
        ),
        (
            "Specificity: others not called melanoma",
            _share(figures.specificity),
            _share(compared.specificity) if compared else "",
        ),
        (
            "Melanoma AUC",
            measured(figures.auc),
            measured(compared.auc) if compared else "",
        ),
        ("Accuracy: first answer is right", _share(figures.accuracy), "-" if compared else ""),
        *(_of_cancer(each, "-" if compared else "") for each in serious_of(figures)),
    ]
    champion = evaluated.champion
    if compared is None or champion is None:
        head = ["| frozen test part, 95 % intervals | challenger |", "|---|---|"]
        return [*head, *(f"| {what} | {own} |" for what, own, _ in rows)]
    head = [
        f"| same lesions, 95 % intervals | challenger | champion, version {champion.version} |",
        "|---|---|---|",
    ]
    return [*head, *(f"| {what} | {own} | {other} |" for what, own, other in rows)]


def _elsewhere(evaluated: Evaluated) -> list[str]:
    """The figures on external sets, or that there are none."""
    if not evaluated.external:
        return [
            "**Judged on its own archive only.** No external set shows whether these figures hold "
            "at another hospital.",
            "",
        ]
    told = []
    for each in evaluated.external:
        name = plain(each.name)
        if each.figures is None:
            told += [f"**Elsewhere, {name}:** no image counts.", ""]
            continue
        said = (
            f"**Elsewhere, {name}:** sensitivity {_share(each.figures.sensitivity)}, specificity "
            f"{_share(each.figures.specificity)}, melanoma AUC {measured(each.figures.auc)}. "
            f"Sensitivity is {drop_in_words(each.sensitivity_drop)}."
        )
        if each.champion:
            said += (
                f" The champion there: sensitivity {_share(each.champion.sensitivity)}, "
                f"specificity {_share(each.champion.specificity)}."
            )
        told += [said, ""]
    return told


def _share(found: Proportion) -> str:
    bounds = f"{at_least(found.lower, 1)} to {at_most(found.upper, 1)}"
    if not found.n:
        return "no lesion"
    return f"{found.successes} of {found.n}: {percent(found.estimate, 1)} ({bounds})"


def _of_cancer(each: Serious, other: str) -> tuple[str, str, str]:
    """A row for another class that must not be left alone."""
    what = f"{each.name}, a precursor" if each.precursor else each.name
    told = _share(each.called) if each.called else "not recorded"
    return f"Of the others, {what}: called melanoma", told, other


def _against_champion(evaluated: Evaluated) -> list[str]:
    """What the challenger gains and loses against the champion."""
    champion = evaluated.champion
    if champion is None:
        return []
    if champion.comparison is None:
        return [f"**The champion could not be compared:** {plain(champion.problem or '')}.", ""]
    found = champion.comparison
    told = [
        f"Melanomas that only the challenger finds: {found.challenger_only}; that only the "
        f"champion finds: {found.champion_only}"
        + (f", namely {_named(found.lost)}" if found.lost else "")
        + ".",
        "",
    ]
    if champion.learned_from:
        told += [f"The champion learned from {champion.learned_from} of these test images.", ""]
    return told


def _beside_standing(standing: Standing | None) -> list[str]:
    """The challenger that waited for a decision too."""
    if standing is None:
        return []
    name = f"Version {standing.version} waited for a decision when this model was judged"
    if standing.ranking is None:
        return [f"**{name}, and could not be compared:** {plain(standing.problem or '')}.", ""]
    found = standing.ranking
    told = [
        f"{name}. On the same lesions: sensitivity {_share(found.sensitivity)}, specificity "
        f"{_share(found.specificity)}, melanoma AUC {measured(found.auc)}. This model's AUC minus "
        f"that one: {measured(found.auc_difference)}. Melanomas that only this model finds: "
        f"{found.only_new}; that only version {standing.version} finds: {found.only_standing}.",
        "",
    ]
    if standing.learned_from:
        told += [
            f"Version {standing.version} learned from {standing.learned_from} of these images.",
            "",
        ]
    return told


def _classes(evaluated: Evaluated) -> list[str]:
    rows = [
        f"| {plain(name)} | {_share(each.recall)} | {measured(each.auc)} |"
        for name, each in evaluated.figures.per_class.items()
    ]
    return ["| class | recall, first answer | AUC |", "|---|---|---|", *rows]


def _changes(changes: Changes | None) -> list[str]:
    if changes is None:
        return ["Data: no earlier run to compare with.", ""]
    moved = sum(changes.now_quarantined.values())
    return [
        f"Data since run {plain(changes.since)}: {changes.new_images} new images, "
        f"{changes.gone_files} files gone, {moved} files newly in quarantine, "
        f"{changes.now_accepted} accepted again.",
        "",
    ]


def _named(lesions: Iterable[tuple[str, ...]]) -> str:
    """Lesions by the ids of their images."""
    return plain("; ".join(", ".join(ids) for ids in lesions)) or "none"


def _as_item(rule: Rule) -> str:
    """A rule as an item of a list. Its reason begins with its name."""
    return f"- **{rule.decision}** · {plain(rule.reason)}"
