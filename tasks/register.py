"""register: an MLflow model version with the alias challenger, if the gate passed."""

import json
import logging

from tasks.contracts import Evaluated, Proportion, Registered, Trained, Verdict
from tasks.errors import Halt
from tasks.figures import at_least, at_most, percent
from tasks.registry import CHALLENGER, MODEL, add_version, find_version, mlflow_client
from tasks.run import Run

log = logging.getLogger(__name__)


def register(run: Run, trained: Trained, evaluated: Evaluated, verdict: Verdict) -> Registered:
    """Register the chosen model, unless this very model is registered already.

    Raises:
        Halt: The gate did not pass.
        Momentary: MLflow failed.
    """
    if verdict.decision != "pass":
        raise Halt(f"Nothing is registered: {verdict.decision}. {verdict.reason}")
    chosen = next(each for each in trained.recipes if each.recipe == evaluated.recipe)
    card = model_card(run, trained, evaluated, verdict)
    tags = {
        "run": run.uri,
        "recipe": chosen.recipe,
        "model_sha256": chosen.model.sha256,
        "threshold": repr(evaluated.threshold),
        "classes": json.dumps(evaluated.classes),
        "verdict": verdict.decision,
    }
    with mlflow_client(run.store) as client:
        version, made_by = find_version(client, chosen.model.sha256) or (None, run.uri)
        newly = made_by == run.uri  # also by an attempt that was killed before its record stood
        if version is None:
            version = add_version(
                client,
                run.store,
                run_id=chosen.mlflow_run,
                model=run.fetch(chosen.model),
                description=card,
                tags=tags,
            )
        if newly:
            client.set_registered_model_alias(MODEL, CHALLENGER, str(version))
            log.info("%s version %d is the challenger.", MODEL, version)
    return Registered(
        name=MODEL,
        version=version,
        alias="challenger",
        newly=newly,
        model_sha256=chosen.model.sha256,
        card=run.keep("model_card.md", card.encode()),
    )


def interval(figure: Proportion) -> str:
    return f"{at_least(figure.lower, 1)} to {at_most(figure.upper, 1)}"


def model_card(run: Run, trained: Trained, evaluated: Evaluated, verdict: Verdict) -> str:
    """What a person must know before they use the model, in Markdown."""
    figures = evaluated.figures
    found, spared = figures.sensitivity, figures.specificity
    chosen = next(each for each in trained.recipes if each.recipe == evaluated.recipe)
    return f"""# {MODEL}, trained by run {run.name}

**Use.** Decision support on dermoscopic images of single lesions, beside a clinician, never in
place of one. Not for other images, not for lesions outside its classes:
{", ".join(trained.classes)}.

**Melanoma.** At a melanoma probability of {evaluated.threshold:.4f} or more (chosen on
validation), it found {found.successes} of {found.n} melanoma lesions of the test part (95 %
interval {interval(found)}) and rightly left alone {spared.successes} of {spared.n} others
({interval(spared)}).

**All classes.** Balanced accuracy {percent(figures.balanced_accuracy.value, 1)}, accuracy
{percent(figures.accuracy.estimate, 1)}, over {figures.lesions} test lesions.

**Gate.** {verdict.decision}, by policy {verdict.policy.name} version {verdict.policy.version}.
{verdict.reason}

**Training.** Recipe {chosen.recipe}, {chosen.parameters:,} parameters, {chosen.images} images,
epoch {chosen.best_epoch} of {len(chosen.epochs)}. {chosen.finding}

**Model.** SHA-256 {chosen.model.sha256}
"""
