"""What a pipeline of Kubeflow needs to know of the cluster: images, secrets, nodes, GPUs.

The environment of the command names them, with the variables of Airflow's place ``kubernetes``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import BadInput
from tasks.kubernetes_names import OBJECT, literal, named
from tasks.pipeline import PIPELINE, Step
from tasks.places import (
    BY_DIGEST,
    SIGNING,
    addresses_of,
    gpu_resource,
    image_named,
    limited,
    nodes_of,
    refuse_half_signing,
    refuse_passwords,
    secret_of,
    spool_limit,
    tags_are_taken,
)

# S3's safe characters. Kubeflow replaces {{...}} in what it is given, Kubernetes $(...).
STORE = re.compile(r"s3://[A-Za-z0-9][\w.-]*(/[\w!.*'()/=+:,@-]*)?", re.ASCII)
KEY = "signing-key.pem"  # the only file of the secret that a step is told of


@dataclass(frozen=True)
class Cluster:
    """The cluster that a pipeline is compiled for.

    Attributes:
        environment: Variables; see `docs/kubeflow.md`.
        gpus: Number of GPUs of a step whose machine is ``gpu``; 0 trains on the CPU.
    """

    environment: Mapping[str, str]
    gpus: int

    @property
    def store(self) -> str:
        """Address of the store that the pipeline offers as default; empty for none."""
        return self.environment.get("MELANOMA_STORE", "").rstrip("/")

    def store_secret(self, row: Step) -> str:
        """Kubernetes secret with the key ``credentials``."""
        return secret_of(row, "MELANOMA_STORE_SECRET", self.environment, "melanoma-store")

    def mlflow_secret(self, row: Step) -> str:
        """Kubernetes secret with the key ``credentials``."""
        return secret_of(row, "MELANOMA_MLFLOW_SECRET", self.environment, "melanoma-mlflow")

    def signing_secret(self, row: Step) -> str:
        """Kubernetes secret with the key ``signing-key.pem``; empty: nothing is signed."""
        return secret_of(row, SIGNING, self.environment)

    @property
    def pull_secret(self) -> str:
        """Kubernetes secret to pull images with; empty for none."""
        variable = "MELANOMA_IMAGE_PULL_SECRET"
        found = self.environment.get(variable, "")
        return found and named(variable, found, OBJECT)

    def image_of(self, row: Step) -> str:
        """The image of a row."""
        kind = "train-gpu" if self.on_gpu(row) else row.image
        return image_named(kind, self.environment, by_tag=tags_are_taken(self.environment))

    def on_gpu(self, row: Step) -> bool:
        """Whether a row gets GPUs."""
        return bool(self.gpus) and row.machine == "gpu"

    def environment_of(self, row: Step) -> dict[str, str]:
        """The variables of a row, as they stand in a container. None holds a secret.

        Raises:
            BadInput: An address holds a password, or what Kubeflow would replace.
        """
        found, image = addresses_of(row, self.environment), self.image_of(row)
        refuse_passwords(found)
        for name, value in found.items():
            if "{{" in value:
                raise BadInput(
                    "Kubeflow would replace a part of an address.",
                    expected=f"{name} without {{{{",
                    received=f"{name}={value}",
                    do="correct it",
                )
        # A tag would be false evidence.
        found |= {"IMAGE_DIGEST": image} if BY_DIGEST.fullmatch(image) else {}
        return {name: literal(value) for name, value in found.items()}

    def memory_of(self, row: Step) -> str:
        """The memory of a row, as Kubernetes counts it."""
        return f"{limited(row, self.environment).memory_mb}Mi"

    def nodes_of(self, row: Step) -> dict[str, str]:
        """The labels of the nodes that may run a row; empty for any node."""
        return nodes_of(row, self.environment, gpus=self.gpus)


def cluster_of(environment: Mapping[str, str], *, gpus: int | None) -> Cluster:
    """The cluster that an environment describes.

    Args:
        environment: See `Cluster`.
        gpus: See `Cluster`; None if nobody said how many.

    Raises:
        BadInput: An image is not named, or named by a tag; or another variable cannot be read, or
            means something that a pipeline would not do.
    """
    if gpus is None and (given := environment.get("MELANOMA_GPUS")):
        raise BadInput(
            "It is not known whether trainings get GPUs.",
            expected="the option --gpus with their number; MELANOMA_GPUS is for Airflow",
            received=f"MELANOMA_GPUS={given}, and no --gpus",
            do='say `OPTIONS="--gpus 1" make kubeflow`, or --gpus 0 to train on processors',
        )
    cluster = Cluster(environment, gpus or 0)
    _check_store(cluster.store)
    _check_signing(environment)
    spool_limit(environment), gpu_resource(environment), cluster.pull_secret
    for row in PIPELINE:
        cluster.environment_of(row), cluster.memory_of(row), cluster.nodes_of(row)
        cluster.store_secret(row), cluster.mlflow_secret(row), cluster.signing_secret(row)
    return cluster


def _check_store(store: str) -> None:
    if store and not STORE.fullmatch(store):
        raise BadInput(
            "A pod cannot reach the store that the pipeline would offer.",
            expected="MELANOMA_STORE=s3://bucket/prefix",
            received=f"MELANOMA_STORE={store}",
            do="name a store on S3; or leave it out, and say it for each run",
        )


def _check_signing(environment: Mapping[str, str]) -> None:
    refuse_half_signing(environment)
    files = environment.get("MELANOMA_SIGNING_FILES") or KEY
    if files != KEY:
        raise BadInput(
            "A step of Kubeflow is told of no other file to sign with than its key.",
            expected=f"MELANOMA_SIGNING_FILES={KEY}, or no such variable",
            received=f"MELANOMA_SIGNING_FILES={files}",
            do="take a key without a passphrase; who verifies needs the public key",
        )
