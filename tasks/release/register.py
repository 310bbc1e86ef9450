"""register: write the evidence and, if the gate passed, register the model as challenger."""

import json
import logging
from datetime import datetime
from typing import Any

from tasks.engine.run import Run
from tasks.errors import Halt
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.ingested import Ingested
from tasks.records.record import Artifact
from tasks.records.registered import Registered
from tasks.records.trained import Trained, TrainedRecipe
from tasks.records.verdict import Verdict
from tasks.registry.aliases import REASON, STATUS
from tasks.registry.challenger import pass_over, propose, standing_challenger
from tasks.registry.champion import alias_of
from tasks.registry.light_form import light_answers, light_form
from tasks.registry.model_folder import add_version
from tasks.registry.served import compared, standing_files
from tasks.registry.shown import attach, figures_in_words, log_test_metrics, measured
from tasks.registry.tracking import Diary
from tasks.registry.verdicts import anchor_verdict
from tasks.registry.versions import (
    CHALLENGER,
    HEAD,
    MODEL,
    Version,
    find_version,
    has_run,
    mlflow_client,
)
from tasks.release.evidence import FOLDER, Bundle, keep_evidence
from tasks.release.golden import golden_from
from tasks.release.signature import sign_evidence
from tasks.release.verify import verify

log = logging.getLogger(__name__)

CARD = ("model_card.md", "model_card.html")


def register(run: Run, trained: Trained, evaluated: Evaluated, verdict: Verdict) -> Registered:
    """Write the evidence, whatever the verdict, and register a model that passed.

    The evidence is verified at once, before anybody relies on it. The verdict is anchored in
    MLflow, a refusal too: whoever can write the store could else forge it afterwards. So a refused
    run also needs MLflow; without MLflow the step is to be tried again. A model that is already
    registered is not registered again. A model that is worse than the challenger that waits for a
    decision gets a version, and does not become the challenger.

    Raises:
        Halt: The gate did not pass.
        Corrupt: The evidence does not hold; or MLflow holds another verdict of this run.
        Momentary: MLflow failed.
    """
    evidence = keep_evidence(run)
    sign_evidence(run)
    verified = verify(f"{run.uri}/{FOLDER}", evidence.sha256)
    held = len(verified.held)
    log.info("The evidence holds, by %d checks: %s/%s.", held, run.uri, FOLDER)
    log.info("The evidence is %s.", verified.signature)
    chosen = trained.of(evaluated.recipe)
    with mlflow_client(run.store) as client:
        mlflow_run = _run_of_training(client, run, trained, chosen)
        anchor_verdict(client, run, mlflow_run, verdict, evidence.sha256)
        if verdict.decision != "pass":
            raise Halt(
                f"Nothing is registered: {verdict.decision}. {verdict.reason} The evidence is in "
                f"{run.uri}/{FOLDER}."
            )
        version, made_by = find_version(client, chosen.model.sha256) or (None, run.uri)
        newly = made_by == run.uri  # also by an attempt that was killed before its record stood
        passed_over = ""
        if version is None:
            model = run.fetch(chosen.model)
            version, files = add_version(
                client,
                run_id=mlflow_run,
                model=model,
                light=_light(run, model),
                description=_page(run, CARD[0]),
                tags=_tags(run, chosen, evaluated, verdict, evidence),
            )
        else:
            files = standing_files(client, run.store, version, made_by, chosen.model.sha256)
        if newly:
            _show(client, run, version, evaluated)
            passed_over = become_challenger(client, run, version, evaluated)
    return Registered(
        name=MODEL,
        version=version,
        alias=None if passed_over else "challenger",
        newly=newly,
        model_sha256=chosen.model.sha256,
        evidence=evidence,
        files=files,
        passed_over=passed_over,
    )


def _light(run: Run, model: bytes) -> bytes:
    """The light form of a model, if it answers the golden images as the model was judged.

    Raises:
        Corrupt: The model cannot be converted, or the light form answers otherwise.
    """
    what = "The light form of the model"
    golden, _ = golden_from(Bundle(f"{run.uri}/{FOLDER}").read)
    light = light_form(model, golden.pixels.shape[1], what)
    log.info("%s: %s.", what, compared(light_answers(light, golden.pixels), golden, what))
    return light


def become_challenger(client: Any, run: Run, version: int, evaluated: Evaluated) -> str:
    """Let a new version become the challenger, unless a better one waits for a decision.

    Returns:
        Why the version does not become the challenger; empty if it does.
    """
    if alias_of(client, CHALLENGER) == version:  # by an attempt that was killed
        return ""
    standing = standing_challenger(client, run.store)
    why = _why_passed_over(evaluated, standing) if standing else ""
    if not why:
        propose(client, version, standing)
        return ""
    told = (
        f"Version {version} of {MODEL} is registered, and nobody is asked about it: {why}. To put "
        f"it before people all the same, start melanoma_promotion with the run {run.uri}, or use "
        f"`python -m tasks decide --run {run.uri}`."
    )
    pass_over(client, version, told)
    return told


def _why_passed_over(evaluated: Evaluated, now: Version) -> str:
    """Why a challenger that waits now is not replaced; empty if it is."""
    then = evaluated.standing
    if then is None or then.model_sha256 != now.model_sha256:
        return (
            f"version {now.number} became the challenger while this model was judged, so the two "
            "were not compared"
        )
    if then.ranking is None:
        log.warning(
            "Version %d could not be compared, and is no longer the challenger: %s.", now.number,
            then.problem,
        )  # fmt: skip
        return ""
    if not then.ranking.new_is_worse:
        return ""
    return (
        f"version {now.number}, the challenger, waits for a decision and is better on the same "
        f"lesions, with a melanoma AUC of {measured(then.ranking.auc)} against "
        f"{measured(evaluated.figures.auc)}"
    )


def _run_of_training(client: Any, run: Run, trained: Trained, chosen: TrainedRecipe) -> str:
    """The MLflow run of a training, made now if MLflow did not answer then."""
    if chosen.mlflow_run and has_run(client, chosen.mlflow_run):
        return chosen.mlflow_run
    return Diary(run, chosen.recipe, trained.classes, "", {}).complete(chosen)


def _tags(
    run: Run, chosen: TrainedRecipe, evaluated: Evaluated, verdict: Verdict, evidence: Artifact
) -> dict[str, str]:
    """The tags of a new version: those that the program reads, and those that people read."""
    ingested = run.record("ingest")
    synthetic = isinstance(ingested, Ingested) and ingested.synthetic
    tags = {
        "run": run.uri,
        "recipe": recipe_now(chosen.recipe),
        "model_sha256": chosen.model.sha256,
        "threshold": repr(evaluated.threshold),
        "classes": json.dumps(evaluated.classes),
        "verdict": verdict.decision,
        "evidence": f"{run.uri}/{FOLDER}",
        "evidence_sha256": evidence.sha256,
        STATUS: "challenger",
        REASON: "the gate let the model pass; nobody has decided yet",
    }
    if verdict.ledger:
        tags[HEAD] = verdict.ledger.model_dump_json()
    return tags | figures_in_words(evaluated, verdict, synthetic=synthetic)


def _show(client: Any, run: Run, version: int, evaluated: Evaluated) -> None:
    """Give a version's MLflow run the figures by which versions compare, and the card."""
    mlflow_run = client.get_model_version(MODEL, str(version)).run_id
    then = evaluated.provenance
    measured_at = datetime.fromisoformat(then.committed_at) if then else datetime.now()
    log_test_metrics(client, mlflow_run, evaluated, int(1000 * measured_at.timestamp()))
    for name in CARD:
        attach(client, mlflow_run, name, _page(run, name))


def _page(run: Run, name: str) -> str:
    return run.store.read(f"runs/{run.name}/{FOLDER}/{name}").decode()
