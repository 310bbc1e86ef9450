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
from tasks.kubernetes_names import OBJECT, is_extended_resource, is_image, is_label, named
from tasks.pipeline import BESIDE, PIPELINE, Step
from tasks.text.redaction import redacted

PASSED_ON = ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_REGION")
PASSED_ON_OF_MLFLOW = ("MLFLOW_TRACKING_URI",)
MACHINES = ("small", "large", "gpu")
MEMORY = "MELANOMA_MEMORY_MB"
LEAST = 128  # MiB, below which Python and the libraries of a step do not start
MOST = 1 << 26  # MiB, 64 TiB, which no machine has
BY_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
QUANTITY = re.compile(r"[1-9][0-9]{0,6}(Mi|Gi|M|G)|[1-9][0-9]{0,3}(Ti|T)")
SIGNING = "MELANOMA_SIGNING_SECRET"
# Whoever sets one of these means that steps sign. A pod sees none of the files and connections.
OF_SIGNING = (
    "MELANOMA_SIGNING_CONNECTION",
    "MELANOMA_SIGNING_KEY",
    "MELANOMA_SIGNING_PASSPHRASE_FILE",
    "MELANOMA_PUBLIC_KEY",
    "MELANOMA_SIGNING_FILES",
)
SHOWN = 300  # letters of a wrong value

Environment = Mapping[str, str]


def addresses_of(row: Step | None, environment: Environment) -> dict[str, str]:
    """The variables that a step is told, MLflow's only if the step talks to MLflow."""
    names = (*PASSED_ON, *(PASSED_ON_OF_MLFLOW if row and row.mlflow else ()))
    return {name: environment[name] for name in names if environment.get(name)}


def refuse_passwords(variables: Environment) -> None:
    """Check what a place writes down where others read it, as in the description of a pod.

    Raises:
        BadInput: A value holds a password or a token.
    """
    for name, value in variables.items():
        if redacted(value) != value:
            raise BadInput(
                "Whoever may look at a pod would see a password.",
                expected=f"{name} without a password in the address",
                received=f"{name}={redacted(value)}",
                do="put the login into a secret of the cluster: MELANOMA_MLFLOW_SECRET or "
                "MELANOMA_STORE_SECRET",
            )


def secret_of(row: Step, variable: str, environment: Environment, default: str = "") -> str:
    """The secret of a cluster that a variable names for a step; ``{step}`` in the name stands for
    the step. Empty if no secret is named.

    Raises:
        BadInput: No secret can be called so.
    """
    # The name of a secret has no underscore, the name of a step may.
    given = environment.get(variable) or default
    found = given.replace("{step}", row.whole.replace("_", "-"))
    return found and named(variable, found, OBJECT)


def refuse_half_signing(environment: Environment) -> None:
    """Check that pods sign if somebody set up signing: a pod without a key would sign nothing, and
    nobody would notice.

    Raises:
        BadInput: A key is named for processes, and no secret for pods.
    """
    found = [name for name in OF_SIGNING if environment.get(name)]
    if found and not environment.get(SIGNING):
        raise BadInput(
            "Pods would sign nothing, though signing is set up here.",
            expected=f"{SIGNING}, the secret of the cluster with the key that pods sign with",
            received=f"{', '.join(found)}, and no {SIGNING}",
            do=f"make the secret and name it in {SIGNING}; or, to sign nothing, remove the others",
        )


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
    own, every = environment.get(variable, ""), environment.get("MELANOMA_IMAGES", "")
    image = (own or every).replace("{image}", kind)
    one_for_all = not own and image == every  # the images differ, so one cannot be all of them
    known = is_image(image) and not one_for_all
    if known and (by_tag or BY_DIGEST.fullmatch(image)):
        return image
    wrong = "without {image}" if one_for_all else "which names no image"
    raise BadInput(
        f"A step needs the image {kind} by its digest, so that nobody can exchange the image.",
        expected=f"{variable}=registry/{kind}@sha256:..., or MELANOMA_IMAGES with {{image}}",
        received=f"{image[:SHOWN]}, {'a name without a digest' if known else wrong}"
        if image
        else "no such variable",
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
        name in names and type(size) is int and LEAST <= size <= MOST
        for name, size in memory.items()
    ):
        raise BadInput(
            "It is not known how much memory steps may take.",
            expected=f"{MEMORY} as JSON, whole MiB from {LEAST} to {MOST} by the name of a step or "
            'command, such as {"validate": 8192}',
            received=f"{MEMORY}={environment[MEMORY][:SHOWN]}",
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
            expected='MELANOMA_NODES={"gpu": {"pool": "gpu"}}, JSON: labels of nodes, each once, '
            f"for {', '.join(MACHINES)}",
            received=f"MELANOMA_NODES={environment['MELANOMA_NODES'][:SHOWN]}",
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
        expected="MELANOMA_SPOOL_LIMIT=20Gi, a whole number of Mi, Gi or Ti, at most 9999Ti",
        received=f"MELANOMA_SPOOL_LIMIT={given[:SHOWN]}",
        do="correct it",
    )


def gpu_resource(environment: Environment) -> str:
    """What a cluster calls its GPUs.

    Raises:
        BadInput: MELANOMA_GPU_RESOURCE names no device. As `memory`, its number would be the limit
            of memory, in bytes.
    """
    given = environment.get("MELANOMA_GPU_RESOURCE") or "nvidia.com/gpu"
    if is_extended_resource(given):
        return given
    raise BadInput(
        "It is not known what the cluster calls its GPUs.",
        expected="MELANOMA_GPU_RESOURCE=nvidia.com/gpu, the name of a device with its domain",
        received=f"MELANOMA_GPU_RESOURCE={given[:SHOWN]}",
        do="take the name that `kubectl describe node` shows under Allocatable",
    )


def _object(variable: str, environment: Environment) -> dict[str, Any] | None:
    """The JSON object in a variable, empty without one; None for anything else."""
    try:
        given = json.loads(environment.get(variable) or "{}", object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Of two equal names, JSON takes the last, and nobody knows which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _labels(given: object) -> bool:
    return isinstance(given, dict) and all(is_label(*each) for each in given.items())
