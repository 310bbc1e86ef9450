"""What a pipeline of Kubeflow needs to know of the cluster: images, secrets, nodes, GPUs.

The environment of the command names them, with the variables of Airflow's place ``kubernetes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.pipeline import PIPELINE, Step
from tasks.places import (
    BY_DIGEST,
    addresses_of,
    image_named,
    limited,
    nodes_of,
    spool_limit,
    tags_are_taken,
)


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

    @property
    def store_secret(self) -> str:
        """Kubernetes secret with the key ``credentials``."""
        return self.environment.get("MELANOMA_STORE_SECRET") or "melanoma-store"

    @property
    def mlflow_secret(self) -> str:
        """Kubernetes secret with the key ``credentials``."""
        return self.environment.get("MELANOMA_MLFLOW_SECRET") or "melanoma-mlflow"

    @property
    def signing_secret(self) -> str:
        """Kubernetes secret with the key ``signing-key.pem``; empty: nothing is signed."""
        return self.environment.get("MELANOMA_SIGNING_SECRET", "")

    @property
    def pull_secret(self) -> str:
        """Kubernetes secret to pull images with; empty for none."""
        return self.environment.get("MELANOMA_IMAGE_PULL_SECRET", "")

    def image_of(self, row: Step) -> str:
        """The image of a row."""
        kind = "train-gpu" if self.on_gpu(row) else row.image
        return image_named(kind, self.environment, by_tag=tags_are_taken(self.environment))

    def on_gpu(self, row: Step) -> bool:
        """Whether a row gets GPUs."""
        return bool(self.gpus) and row.machine == "gpu"

    def environment_of(self, row: Step) -> dict[str, str]:
        """The variables of a row. None holds a secret."""
        found, image = addresses_of(row, self.environment), self.image_of(row)
        # A tag would be false evidence.
        return found | ({"IMAGE_DIGEST": image} if BY_DIGEST.fullmatch(image) else {})

    def memory_of(self, row: Step) -> str:
        """The memory of a row, as Kubernetes counts it."""
        return f"{limited(row, self.environment).memory_mb}Mi"

    def nodes_of(self, row: Step) -> dict[str, str]:
        """The labels of the nodes that may run a row; empty for any node."""
        return nodes_of(row, self.environment, gpus=self.gpus)


def cluster_of(environment: Mapping[str, str], *, gpus: int) -> Cluster:
    """The cluster that an environment describes.

    Args:
        environment, gpus: See `Cluster`.

    Raises:
        BadInput: An image is not named, or named by a tag; or a limit or the labels of nodes cannot
            be read.
    """
    cluster = Cluster(environment, gpus)
    spool_limit(environment)
    for row in PIPELINE:
        cluster.environment_of(row), cluster.memory_of(row), cluster.nodes_of(row)
    return cluster
