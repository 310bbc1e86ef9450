"""promote: make the challenger of a run the champion, as a person decided."""

import logging
from typing import Any

from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.records.registered import Registered
from tasks.registry.versions import (
    CHALLENGER,
    CHAMPION,
    mlflow_client,
    model_bytes,
    note_promotion,
    version_named,
)
from tasks.release.evidence import FOLDER
from tasks.release.verify import verify

log = logging.getLogger(__name__)


def promote(run: Run) -> int:
    """Move the alias champion to the version that this run registered; returns the version.

    The evidence is verified first.

    Raises:
        BadInput: The run registered nothing; or another version has since become the challenger,
            so the decision was about another model; or MLflow no longer holds the version.
        Corrupt: The evidence does not hold; or MLflow's tags contradict the evidence; or MLflow
            holds another model than the one that was judged.
        Momentary: MLflow failed.
    """
    registered = run.record("register")
    if not isinstance(registered, Registered):
        raise BadInput(
            "There is nothing to promote.",
            expected=f"a registered model version in {run.uri}",
            received="no record of register: the gate did not pass, or the run is unfinished",
            do="promote a run whose gate passed",
        )
    verify(f"{run.uri}/{FOLDER}", registered.evidence.sha256)
    with mlflow_client(run.store) as client:
        _check_the_tags(client, registered)
        current = int(client.get_model_version_by_alias(registered.name, CHALLENGER).version)
        if current != registered.version:
            raise BadInput(
                "The challenger has changed since.",
                expected=f"version {registered.version} of {registered.name} to be the challenger",
                received=f"version {current}",
                do="decide about the present challenger",
            )
        # The model that MLflow will serve must be the model that was judged.
        model_bytes(version_named(client, f"models:/{registered.name}/{registered.version}"))
        client.set_registered_model_alias(registered.name, CHAMPION, str(registered.version))
    note_promotion(run.store, run.name, registered.version, registered.model_sha256)
    log.info("The evidence holds: %s/%s.", run.uri, FOLDER)
    log.info("Version %d of %s is the champion.", registered.version, registered.name)
    return registered.version


def _check_the_tags(client: Any, registered: Registered) -> None:
    """Check that the version's tags name this model and this bundle.

    Another run of the same data may have registered the version first. Then the tags name the
    bundle of that run, and that run is the one to promote.
    """
    tags = client.get_model_version(registered.name, str(registered.version)).tags
    expected = {
        "model_sha256": registered.model_sha256,
        "evidence_sha256": registered.evidence.sha256,
    }
    found = {name: tags.get(name) for name in expected}
    if found != expected:
        raise Corrupt(
            f"Version {registered.version} of {registered.name} is not of this evidence.",
            expected=", ".join(f"{name} {value}" for name, value in expected.items()),
            received=", ".join(f"{name} {value}" for name, value in found.items()),
            do="promote the run that the version's tag run names; if it is this one, find out who "
            "changed the tags in MLflow",
        )
