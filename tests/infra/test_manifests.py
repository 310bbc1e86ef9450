"""The manifests of infra/kubernetes are valid, keep the rules of security, and fit the code.

No cluster can be had where these tests run. They check the manifests by the schemas of Kubernetes'
API and by rules; docs/kubernetes.md says what only a cluster can show.
"""

import copy
import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dags.places import pods
from tasks.pipeline import BESIDE, PIPELINE, step_named
from tests.support.manifests import (
    OVERLAYS,
    always_pulled,
    containers_of,
    of_kind,
    pods_of,
    reaches,
    rendered,
    unrestricted,
)
from tests.support.paths import ROOT

VERSIONS = ("1.34.0", "1.37.0")
SECRETS = {
    *("melanoma-services", "melanoma-mlflow", "melanoma-store", "melanoma-tls", "melanoma-signing"),
}
SIGNING = "signing-key.pem public-keys.pem"  # of `tasks keygen`, see infra/README.md
every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(overlay: str, version: str) -> None:
    for each in rendered(overlay):
        kubernetes_validate.validate(each, version, strict=True)


def test_a_misspelt_field_would_be_refused() -> None:
    wrong: Any = copy.deepcopy(of_kind(rendered("trial"), "Deployment")[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Never"

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@every_overlay
def test_every_pod_keeps_the_rules_that_its_namespace_enforces(overlay: str) -> None:
    (namespace,) = of_kind(rendered(overlay), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    found = {name: unrestricted(pod) for name, pod in pods_of(rendered(overlay))}
    assert {name: told for name, told in found.items() if told} == {}
    assert "app" in found


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ("pod", "hostNetwork", True),
        ("pod", "automountServiceAccountToken", True),
        ("pod", "securityContext", {}),
        ("pod", "volumes", [{"name": "engine", "hostPath": {"path": "/"}}]),
        ("container", "securityContext", {}),
        ("container", "ports", [{"containerPort": 80, "hostPort": 80}]),
    ],
)
def test_a_pod_with_more_rights_would_be_found(where: str, field: str, value: Any) -> None:
    pod = copy.deepcopy(next(pod for _, pod in pods_of(rendered("trial"))))
    (pod["spec"] if where == "pod" else pod["spec"]["containers"][0])[field] = value

    assert unrestricted(pod)


@every_overlay
def test_every_container_has_limits_and_one_image(overlay: str) -> None:
    for name, pod in pods_of(rendered(overlay)):
        for each in containers_of(pod):
            assert {"cpu", "memory"} <= each["resources"]["limits"].keys(), name
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys(), name
            assert re.search(r":[\w.-]+$", each["image"]), (name, each["image"])


@every_overlay
def test_no_image_that_was_brought_to_a_node_is_asked_for_at_a_registry(overlay: str) -> None:
    """Without a policy Kubernetes takes `Always` for the tag `latest`."""
    pods_here = list(pods_of(rendered(overlay)))

    assert [(name, each["name"]) for name, pod in pods_here for each in always_pulled(pod)] == []
    assert len(pods_here) >= 3


@pytest.mark.parametrize("policy", [None, "Always"])
def test_an_image_that_is_always_pulled_would_be_found(policy: str | None) -> None:
    pod = copy.deepcopy(next(pod for _, pod in pods_of(rendered("trial"))))
    pod["spec"]["containers"][0]["imagePullPolicy"] = policy

    assert always_pulled(pod) == [pod["spec"]["containers"][0]]


@every_overlay
def test_what_serves_is_asked_whether_it_lives(overlay: str) -> None:
    for each in of_kind(rendered(overlay), "Deployment", "StatefulSet"):
        for container in each["spec"]["template"]["spec"]["containers"]:
            assert "livenessProbe" in container, each["metadata"]["name"]
            if container.get("ports"):
                assert {"startupProbe", "readinessProbe"} <= container.keys()


def test_in_a_cloud_the_app_survives_a_node() -> None:
    names = {kind: {each["metadata"]["name"] for each in of_kind(rendered("cloud"), kind)}
             for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler")}  # fmt: skip
    (scaled,) = of_kind(rendered("cloud"), "HorizontalPodAutoscaler")
    app = next(pod for name, pod in pods_of(rendered("cloud")) if name == "app")

    (deployment,) = [each for each in of_kind(rendered("cloud"), "Deployment")
                     if each["metadata"]["name"] == "app"]  # fmt: skip

    assert names["PodDisruptionBudget"] == {"app", "mlflow"}
    # No two on one node, so a successor may find none before its predecessor is gone.
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert scaled["spec"]["minReplicas"] > 1
    assert (
        "requiredDuringSchedulingIgnoredDuringExecution"
        in (app["spec"]["affinity"]["podAntiAffinity"])
    )


@every_overlay
def test_mlflow_has_its_database_brought_up_and_none_of_an_older_version_beside(
    overlay: str,
) -> None:
    (mlflow,) = [each for each in of_kind(rendered(overlay), "Deployment")
                 if each["metadata"]["name"] == "mlflow"]  # fmt: skip
    spec = mlflow["spec"]["template"]["spec"]
    (migrate,), (server,) = spec["initContainers"], spec["containers"]
    (scripts,) = [each for each in of_kind(rendered(overlay), "ConfigMap")
                  if each["metadata"]["name"].startswith("melanoma-scripts")]  # fmt: skip

    assert mlflow["spec"]["strategy"] == {"type": "Recreate"}
    assert migrate["image"] == server["image"]
    assert migrate["command"][-1].removeprefix("/scripts/") in scripts["data"]


# Who speaks with whom -----------------------------------------------------------------------------

STEP = pods.labels_of(step_named("split"))
SPEAKING = pods.labels_of(step_named("train"))


def labels_of(overlay: str, name: str) -> dict[str, str]:
    found = next(pod for own, pod in pods_of(rendered(overlay)) if own == name)
    labels: dict[str, str] = found["metadata"]["labels"]
    return labels


def test_a_step_reaches_the_store_and_nothing_else() -> None:
    trial = rendered("trial")
    ports = {"s3": 8000, "mlflow": 5000, "postgres": 5432, "app": 8200, "airflow-api": 8080}

    def reached(step: dict[str, str]) -> set[str]:
        return {
            name for name, port in ports.items()
            if reaches(trial, step, labels_of("trial", name), port)
        }  # fmt: skip

    assert reached(STEP) == {"s3"}
    assert reached(SPEAKING) == {"s3", "mlflow"}
    assert not reaches(trial, SPEAKING, None, 443)
    assert not reaches(trial, STEP, STEP, 8000)


def test_in_a_cloud_a_step_reaches_ports_of_the_store_alone() -> None:
    cloud = rendered("cloud")

    assert reaches(cloud, STEP, None, 443)
    assert not reaches(cloud, STEP, None, 80)
    assert not reaches(cloud, STEP, None, 5432)
    assert not reaches(cloud, STEP, labels_of("cloud", "mlflow"), 5000)
    assert reaches(cloud, SPEAKING, labels_of("cloud", "mlflow"), 5000)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("app", "mlflow", 5000),
        ("app", "s3", 8000),
        ("mlflow", "postgres", 5432),
        ("mlflow", "s3", 8000),
        ("backup", "postgres", 5432),
        ("backup", "s3", 8000),
        ("buckets", "s3", 8000),
        ("airflow-api", "postgres", 5432),
        ("airflow-api", "s3", 8000),
        ("airflow-scheduler", "airflow-api", 8080),
        ("airflow-scheduler", "postgres", 5432),
        ("airflow-dag-processor", "mlflow", 5000),
        ("airflow-triggerer", "airflow-api", 8080),
    ],
)
def test_who_needs_whom_reaches_whom(source: str, target: str, port: int) -> None:
    trial = rendered("trial")

    assert reaches(trial, labels_of("trial", source), labels_of("trial", target), port)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [("app", "postgres", 5432), ("s3", "postgres", 5432), ("mlflow", "airflow-api", 8080)],
)
def test_who_does_not_need_whom_does_not(source: str, target: str, port: int) -> None:
    trial = rendered("trial")

    assert not reaches(trial, labels_of("trial", source), labels_of("trial", target), port)


def test_only_the_scheduler_speaks_with_the_cluster() -> None:
    trial = rendered("trial")
    ports = (443, 6443, 8443)  # of the Service; of k3s' and kind's server; of minikube's
    speaking = [
        {n for n, _ in pods_of(trial) if reaches(trial, labels_of("trial", n), None, port)}
        for port in ports
    ]
    tokens = {n for n, pod in pods_of(trial) if "serviceAccountToken" in yaml.safe_dump(pod)}

    assert speaking == [tokens] * 3 == [{"airflow-scheduler"}] * 3


# What fits the rest -------------------------------------------------------------------------------


@every_overlay
def test_the_settings_are_variables_that_something_reads(overlay: str) -> None:
    (settings,) = [
        each for each in of_kind(rendered(overlay), "ConfigMap")
        if each["metadata"]["name"].startswith("melanoma-settings")
    ]  # fmt: skip
    argv = ["git", "grep", "-hoE", r"\b(MELANOMA|MLFLOW|AWS|APP)_[A-Z0-9_]+", "--", "dags", "tasks",
            "containers", "infra/backup.py", "docs"]  # fmt: skip
    read = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)

    assert not settings["data"].keys() - set(read.stdout.split())


@every_overlay
def test_no_secret_stands_in_a_manifest(overlay: str) -> None:
    assert of_kind(rendered(overlay), "Secret") == []
    named = re.findall(
        r"secretName: (\S+)|secret:\n\s+name: (\S+)", yaml.safe_dump_all(rendered(overlay))
    )
    assert {"melanoma-services"} <= {one or other for one, other in named} - {""} <= SECRETS


def test_what_a_job_mounts_may_change() -> None:
    """A Job's template cannot be changed. It goes away by itself, and is then made anew."""
    (job,) = of_kind(rendered("trial"), "Job")

    assert job["spec"]["ttlSecondsAfterFinished"] <= 600


@every_overlay
def test_every_secret_file_is_one_that_the_stack_makes(overlay: str) -> None:
    script = (ROOT / "containers/stack/secrets.sh").read_text()
    text = yaml.safe_dump_all(rendered(overlay))
    for volumes in (pod["spec"].get("volumes", ()) for _, pod in pods_of(rendered(overlay))):
        for volume in volumes:
            sources = [
                each.get("secret", {}) for each in volume.get("projected", {}).get("sources", ())
            ]
            for secret in [volume.get("secret", {}), *sources]:
                for item in secret.get("items", ()):
                    made = SIGNING if secret.get("secretName") == "melanoma-signing" else script
                    assert re.search(rf"\b{item['key']}\b", made), item["key"]
    assert "melanoma-services" in text


def test_airflow_may_do_what_its_operator_asks_for_and_no_more() -> None:
    (role,) = of_kind(rendered("cloud"), "Role")
    allowed = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = re.findall(
        r"\b(create|read|list|patch|delete)_namespaced_(pod_log|pod|event)\b",
        (ROOT / "dags/places/cluster.py").read_text(),
    )
    resources = {"pod": "pods", "pod_log": "pods/log", "event": "events"}

    assert allowed == {(resources[what], verb.replace("read", "get")) for verb, what in asked}
    assert of_kind(rendered("cloud"), "ClusterRole", "ClusterRoleBinding") == []


def test_a_step_of_each_kind_of_machine_finds_nodes() -> None:
    (settings,) = [each for each in of_kind(rendered("cloud"), "ConfigMap")
                   if each["metadata"]["name"] == "melanoma-settings"]  # fmt: skip
    kinds = {row.machine for row in (*PIPELINE, *BESIDE)} - {"small"}

    assert set(yaml.safe_load(settings["data"]["MELANOMA_NODES"])) == kinds
