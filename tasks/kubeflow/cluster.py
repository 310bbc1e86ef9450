"""What a pipeline of Kubeflow needs to know of the cluster: images, secrets, nodes, GPUs.

The environment of the command names them, with the variables of Airflow's place ``kubernetes``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import BadInput
from tasks.limits import VARIABLE, limited
from tasks.pipeline import Step

# Variables that a step reads and that hold no secret; the second of steps that talk to MLflow.
PASSED_ON = ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION")
PASSED_ON_OF_MLFLOW = ("MLFLOW_TRACKING_URI",)
BY_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
MACHINES = ("small", "large", "gpu")


@dataclass(frozen=True)
class Cluster:
    """The cluster that a pipeline is compiled for.

    Attributes:
        images: References of images, by the name of the image: ``data``, ``train``, ``train-gpu``.
        store: Address of the store that the pipeline offers as default; empty for none.
        variables: Values of environment variables that steps get, by name.
        store_secret, mlflow_secret: Kubernetes secrets with the key ``credentials``.
        signing_secret: Kubernetes secret with the key ``signing-key.pem``; empty: no signature.
        pull_secret: Kubernetes secret to pull images with; empty for none.
        gpus: Number of GPUs of a step whose machine is ``gpu``; 0 trains on the CPU.
        gpu_resource: Name of the resource that a node counts GPUs by.
        spool_limit: Disk of a step that spools, as Kubernetes counts it.
        nodes: Labels of the nodes for each kind of machine, by kind.
        memory: MELANOMA_MEMORY_MB, see `tasks.limits`.
    """

    images: Mapping[str, str]
    store: str
    variables: Mapping[str, str]
    store_secret: str
    mlflow_secret: str
    signing_secret: str
    pull_secret: str
    gpus: int
    gpu_resource: str
    spool_limit: str
    nodes: Mapping[str, Mapping[str, str]]
    memory: str = ""

    def limited(self, row: Step) -> Step:
        """A row with the memory of this installation."""
        return limited(row, {VARIABLE: self.memory})

    def image_of(self, row: Step) -> str:
        """The image of a row."""
        return self.images["train-gpu" if self.on_gpu(row) else row.image]

    def on_gpu(self, row: Step) -> bool:
        """Whether a row gets GPUs."""
        return bool(self.gpus) and row.machine == "gpu"

    def environment_of(self, row: Step) -> dict[str, str]:
        """The variables of a row. None holds a secret."""
        names = (*PASSED_ON, *(PASSED_ON_OF_MLFLOW if row.mlflow else ()))
        given = {name: self.variables[name] for name in names if name in self.variables}
        return given | {"IMAGE_DIGEST": self.image_of(row)}


def cluster_of(environment: Mapping[str, str], *, gpus: int, by_tag: bool) -> Cluster:
    """The cluster that an environment describes.

    Args:
        environment: Variables; see `docs/kubeflow.md`.
        gpus: Number of GPUs of a training, 0 for none.
        by_tag: Whether images may be named by a tag, which may be another image tomorrow.

    Raises:
        BadInput: An image is not named, or named by a tag; or MELANOMA_NODES cannot be read.
    """
    names = ("data", "train-gpu" if gpus else "train", "train")
    return Cluster(
        images={name: _image(name, environment, by_tag) for name in dict.fromkeys(names)},
        store=environment.get("MELANOMA_STORE", "").rstrip("/"),
        variables={
            name: environment[name]
            for name in (*PASSED_ON, *PASSED_ON_OF_MLFLOW)
            if environment.get(name)
        },
        store_secret=environment.get("MELANOMA_STORE_SECRET") or "melanoma-store",
        mlflow_secret=environment.get("MELANOMA_MLFLOW_SECRET") or "melanoma-mlflow",
        signing_secret=environment.get("MELANOMA_SIGNING_SECRET", ""),
        pull_secret=environment.get("MELANOMA_IMAGE_PULL_SECRET", ""),
        gpus=gpus,
        gpu_resource=environment.get("MELANOMA_GPU_RESOURCE") or "nvidia.com/gpu",
        spool_limit=environment.get("MELANOMA_SPOOL_LIMIT") or "20Gi",
        nodes=_nodes(environment.get("MELANOMA_NODES") or "{}"),
        memory=environment.get(VARIABLE, ""),
    )


def _image(name: str, environment: Mapping[str, str], by_tag: bool) -> str:
    variable = f"MELANOMA_IMAGE_{name.upper().replace('-', '_')}"
    pattern = environment.get("MELANOMA_IMAGES", "")
    image = environment.get(variable) or pattern.replace("{image}", name)
    if not image:
        raise BadInput(
            f"It is not known where the image {name} lies.",
            expected=f"{variable}=registry/{name}@sha256:..., or MELANOMA_IMAGES with {{image}}",
            received="neither in the environment",
            do="push the images of `make images` to a registry, and name them by their digests",
        )
    if not by_tag and not BY_DIGEST.fullmatch(image):
        raise BadInput(
            f"The image {name} is not named by its digest.",
            expected="NAME@sha256:..., which is the same image tomorrow",
            received=image,
            do=f"set {variable}; for a trial, give --by-tag",
        )
    return image


def _nodes(text: str) -> dict[str, dict[str, str]]:
    try:
        nodes = json.loads(text)
        fits = isinstance(nodes, dict) and set(nodes) <= set(MACHINES)
        fits = fits and all(
            isinstance(labels, dict)
            and all(isinstance(each, str) for pair in labels.items() for each in pair)
            for labels in nodes.values()
        )
    except ValueError:
        fits = False
    if not fits:
        raise BadInput(
            "The labels of the nodes cannot be read.",
            expected='MELANOMA_NODES as JSON, such as {"gpu": {"pool": "gpu"}}, for the kinds '
            + ", ".join(MACHINES),
            received=text,
            do="correct MELANOMA_NODES",
        )
    return dict(nodes)
