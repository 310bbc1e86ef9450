"""The rules of Kubernetes' pod security standard ``restricted``, for pods as plain JSON.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/, sections Baseline and
Restricted. Each rule is a sentence, and whether a pod keeps it.
"""

from collections.abc import Callable, Iterator
from typing import Any

Pod = dict[str, Any]

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
ADDABLE = {"NET_BIND_SERVICE"}
SECCOMP = {"RuntimeDefault", "Localhost"}


def containers(pod: Pod) -> Iterator[dict[str, Any]]:
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        yield from pod["spec"].get(kind) or ()


def _each(pod: Pod, keeps: Callable[[dict[str, Any]], bool]) -> bool:
    return all(keeps(each.get("securityContext") or {}) for each in containers(pod))


def _of_pod(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"].get("securityContext") or {}
    return found


def _capabilities(context: dict[str, Any]) -> bool:
    known = context.get("capabilities") or {}
    return "ALL" in (known.get("drop") or ()) and set(known.get("add") or ()) <= ADDABLE


def _non_root(pod: Pod) -> bool:
    inherited = _of_pod(pod).get("runAsNonRoot")
    return _each(pod, lambda context: context.get("runAsNonRoot", inherited) is True)


def _not_as_root(pod: Pod) -> bool:
    return _of_pod(pod).get("runAsUser") != 0 and _each(pod, lambda own: own.get("runAsUser") != 0)


def _seccomp(pod: Pod) -> bool:
    inherited = _of_pod(pod).get("seccompProfile") or {}
    return _each(pod, lambda own: (own.get("seccompProfile") or inherited).get("type") in SECCOMP)


RULES: dict[str, Callable[[Pod], bool]] = {
    "no namespace of the host": lambda pod: (
        not any(pod["spec"].get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    ),
    "no privileged container": lambda pod: _each(pod, lambda own: not own.get("privileged")),
    "no escalation of privileges": lambda pod: _each(
        pod, lambda own: own.get("allowPrivilegeEscalation") is False
    ),
    "all capabilities dropped, none added": lambda pod: _each(pod, _capabilities),
    "only volumes of harmless kinds": lambda pod: all(
        volume.keys() - {"name"} <= VOLUMES for volume in pod["spec"].get("volumes") or ()
    ),
    "no port of the host": lambda pod: (
        not any(
            port.get("hostPort") for each in containers(pod) for port in each.get("ports") or ()
        )
    ),
    "as a user that is not root": _non_root,
    "never as user 0": _not_as_root,
    "seccomp": _seccomp,
    "no unmasked /proc": lambda pod: _each(
        pod, lambda own: own.get("procMount", "Default") == "Default"
    ),
    "no sysctl": lambda pod: not _of_pod(pod).get("sysctls"),
}


def broken(pod: Pod) -> list[str]:
    """The rules that a pod breaks."""
    return [rule for rule, keeps in RULES.items() if not keeps(pod)]
