"""compare: judge a registered model anew, beside the champion that is in use now.

A model is judged beside the champion of its time. If the champion has changed since, the model is
judged again in a run of its own, on the same delivered files. Training is reused; the test part was
counted for this model before.
"""

import logging
from contextlib import suppress
from dataclasses import replace

from tasks.engine.erasures import erasures_in
from tasks.engine.execute import execute
from tasks.engine.run import Run
from tasks.errors import AlreadyExists, BadInput, Corrupt, Halt, NotFound
from tasks.evaluation.policy import bytes_that_judged, fixed_key
from tasks.pipeline import PIPELINE
from tasks.records.evaluated import Evaluated
from tasks.records.registered import Registered
from tasks.records.verdict import Verdict
from tasks.registry.champion import promotions_of
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.question import check_compared_with, registered_by

log = logging.getLogger(__name__)


def compare(run: Run) -> Run:
    """The run whose evidence compares the model with the present champion.

    Returns:
        The run itself if it was compared with this champion; else the run that compared anew,
        ``NAME-against-VERSION``. Called again, it returns the same run.

    Raises:
        BadInput: The run registered nothing; or the model that the run trained cannot be made
            again, because code, libraries or records changed since.
        Halt: Beside the present champion the gate refuses the model.
        Momentary: MLflow or the store failed.
    """
    registered = registered_by(run)
    evaluated = run.record("evaluate")
    assert isinstance(evaluated, Evaluated)
    with mlflow_client(run.store) as client:
        champion = promotions_of(client, run.store).champion
    try:
        check_compared_with(evaluated, champion, run)
    except BadInput:
        return _anew(run, registered, champion.version if champion else 0)
    log.info("The model was compared with the present champion.")
    return run


def _anew(run: Run, registered: Registered, version: int) -> Run:
    if erasures_in(run.store).stops(run.name):
        raise BadInput(
            "The model cannot be judged anew.",
            expected="the images on which it was trained and judged",
            received=f"an image of run {run.name} was erased",
            do="start a new retraining, which is compared with the present champion",
        )
    made, judged = run.record("evaluate"), run.record("gate")
    assert made
    assert made.provenance
    assert isinstance(judged, Verdict)
    assert judged.provenance
    name = f"{run.name[:180]}-against-{version}"
    policy = {"policy": judged.provenance.config.policy}
    anew = Run(run.store, name, made.provenance.config.model_copy(update=policy))
    for file in ("withdrawn.json", "raw.json"):  # what came or went since is for another run
        with suppress(AlreadyExists, NotFound):
            run.store.create(f"runs/{name}/{file}", run.store.read(f"runs/{run.name}/{file}"))
    with suppress(AlreadyExists):  # the same bytes judge again, whatever became of their file
        run.store.create(fixed_key(anew), bytes_that_judged(run, judged.policy))
    for step in PIPELINE:
        try:
            execute(step, replace(anew, step=step.name))
        except Halt:  # the same model is no new version, which is what was asked for
            if anew.record("register") is None:
                raise
    again = anew.record("register")
    if not isinstance(again, Registered) or again.model_sha256 != registered.model_sha256:
        raise BadInput(
            "The model cannot be judged anew.",
            expected=f"the model of version {registered.version}, SHA-256 "
            f"{registered.model_sha256}",
            received=f"another model from the same files in {anew.uri}: code, libraries or "
            "the configuration's defaults have changed since",
            do="start a new retraining, which is compared with the present champion",
        )
    if registered.files and again.files != registered.files:
        raise Corrupt(
            f"MLflow holds other files of version {registered.version} than were registered.",
            expected=", ".join(sorted(registered.files)),
            received="files that were added, removed or changed since",
            do="find out who changed MLflow's artifacts; do not promote this version",
        )
    _name_the_evidence(anew, again)
    log.info("Compared anew with version %d: %s.", version, anew.uri)
    return anew


def _name_the_evidence(anew: Run, again: Registered) -> None:
    """Let the version's tags name the evidence that compares with the present champion."""
    tags = {
        "run": anew.uri,
        "evidence": f"{anew.uri}/evidence",
        "evidence_sha256": again.evidence.sha256,
    }
    with mlflow_client(anew.store) as client:
        for name, value in tags.items():
            client.set_model_version_tag(MODEL, str(again.version), name, value)
