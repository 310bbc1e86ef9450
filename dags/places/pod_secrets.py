"""The secrets of the cluster that a pod reads as files.

The environment of Airflow's processes names secrets of the pods' namespace. Airflow itself neither
reads nor writes them. ``{step}`` in a name stands for the step, so each step can have its own.

- MELANOMA_STORE_SECRET: key ``credentials``, in AWS's format
- MELANOMA_MLFLOW_SECRET: key ``credentials``, in the format of ``~/.mlflow/credentials``; only
  steps that talk to MLflow get it
- MELANOMA_SIGNING_SECRET: the keys that MELANOMA_SIGNING_FILES lists, by default
  ``signing-key.pem``; ``signing-passphrase`` and ``public-keys.pem`` may stand there too
"""

import os
from pathlib import PurePosixPath

from kubernetes.client import models as k8s

from dags import signing
from dags.credentials import MLFLOW, STORE
from tasks.engine.signing import SECRETS
from tasks.errors import BadInput
from tasks.pipeline import Step
from tasks.places import SIGNING, refuse_half_signing, secret_of

CREDENTIALS = "credentials"  # key of a secret
READABLE = 0o444  # inside of the pod, where only the step's own user is
FILES = "MELANOMA_SIGNING_FILES"
# The variable of each file that a step signs or verifies with.
VARIABLES = {PurePosixPath(place).name: name for name, place in signing.PLACES.items()}


def mounted(row: Step) -> list[tuple[k8s.V1Volume, k8s.V1VolumeMount]]:
    """The volumes with a step's secrets, and where they are mounted.

    Raises:
        BadInput: A variable names no secret; or Airflow has a key, and its pods would have none.
    """
    refuse_half_signing(os.environ)
    found = []
    sources = []
    if name := _named("MELANOMA_STORE_SECRET", row):
        sources.append(_projected(name, CREDENTIALS, PurePosixPath(STORE.path).name))
    if name := _named(SIGNING, row):
        sources += [_projected(name, file, file) for file in _signing_files()]
    if sources:
        projected = k8s.V1ProjectedVolumeSource(default_mode=READABLE, sources=sources)
        found.append(_mount("secrets", str(SECRETS), projected=projected))
    if row.mlflow and (name := _named("MELANOMA_MLFLOW_SECRET", row)):
        path = PurePosixPath(MLFLOW.path)
        secret = k8s.V1SecretVolumeSource(
            secret_name=name,
            default_mode=READABLE,
            items=[k8s.V1KeyToPath(key=CREDENTIALS, path=path.name)],
        )
        found.append(_mount("mlflow", str(path.parent), secret=secret))
    return found


def variables(row: Step) -> dict[str, str]:
    """The variables that tell a step where its secrets lie."""
    found = {}
    if _named("MELANOMA_STORE_SECRET", row):
        found["AWS_SHARED_CREDENTIALS_FILE"] = STORE.path
    if _named(SIGNING, row):
        found |= {VARIABLES[file]: signing.PLACES[VARIABLES[file]] for file in _signing_files()}
    return found


def _named(variable: str, row: Step) -> str:
    return secret_of(row, variable, os.environ)


def _signing_files() -> list[str]:
    given = os.environ.get(FILES) or "signing-key.pem"
    files = given.split(",")
    if set(files) <= VARIABLES.keys():
        return files
    raise BadInput(
        "It is not known which files a step signs with.",
        expected=f"{FILES}, some of {','.join(VARIABLES)}",
        received=f"{FILES}={given}",
        do="name the keys that MELANOMA_SIGNING_SECRET holds, with commas and without blanks",
    )


def _projected(name: str, key: str, path: str) -> k8s.V1VolumeProjection:
    item = k8s.V1KeyToPath(key=key, path=path)
    return k8s.V1VolumeProjection(secret=k8s.V1SecretProjection(name=name, items=[item]))


def _mount(
    name: str, path: str, **source: k8s.V1ProjectedVolumeSource | k8s.V1SecretVolumeSource
) -> tuple[k8s.V1Volume, k8s.V1VolumeMount]:
    mount = k8s.V1VolumeMount(name=name, mount_path=path, read_only=True)
    return k8s.V1Volume(name=name, **source), mount
