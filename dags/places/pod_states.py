"""What became of a pod, read from its state as the cluster tells it. Nothing here asks the cluster.

Reasons and conditions are those of Kubernetes' kubelet, scheduler and controllers (pkg/kubelet,
pkg/controller in kubernetes/kubernetes); their texts differ between engines of containers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.exit_codes import of_a_shell, raise_for
from dags.places.pods import CONTAINER
from tasks.errors import BadInput, Halt

# Exit codes that decide: nothing that happened to the node or the pod changes them.
DECIDED = (0, BadInput.exit_code, Halt.exit_code)

# Why a container cannot start, whatever is tried.
NEVER_STARTS = ("InvalidImageName", "ErrImageNeverPull")
PULLING_FAILS = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
# Answers of a registry that a retry would not change. "no such host" is of the moment.
LASTING_ANSWER = re.compile(
    r"(?i)manifest unknown|not ?found|unauthorized|no basic auth credentials|denied"
    r"|insufficient_scope|invalid reference|no match for platform"
)
# A secret, or a key in one, that is not there. It may be on its way from a vault.
ABSENT = re.compile(r"(?i)(secret|configmap|serviceaccount)\b.*\b(not found|non-?existent)")
PATIENCE = 60  # seconds
CANNOT_BE_MADE = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Waiting:
    """Why a pod does not run yet.

    Attributes:
        reason: One line; empty if nothing is wrong so far.
        lasting: Whether waiting longer cannot help.
        patience: Seconds for which a lasting reason may stand before the pod is given up.
    """

    reason: str = ""
    lasting: bool = False
    patience: int = 0


def container_of(pod: Any) -> Any:
    """The status of the step's container; None before the node has taken the pod."""
    found = (pod.status and pod.status.container_statuses) or ()
    return next((each for each in found if each.name == CONTAINER), None)


def terminated(pod: Any) -> Any:
    """How the step's container ended, ``exit_code`` and ``reason``; None if it has not."""
    status = container_of(pod)
    return status.state.terminated if status and status.state else None


def is_over(pod: Any) -> bool:
    """Whether nothing of the pod runs, and nothing will."""
    return terminated(pod) is not None or pod.status.phase in ("Succeeded", "Failed")


def has_begun(pod: Any) -> bool:
    """Whether the step's container runs, or did."""
    status = container_of(pod)
    begun = bool(status and status.state and status.state.running)
    return begun or is_over(pod)


def is_ending(pod: Any) -> bool:
    """Whether somebody deleted the pod, and it still ends."""
    return pod.metadata.deletion_timestamp is not None


def seconds_overdue(pod: Any) -> float:
    """Seconds since the moment by which a deleted pod should be gone; 0 if there is none such."""
    due = pod.metadata.deletion_timestamp
    return max(0.0, (datetime.now(UTC) - due).total_seconds()) if due else 0.0


def waits_for(pod: Any, events: Sequence[Any]) -> Waiting:
    """Why a pod does not run yet.

    Args:
        events: Of this pod, as the cluster tells them: they hold what a back-off leaves out.
    """
    said = [f"{each.reason}: {each.message}" for each in events if each.type == "Warning"]
    status = container_of(pod)
    waiting = status.state.waiting if status and status.state else None
    reason = (waiting and waiting.reason) or ""
    text = f"{reason}: {waiting.message or ''}" if waiting else ""
    if reason in NEVER_STARTS:
        return Waiting(text, lasting=True)
    if reason in PULLING_FAILS:
        pulls = [each for each in said if each.startswith("Failed: Failed to pull")]
        causes = [text, *pulls[-1:]]
        return Waiting(" ".join(causes), any(map(LASTING_ANSWER.search, causes)))
    if reason in CANNOT_BE_MADE:
        return Waiting(text, lasting=True, patience=PATIENCE)
    # A node pulls the image once all secrets are mounted; what was said before is over.
    pulled = any(each.reason in ("Pulling", "Pulled") for each in events)
    absent = [each for each in said if ABSENT.search(each)]
    if absent and not pulled:
        return Waiting(absent[-1], lasting=True, patience=PATIENCE)
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return Waiting(f"{condition.reason}: {condition.message}")
    return Waiting()


def disruption(pod: Any) -> str:
    """What the cluster did to a pod: evicted, preempted, its node lost; empty for nothing."""
    found = [
        f"{condition.reason}: {condition.message or ''}"
        for condition in pod.status.conditions or ()
        if condition.type == "DisruptionTarget" and condition.status == "True"
    ]
    if pod.status.reason:
        found.insert(0, f"{pod.status.reason}: {pod.status.message or ''}")
    if pod.status.phase == "Unknown":
        found.append("Unknown: the node of the pod does not answer")
    return " ".join(found).strip()


def decided(pod: Any) -> bool:
    """Whether a pod ended with an exit code that no new attempt would change."""
    end = terminated(pod)
    return end is not None and end.exit_code in DECIDED


def raise_for_end(pod: Any, last_line: str, out_of_memory: str) -> None:
    """Raise what the end of a pod means to Airflow; nothing if the step is done.

    Args:
        pod: A pod that is over.
        last_line: Last line of its log.
        out_of_memory: What to say where memory ran out.

    Raises:
        AirflowSkipException: Exit code 99.
        AirflowFailException: Exit code 64.
        AirflowException: Anything else; the task is tried again.
    """
    end = terminated(pod)
    if end is not None and end.exit_code in DECIDED:
        raise_for(end.exit_code, last_line)
        return
    if end is not None and end.reason == "OOMKilled":
        raise AirflowException(out_of_memory)
    if happened := disruption(pod):
        code = "" if end is None else f" The container ended with exit code {end.exit_code}."
        raise AirflowException(
            f"The cluster ended the pod. {happened}{code} A retry goes on; a training goes on from "
            "its last checkpoint."
        )
    if end is None:
        raise AirflowException(
            f"The pod is {pod.status.phase} without a word about its container; a retry finds out."
        )
    if end.reason in ("StartError", "ContainerCannotRun"):
        raise AirflowException(f"The container could not be started: {end.message or end.reason}")
    raise_for(of_a_shell(end.exit_code), last_line)


def vanished(pod: Any) -> AirflowException:
    """The error for a pod that went away while somebody followed it, as it was last seen."""
    lost = is_ending(pod)
    what = "does not end; its node may be lost" if lost else "was deleted by somebody, or its node"
    known = f"{disruption(pod)} ".lstrip()
    return AirflowException(
        f"Pod {pod.metadata.name} {what}. {known}How the step ended is not known; a retry finds "
        "out, and a training goes on from its last checkpoint."
    )


def of_the_moment(status: int, said: str = "") -> bool:
    """Whether the same question may get another answer in a while.

    Args:
        status: HTTP status of the answer; 0 where TLS failed.
        said: What TLS said.
    """
    if not status:
        return "CERTIFICATE_VERIFY_FAILED" not in said
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))


def unfollowed(name: str, status: int, said: str) -> AirflowException:
    """The error for a question about a pod that may be there, which the cluster refuses: it ends
    this attempt, and not the pod.

    Args:
        name: Name of the pod.
        status: HTTP status of the answer.
        said: Message of the answer.
    """
    return AirflowException(
        f"The cluster refuses what this attempt asks about pod {name}. The pod goes on, and a "
        "retry finds it.\n"
        f"  Received: HTTP {status}: {said}\n"
        "  Do:       give Airflow's own service account its rights in MELANOMA_NAMESPACE again; or "
        f"end the pod by hand: kubectl delete pod {name}"
    )


def refused(status: int, said: str) -> AirflowException:
    """The error for a new pod that the cluster refuses.

    Args:
        status: HTTP status of the answer.
        said: Message of the answer.
    """
    moment = of_the_moment(status, said) or "exceeded quota" in said
    kind = AirflowException if moment else AirflowFailException
    return kind(
        "The cluster refuses the pod of this step.\n"
        f"  Received: HTTP {status}: {said}\n"
        "  Do:       "
        + (
            "wait until other pods have ended, or raise the quota of the namespace"
            if moment
            else "check MELANOMA_NAMESPACE, MELANOMA_SERVICE_ACCOUNT, MELANOMA_PRIORITY_CLASS and "
            "what Airflow's own service account may do there"
        )
    )
