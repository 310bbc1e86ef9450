"""The pod of a step: its image, limits, files and rights, from the step's row in `tasks.pipeline`.

The pod keeps the rules of Kubernetes' pod security standard ``restricted``. Everything about the
cluster comes from the environment of Airflow's processes, see `dags.places.kubernetes.task_of`.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from kubernetes.client import models as k8s

from dags.person import told_of
from dags.places.mapping import SECONDS_TO_END
from dags.places.pod_secrets import mounted, variables
from tasks.errors import BadInput
from tasks.kubernetes_names import NAMESPACE, OBJECT, literal, named
from tasks.pipeline import Step
from tasks.places import (
    BY_DIGEST,
    gpu_resource,
    image_named,
    nodes_of,
    refuse_passwords,
    spool_limit,
    tags_are_taken,
)

CONTAINER = "base"
USER = 65532  # of the images, without a name and without rights
TMP, SPOOL = "/tmp", "/var/tmp"
SCRATCH = "1Gi"  # of memory, for temporary files; counts towards the memory limit
OWN_DISK = "1Gi"  # for the log, which lies on the node's disk
LITTLE_CPU = "250m"  # what a node must have free; the limit is that of the row
GRACE = SECONDS_TO_END + 10  # seconds to end in: an orderly end, and some for the node


PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
STEP, SPEAKS = "melanoma-retraining/step", "melanoma-retraining/mlflow"
WORK = "melanoma-retraining/work"  # annotation: what a person reads of what the pod does
SPEC = "melanoma-retraining/spec"  # annotation: hash of the spec as the operator made it


def pod_of(row: Step, command: list[str], person: Mapping[str, str] | None = None) -> k8s.V1Pod:
    """The pod that runs ``python -m tasks COMMAND...``, without a name.

    Args:
        row: Row of the step or command.
        command: The argv after ``python -m tasks``.
        person: The variable that says who acts, see `dags.person`.

    Raises:
        BadInput: A variable that says how to make the pod is missing or wrong.
    """
    gpus = gpus_of(row)
    volumes, mounts = _scratch(row)
    for volume, mount in mounted(row):
        volumes.append(volume)
        mounts.append(mount)
    pull = _named("MELANOMA_IMAGE_PULL_SECRET")
    container = k8s.V1Container(
        name=CONTAINER,
        image=image_of(row),
        # By its tag `latest` a cluster would ask a registry for what was brought to the node.
        image_pull_policy="IfNotPresent",
        args=[literal(word) for word in command],
        env=[
            k8s.V1EnvVar(name=name, value=literal(value))
            for name, value in _environment(row, person)
        ],
        resources=_resources(row, gpus),
        volume_mounts=mounts,
        security_context=k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
            privileged=False,
            read_only_root_filesystem=True,
        ),
        termination_message_policy="File",
    )
    spec = k8s.V1PodSpec(
        containers=[container],
        volumes=volumes,
        restart_policy="Never",
        service_account_name=_named("MELANOMA_SERVICE_ACCOUNT", "melanoma-step"),
        automount_service_account_token=False,
        enable_service_links=False,  # no addresses of other services in the environment
        security_context=k8s.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
        ),
        termination_grace_period_seconds=GRACE,
        node_selector=nodes_of(row, os.environ, gpus=gpus) or None,
        tolerations=_tolerations(gpus),
        priority_class_name=_named("MELANOMA_PRIORITY_CLASS") or None,
        image_pull_secrets=[k8s.V1LocalObjectReference(name=pull)] if pull else None,
    )
    return k8s.V1Pod(
        api_version="v1",
        kind="Pod",
        metadata=k8s.V1ObjectMeta(namespace=namespace(), labels=labels_of(row)),
        spec=spec,
    )


def namespace() -> str:
    """The namespace of all pods of steps."""
    variable = "MELANOMA_NAMESPACE"
    return named(variable, os.environ.get(variable) or "melanoma", NAMESPACE)


def labels_of(row: Step) -> dict[str, str]:
    """The labels by which network policies and people select pods."""
    found = {PART_OF: "melanoma-retraining", COMPONENT: "step", STEP: row.whole}
    return found | ({SPEAKS: "true"} if row.mlflow else {})


def fingerprint(pod: k8s.V1Pod, as_json: Any) -> str:
    """SHA-256 of a pod's spec. `as_json` makes plain JSON of an object of the client."""
    text = json.dumps(as_json(pod.spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def name_of(step: str, *work: str) -> str:
    """The name of the pod that does a piece of work. The cluster lets only one pod have it, so two
    pods never do one piece of work side by side.

    Args:
        step: Name of the step or command.
        work: All that tells this piece of work from others.
    """
    digest = hashlib.sha256("\n".join(work).encode()).hexdigest()[:20]
    return f"melanoma-{re.sub('[^a-z0-9]+', '-', step)}-{digest}"


def image_of(row: Step) -> str:
    """The full name of a step's image, see `tasks.places.image_named`."""
    kind = "train-gpu" if gpus_of(row) else row.image
    return image_named(kind, os.environ, by_tag=tags_are_taken(os.environ))


def gpus_of(row: Step) -> int:
    """How many GPUs the pod of a step gets. Raises `BadInput` if MELANOMA_GPUS is no number."""
    given = os.environ.get("MELANOMA_GPUS", "") if row.machine == "gpu" else ""
    if not given:
        return 0
    if re.fullmatch("[1-9][0-9]?", given):
        return int(given)
    raise BadInput(
        "It is not known how many GPUs a pod gets.",
        expected="MELANOMA_GPUS=1, a number from 1 to 99; Kubernetes knows no `all`",
        received=f"MELANOMA_GPUS={given}",
        do="correct it for Airflow's processes; leave it out to train on processors",
    )


def start_seconds() -> int:
    """How long a pod may take until it runs. Raises `BadInput` if it is no number of minutes."""
    given = os.environ.get("MELANOMA_POD_START_MINUTES") or "20"
    if re.fullmatch("[1-9][0-9]{0,3}", given):
        return 60 * int(given)
    raise BadInput(
        "It is not known how long a pod may take to start.",
        expected="MELANOMA_POD_START_MINUTES=20, minutes from 1 to 9999",
        received=f"MELANOMA_POD_START_MINUTES={given}",
        do="correct it for Airflow's processes",
    )


def _named(variable: str, default: str = "") -> str:
    found = os.environ.get(variable) or default
    return found and named(variable, found, OBJECT)


# Parts of a pod ----------------------------------------------------------------------------------


def _scratch(row: Step) -> tuple[list[k8s.V1Volume], list[k8s.V1VolumeMount]]:
    """Places for temporary files: memory, and a disk for a step that spools."""
    memory = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=SCRATCH)
    volumes = [k8s.V1Volume(name="tmp", empty_dir=memory)]
    mounts = [k8s.V1VolumeMount(name="tmp", mount_path=TMP)]
    if row.spools:
        disk = k8s.V1EmptyDirVolumeSource(size_limit=spool_limit(os.environ))
        volumes.append(k8s.V1Volume(name="spool", empty_dir=disk))
        mounts.append(k8s.V1VolumeMount(name="spool", mount_path=SPOOL))
    return volumes, mounts


def _resources(row: Step, gpus: int) -> k8s.V1ResourceRequirements:
    memory = f"{row.memory_mb}Mi"
    limits = {"cpu": str(row.cpus), "memory": memory}
    if not row.spools:  # the disk of one that spools has a limit of its own
        limits["ephemeral-storage"] = OWN_DISK
    if gpus:
        limits[gpu_resource(os.environ)] = str(gpus)
    return k8s.V1ResourceRequirements(
        limits=limits,
        # Memory is asked for whole: a node never promises memory twice.
        requests={"cpu": LITTLE_CPU, "memory": memory},
    )


def _tolerations(gpus: int) -> list[k8s.V1Toleration] | None:
    if not gpus:
        return None
    return [k8s.V1Toleration(key=gpu_resource(os.environ), operator="Exists", effect="NoSchedule")]


def _environment(row: Step, person: Mapping[str, str] | None) -> list[tuple[str, str]]:
    found = told_of(row)
    refuse_passwords(found)
    found |= variables(row) | dict(person or {})
    if row.spools:
        found["TMPDIR"] = SPOOL
    image = image_of(row)
    if BY_DIGEST.fullmatch(image):
        found["IMAGE_DIGEST"] = image
    return list(found.items())
