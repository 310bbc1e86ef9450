"""promote: a person has decided that the challenger of a run becomes the champion."""

import logging

from tasks.contracts import Registered
from tasks.errors import BadInput
from tasks.registry import CHALLENGER, CHAMPION, mlflow_client
from tasks.run import Run

log = logging.getLogger(__name__)


def promote(run: Run) -> int:
    """Move the alias champion to the version that this run registered; returns the version.

    Raises:
        BadInput: The run registered nothing, or another version has become the challenger
            since, so that the decision was about a model that is no longer it.
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
    with mlflow_client(run.store) as client:
        current = int(client.get_model_version_by_alias(registered.name, CHALLENGER).version)
        if current != registered.version:
            raise BadInput(
                "The challenger has changed since.",
                expected=f"version {registered.version} of {registered.name} to be the challenger",
                received=f"version {current}",
                do="decide about the present challenger",
            )
        client.set_registered_model_alias(registered.name, CHAMPION, str(registered.version))
    log.info("Version %d of %s is the champion.", registered.version, registered.name)
    return registered.version
