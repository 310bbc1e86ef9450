"""The manifests of infra/, as kustomize renders them, and the rules that they must keep."""

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from tests.support.missing import lacking
from tests.support.paths import ROOT
from tests.support.pod_rules import broken

Manifest = dict[str, Any]
KUBECTL = ROOT / ".tools/kubectl"  # `make test` puts it there
OVERLAYS = ("trial", "cloud")


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """The manifests of an overlay."""
    if not KUBECTL.exists():
        lacking("there is no kubectl of today", install="sh locks/kubectl.sh")
    folder = f"infra/kubernetes/overlays/{overlay}"
    argv = [str(KUBECTL), "kustomize", "--load-restrictor", "LoadRestrictionsNone", folder]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return tuple(yaml.safe_load_all(made.stdout))


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in kinds]


def pods_of(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Name and template of every pod that the manifests would make."""
    for each in manifests:
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield each["metadata"]["name"], spec["template"]


def containers_of(pod: Manifest) -> list[Manifest]:
    return [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]


def always_pulled(pod: Manifest) -> list[Manifest]:
    """The containers of a pod that do not start where their image is, but no registry holds it."""
    return [
        each for each in containers_of(pod)
        if each.get("imagePullPolicy") not in ("IfNotPresent", "Never")
    ]  # fmt: skip


def unrestricted(pod: Manifest) -> list[str]:
    """What pod security standard ``restricted`` refuses in a pod, and two things that it allows and
    no pod of ours needs: a mounted token, and a root that can be written to."""
    spec, found = pod["spec"], broken(pod)
    if spec.get("automountServiceAccountToken") is not False:
        found.append("mounts a token")
    for each in containers_of(pod):
        if each.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            found.append(f"{each['name']} may write to its root")
    return found


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "NotIn"
        if labels.get(each["key"]) in each["values"]:
            return False
    return True


def _lets(peers: list[Manifest] | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a rule names a pod with these labels, in the namespace; None for what lies outside
    the cluster."""
    if peers is None:
        return True
    selectors = [each["podSelector"] for each in peers if "podSelector" in each]
    return labels is not None and any(_selects(each, labels) for each in selectors)


def reaches(
    manifests: tuple[Manifest, ...],
    source: Mapping[str, str],
    target: Mapping[str, str] | None,
    port: int,
) -> bool:
    """Whether the network policies let one pod speak with another at a port: out of the one, and
    into the other.

    Args:
        source: Labels of the pod that speaks.
        target: Labels of the other pod; None for an address outside the cluster.
    """
    policies = [each["spec"] for each in of_kind(manifests, "NetworkPolicy")]

    def let(way: str, own: Mapping[str, str], other: Mapping[str, str] | None) -> bool:
        mine = [each for each in policies if _selects(each["podSelector"], own)]
        mine = [each for each in mine if way in each["policyTypes"]]
        peers = {"Egress": "to", "Ingress": "from"}[way]
        return not mine or any(
            _lets(rule.get(peers), other)
            and ("ports" not in rule or port in [each["port"] for each in rule["ports"]])
            for each in mine
            for rule in each.get(way.lower(), ())
        )

    return let("Egress", source, target) and (target is None or let("Ingress", target, source))
