"""Each pod of a step, as the operator renders it: by Kubernetes' own schemas, and by our laws."""

import copy
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate import ValidationError, validate

from tasks.pipeline import BESIDE, PIPELINE, Step
from tests.support import kubernetes_place
from tests.support.fake_cluster import FakeCluster, NodePod
from tests.support.kubernetes_place import DIGEST, STORE, pod_of, task
from tests.support.manifests import always_pulled
from tests.support.pod_rules import RULES, broken

pytestmark = pytest.mark.usefixtures("kubernetes_settings")
VERSIONS = ("1.37", "1.34")  # the newest that the schemas know, and one about a year older
ROWS = (*PIPELINE, *BESIDE)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
each_version = pytest.mark.parametrize("version", VERSIONS)


def base(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in base(pod)["env"]}


def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that adds something to a pod."""
    kubernetes_place.set_up(
        monkeypatch,
        MELANOMA_SIGNING_SECRET="sign-{step}",
        MELANOMA_SIGNING_FILES="signing-key.pem,signing-passphrase,public-keys.pem",
        MELANOMA_GPUS="2",
        MELANOMA_NODES='{"gpu": {"pool": "gpu"}, "large": {"pool": "large"}}',
        MELANOMA_PRIORITY_CLASS="steps",
        MELANOMA_IMAGE_PULL_SECRET="registry",
        AWS_REGION="eu-central-1",
    )


# By schema ---------------------------------------------------------------------------------------


def test_the_schemas_are_of_the_versions_that_are_asked_for() -> None:
    known = {path.split("-")[0] for path in _schemas()}

    assert {f"v{version}.0" for version in VERSIONS} <= known
    assert max(known, key=lambda each: int(each.split(".")[1])) == f"v{VERSIONS[0]}.0"


def _schemas() -> list[str]:
    from importlib.resources import files

    folder = files("kubernetes_validate").joinpath("kubernetes-json-schema")
    return [each.name for each in folder.iterdir()]


@each_version
@each_row
@pytest.mark.parametrize("much", [False, True])
def test_the_pod_of_each_row_is_valid(
    row: Step, version: str, much: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if much:
        everything(monkeypatch)
    pod = pod_of(task(row.name))

    assert validate(pod, version, strict=True) == version
    assert broken(pod) == []


@each_version
def test_the_pod_of_a_part_is_valid_and_ends_with_the_part(version: str) -> None:
    from airflow.sdk import DAG, XComArg

    with DAG("parts", schedule=None):
        from dags.places.kubernetes import task_of

        names = XComArg(task_of("report", "--run", f"{STORE}/runs/a"))
        mapped: Any = task_of("ingest", "--run", f"{STORE}/runs/a", parts=names)
    one, other = (mapped.unmap({"part": part}) for part in ("1-of-2", "2-of-2"))
    for each in (one, other):
        each.render_template_fields({"task": each})
    pods = [pod_of(one), pod_of(other)]

    assert {validate(pod, version, strict=True) for pod in pods} == {version}
    assert base(pods[1])["args"][-2:] == ["--part", "2-of-2"]
    assert pods[0]["metadata"]["name"] != pods[1]["metadata"]["name"]
    assert mapped.task_id == "ingest_part"


def wrong_type(pod: dict[str, Any]) -> None:
    base(pod)["resources"]["limits"]["memory"] = {"Mi": 8192}


def unknown_field(pod: dict[str, Any]) -> None:
    base(pod)["securityContext"]["readOnlyRootFileSystem"] = True


def misplaced(pod: dict[str, Any]) -> None:
    pod["spec"]["resources_limits"] = {}


def without_a_name(pod: dict[str, Any]) -> None:
    del base(pod)["name"]


@each_version
@pytest.mark.parametrize("spoil", [wrong_type, unknown_field, misplaced, without_a_name])
def test_a_pod_made_wrong_is_refused_by_the_schema(spoil: Any, version: str) -> None:
    pod = pod_of(task("train"))
    spoil(pod)

    with pytest.raises(ValidationError):
        validate(pod, version, strict=True)


# By the rules of pod security --------------------------------------------------------------------

SPOILED: dict[str, dict[str, Any]] = {
    "no namespace of the host": {"spec": {"hostNetwork": True}},
    "no privileged container": {"own": {"privileged": True}},
    "no escalation of privileges": {"own": {"allowPrivilegeEscalation": None}},
    "all capabilities dropped, none added": {"own": {"capabilities": {"drop": ["NET_RAW"]}}},
    "only volumes of harmless kinds": {
        "spec": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}
    },
    "no port of the host": {"container": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    "as a user that is not root": {"own": {"runAsNonRoot": False}},
    "never as user 0": {"own": {"runAsUser": 0}},
    "seccomp": {"own": {"seccompProfile": {"type": "Unconfined"}}},
    "no unmasked /proc": {"own": {"procMount": "Unmasked"}},
    "no sysctl": {"security": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "0"}]}},
}


@pytest.mark.parametrize("rule", RULES)
def test_a_pod_that_breaks_a_rule_would_be_noticed(rule: str) -> None:
    pod = copy.deepcopy(pod_of(task("ingest")))
    places = {
        "spec": pod["spec"],
        "container": base(pod),
        "own": base(pod)["securityContext"],
        "security": pod["spec"]["securityContext"],
    }
    for where, change in SPOILED[rule].items():
        places[where].update(change)

    assert broken(pod) == [rule]


@each_row
def test_a_pod_has_no_rights_in_the_cluster_and_no_writable_root(row: Step) -> None:
    pod = pod_of(task(row.name))
    spec, own = pod["spec"], base(pod)["securityContext"]

    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "melanoma-step"
    assert spec["enableServiceLinks"] is False
    assert own["readOnlyRootFilesystem"] is True
    user = {spec["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert user == {65532}
    assert spec["restartPolicy"] == "Never"
    assert [each["name"] for each in spec["containers"]] == ["base"]  # no sidecar
    assert not spec["initContainers"]
    assert always_pulled(pod) == []  # a trial's images lie on the node, and in no registry


# What the table says -----------------------------------------------------------------------------


@each_row
def test_limits_and_scratch_are_those_of_the_row(row: Step) -> None:
    pod = pod_of(task(row.name))
    limits, requests = (base(pod)["resources"][each] for each in ("limits", "requests"))
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}

    assert limits["memory"] == requests["memory"] == f"{row.memory_mb}Mi"
    assert limits["cpu"] == str(row.cpus)
    assert volumes["tmp"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    assert ("spool" in volumes) == row.spools == (environment(pod).get("TMPDIR") == "/var/tmp")
    if row.spools:
        assert volumes["spool"]["emptyDir"] == {"sizeLimit": "20Gi"}


@each_row
def test_labels_say_which_step_it_is_and_whether_it_may_speak_with_mlflow(row: Step) -> None:
    from dags.credentials import MLFLOW

    pod = pod_of(task(row.name))
    labels = pod["metadata"]["labels"]
    mounts = {each["mountPath"] for each in base(pod)["volumeMounts"]}

    assert labels["app.kubernetes.io/part-of"] == "melanoma-retraining"
    assert labels["app.kubernetes.io/component"] == "step"
    assert labels["melanoma-retraining/step"] == row.name
    assert (labels.get("melanoma-retraining/mlflow") == "true") == row.mlflow
    assert (
        (str(Path(MLFLOW.path).parent) in mounts)
        == row.mlflow
        == ("MLFLOW_TRACKING_URI" in environment(pod))
    )


def test_only_a_step_for_gpus_gets_them_and_goes_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything(monkeypatch)
    train, evaluate, split = (pod_of(task(name)) for name in ("train", "evaluate", "split"))

    assert base(train)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "train-gpu@" in base(train)["image"]
    assert train["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert train["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    for pod, nodes in ((evaluate, {"pool": "large"}), (split, {})):
        assert "nvidia.com/gpu" not in base(pod)["resources"]["limits"]
        assert not pod["spec"]["tolerations"]
        assert pod["spec"]["nodeSelector"] == nodes
    monkeypatch.delenv("MELANOMA_GPUS")
    assert pod_of(task("train"))["spec"]["nodeSelector"] == {"pool": "large"}


def test_secrets_are_files_and_their_values_and_names_stand_in_no_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything(monkeypatch)
    pod = pod_of(task("check_balance"))
    sources = {
        (source["secret"]["name"], item["key"]): item["path"]
        for volume in pod["spec"]["volumes"]
        if volume["name"] == "secrets"
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }

    assert sources == {
        ("melanoma-store", "credentials"): "aws-credentials",
        ("sign-check-balance", "signing-key.pem"): "signing-key.pem",
        ("sign-check-balance", "signing-passphrase"): "signing-passphrase",
        ("sign-check-balance", "public-keys.pem"): "public-keys.pem",
    }
    assert environment(pod) | {"IMAGE_DIGEST": "", "MELANOMA_PERSON": ""} == {
        "AWS_SHARED_CREDENTIALS_FILE": "/run/secrets/aws-credentials",
        "MELANOMA_SIGNING_KEY": "/run/secrets/signing-key.pem",
        "MELANOMA_SIGNING_PASSPHRASE_FILE": "/run/secrets/signing-passphrase",
        "MELANOMA_PUBLIC_KEY": "/run/secrets/public-keys.pem",
        "AWS_ENDPOINT_URL": "http://s3:8000",
        "AWS_REGION": "eu-central-1",
        "IMAGE_DIGEST": "",
        "MELANOMA_PERSON": "",
    }
    assert "envFrom" not in base(pod) or not base(pod)["envFrom"]


# Airflow's page ----------------------------------------------------------------------------------


@each_version
@each_row
def test_the_line_to_type_makes_the_same_pod(
    row: Step, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who types the line is another person than who started the run."""
    everything(monkeypatch)
    made = task(row.name)
    words = shlex.split(made.command_line)
    given = json.loads(words[words.index("--overrides") + 1])
    pod = pod_of(made)

    assert words[:3] == ["kubectl", "run", pod["metadata"]["name"]]
    for each in (given, pod):
        base(each)["env"] = [one for one in base(each)["env"] if one["name"] != "MELANOMA_PERSON"]
    assert given["spec"] == pod["spec"]
    named = {"name": words[2], **given["metadata"]}
    validate({"kind": "Pod", **given, "metadata": named}, version, strict=True)


# Settings -----------------------------------------------------------------------------------------

TYPED = "costs $$5; image $(IMAGE_DIGEST); store $(AWS_ENDPOINT_URL), $HOME and $(NONE)"


def test_kubernetes_changes_nothing_of_what_a_person_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubernetes_place.set_up(monkeypatch, AWS_ENDPOINT_URL="http://s3/$$(A)")
    monkeypatch.setattr("dags.places.kubernetes.variable", lambda _: {"MELANOMA_PERSON": TYPED})
    made = task("rollback", "--store", STORE, "--to", "3", "--reason", TYPED)
    argv, variables = NodePod(FakeCluster(), pod_of(made)).sees()

    assert argv == ["rollback", "--store", STORE, "--to", "3", "--reason", TYPED]
    assert variables["MELANOMA_PERSON"] == TYPED
    assert variables["AWS_ENDPOINT_URL"] == "http://s3/$$(A)"
    by_hand = shlex.split(made.command_line)
    given = json.loads(by_hand[by_hand.index("--overrides") + 1])
    assert NodePod(FakeCluster(), {"metadata": {}, **given}).sees()[0] == argv


def test_a_tag_is_taken_for_a_trial_and_no_record_then_names_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_digest = environment(pod_of(task("split")))["IMAGE_DIGEST"]
    tag = {"MELANOMA_IMAGES": "trial/{image}:latest", "MELANOMA_IMAGES_BY_TAG": "yes"}
    kubernetes_place.set_up(monkeypatch, **tag)
    pod = pod_of(task("split"))

    assert by_digest == f"registry.example/melanoma/data@{DIGEST}"
    assert base(pod)["image"] == "trial/data:latest"
    assert "IMAGE_DIGEST" not in environment(pod)


def test_an_image_of_its_own_goes_before_the_name_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"elsewhere.example/train@{DIGEST}"
    kubernetes_place.set_up(monkeypatch, MELANOMA_IMAGE_TRAIN=own)

    assert base(pod_of(task("gate")))["image"] == own
    assert base(pod_of(task("split")))["image"] != own


def test_a_directory_is_no_store_for_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    made = task("split", "--run", "/srv/store/runs/a")
    with pytest.raises(AirflowFailException, match="MELANOMA_STORE=/srv/store"):
        type(made).execute.__wrapped__(made, {})


def test_a_piece_of_work_has_one_name_and_other_work_has_another() -> None:
    first, again = (pod_of(task("split"))["metadata"]["name"] for _ in range(2))
    others = [pod_of(task("split", "--run", f"{STORE}/runs/b")), pod_of(task("check_balance"))]

    assert first == again
    names = {first, *(pod["metadata"]["name"] for pod in others)}
    assert len(names) == 3
    assert all(len(name) <= 63 and "_" not in name for name in names)
