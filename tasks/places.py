"""What an installation says of the places where containers and pods run its steps.

Docker, Kubernetes and Kubeflow read the same variables: which image, on which nodes, with how much
memory and disk, and which addresses a step is told. None of them holds a secret.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.errors import BadInput
from tasks.pipeline import BESIDE, PIPELINE, Step

PASSED_ON = ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION")
PASSED_ON_OF_MLFLOW = ("MLFLOW_TRACKING_URI",)
MACHINES = ("small", "large", "gpu")
MEMORY = "MELANOMA_MEMORY_MB"
LEAST = 128  # MiB, below which Python and the libraries of a step do not start
BY_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
QUANTITY = re.compile(r"[1-9][0-9]*(Mi|Gi|Ti|M|G|T)")

Environment = Mapping[str, str]


def addresses_of(row: Step | None, environment: Environment) -> dict[str, str]:
    """The variables that a step is told, MLflow's only if the step talks to MLflow."""
    names = (*PASSED_ON, *(PASSED_ON_OF_MLFLOW if row and row.mlflow else ()))
    return {name: environment[name] for name in names if environment.get(name)}


def image_named(kind: str, environment: Environment, *, by_tag: bool) -> str:
    """The reference of an image.

    Args:
        kind: ``data``, ``train`` or ``train-gpu``.
        environment: May hold MELANOMA_IMAGE_DATA and so on, or MELANOMA_IMAGES with ``{image}``.
        by_tag: Whether a tag may name it, which may be another image tomorrow.

    Raises:
        BadInput: No variable names the image, or not by its digest.
    """
    variable = f"MELANOMA_IMAGE_{kind.upper().replace('-', '_')}"
    image = environment.get(variable) or environment.get("MELANOMA_IMAGES", "")
    image = image.replace("{image}", kind)
    if BY_DIGEST.fullmatch(image) or (image and by_tag):
        return image
    raise BadInput(
        f"A step needs the image {kind} by its digest, so that nobody can exchange the image.",
        expected=f"{variable}=registry/{kind}@sha256:..., or MELANOMA_IMAGES with {{image}}",
        received=f"{image}, a name without a digest" if image else "no such variable",
        do=f"push the images of `make images` to a registry, and set {variable}; a trial takes "
        "tags by MELANOMA_IMAGES_BY_TAG=yes, and records then do not say which image made them",
    )


def tags_are_taken(environment: Environment) -> bool:
    """Whether images may be named by a tag."""
    return environment.get("MELANOMA_IMAGES_BY_TAG") == "yes"


def limited(row: Step, environment: Environment) -> Step:
    """A row with the memory of this installation, or unchanged.

    The table suits some 100,000 images. MELANOMA_MEMORY_MB raises or lowers the limits of single
    steps: ``{"ingest": 4096, "validate": 8192}``, in MiB.

    Raises:
        BadInput: MELANOMA_MEMORY_MB is not a JSON object of steps and MiB.
    """
    names = {each.name for each in (*PIPELINE, *BESIDE)}
    memory = _object(MEMORY, environment)
    if memory is None or not all(
        name in names and type(size) is int and size >= LEAST for name, size in memory.items()
    ):
        raise BadInput(
            "It is not known how much memory steps may take.",
            expected=f"{MEMORY} as JSON, whole MiB from {LEAST} by the name of a step or command, "
            'such as {"validate": 8192}',
            received=f"{MEMORY}={environment[MEMORY]}",
            do=f"correct it; the names are {', '.join(sorted(names))}",
        )
    return replace(row, memory_mb=memory.get(row.whole, row.memory_mb))


def nodes_of(row: Step, environment: Environment, *, gpus: int) -> dict[str, str]:
    """The labels of the nodes that may run a step, by the kind of machine; empty for any node. A
    step for a GPU that gets none runs on a large machine.

    Raises:
        BadInput: MELANOMA_NODES is not a JSON object of labels by kind.
    """
    given = _object("MELANOMA_NODES", environment)
    if given is None or not given.keys() <= set(MACHINES) or not all(map(_labels, given.values())):
        raise BadInput(
            "It is not known on which nodes a step may run.",
            expected='MELANOMA_NODES={"gpu": {"pool": "gpu"}}, JSON: labels of nodes for '
            + ", ".join(MACHINES),
            received=f"MELANOMA_NODES={environment['MELANOMA_NODES']}",
            do="correct it; without it a step may run on any node",
        )
    labels: dict[str, str] = given.get(
        "large" if row.machine == "gpu" and not gpus else row.machine, {}
    )
    return labels


def spool_limit(environment: Environment) -> str:
    """The disk of a step that spools, as Kubernetes counts it: MELANOMA_SPOOL_LIMIT.

    Raises:
        BadInput: It is no such quantity.
    """
    given = environment.get("MELANOMA_SPOOL_LIMIT") or "20Gi"
    if QUANTITY.fullmatch(given):
        return given
    raise BadInput(
        "It is not known how much disk a step may take.",
        expected="MELANOMA_SPOOL_LIMIT=20Gi, a whole number of Mi, Gi or Ti",
        received=f"MELANOMA_SPOOL_LIMIT={given}",
        do="correct it",
    )


def gpu_resource(environment: Environment) -> str:
    """What a cluster calls its GPUs."""
    return environment.get("MELANOMA_GPU_RESOURCE") or "nvidia.com/gpu"


def _object(variable: str, environment: Environment) -> dict[str, Any] | None:
    """The JSON object in a variable, empty without one; None for anything else."""
    try:
        given = json.loads(environment.get(variable) or "{}")
    except ValueError:
        return None
    return given if isinstance(given, dict) else None


def _labels(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(each, str) for each in given.values())
