"""register: write the evidence and, if the gate passed, register the model as challenger."""

import json
import logging

from tasks.engine.run import Run
from tasks.errors import Halt
from tasks.recipes import recipe_now
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.records.trained import Trained
from tasks.records.verdict import Verdict
from tasks.registry.model_folder import add_version
from tasks.registry.tracking import Diary
from tasks.registry.versions import (
    CHALLENGER,
    HEAD,
    MODEL,
    files_of,
    find_version,
    has_run,
    mlflow_client,
)
from tasks.release.evidence import FOLDER, keep_evidence
from tasks.release.verify import verify

log = logging.getLogger(__name__)


def register(run: Run, trained: Trained, evaluated: Evaluated, verdict: Verdict) -> Registered:
    """Write the evidence, whatever the verdict, and register a model that passed.

    The evidence is verified at once, before anybody relies on it. A model that is already
    registered is not registered again.

    Raises:
        Halt: The gate did not pass.
        Corrupt: The evidence does not hold.
        Momentary: MLflow failed.
    """
    evidence = keep_evidence(run)
    held = verify(f"{run.uri}/{FOLDER}", evidence.sha256).held
    log.info("The evidence holds, by %d checks: %s/%s.", len(held), run.uri, FOLDER)
    if verdict.decision != "pass":
        raise Halt(
            f"Nothing is registered: {verdict.decision}. {verdict.reason} The evidence is in "
            f"{run.uri}/{FOLDER}."
        )
    chosen = trained.of(evaluated.recipe)
    tags = {
        "run": run.uri,
        "recipe": recipe_now(chosen.recipe),
        "model_sha256": chosen.model.sha256,
        "threshold": repr(evaluated.threshold),
        "classes": json.dumps(evaluated.classes),
        "verdict": verdict.decision,
        "evidence": f"{run.uri}/{FOLDER}",
        "evidence_sha256": evidence.sha256,
    }
    if verdict.ledger:
        tags[HEAD] = verdict.ledger.model_dump_json()
    card = run.store.read(f"runs/{run.name}/{FOLDER}/model_card.md").decode()
    with mlflow_client(run.store) as client:
        version, made_by = find_version(client, chosen.model.sha256) or (None, run.uri)
        newly = made_by == run.uri  # also by an attempt that was killed before its record stood
        if version is None:
            version, files = add_version(
                client,
                run_id=chosen.mlflow_run
                if chosen.mlflow_run and has_run(client, chosen.mlflow_run)
                else Diary(run, chosen.recipe, trained.classes, "", {}).complete(chosen),
                model=run.fetch(chosen.model),
                description=card,
                tags=tags,
            )
        else:
            files = files_of(client, version)
        if newly:
            client.set_registered_model_alias(MODEL, CHALLENGER, str(version))
            log.info("%s version %d is the challenger.", MODEL, version)
    return Registered(
        name=MODEL,
        version=version,
        alias="challenger",
        newly=newly,
        model_sha256=chosen.model.sha256,
        evidence=evidence,
        files=files,
    )
