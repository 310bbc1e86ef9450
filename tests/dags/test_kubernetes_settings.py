"""A wrong setting of the place `kubernetes` is refused before anything runs."""

import pytest

from tasks.errors import BadInput
from tests.support import kubernetes_place
from tests.support.kubernetes_place import pod_of, task

pytestmark = pytest.mark.usefixtures("kubernetes_settings")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MELANOMA_IMAGES", "registry.example/{image}:latest", "a name without a digest"),
        ("MELANOMA_IMAGES", "", "no such variable"),
        ("MELANOMA_GPUS", "all", "MELANOMA_GPUS=all"),
        ("MELANOMA_GPUS", "0", "MELANOMA_GPUS=0"),
        ("MELANOMA_NODES", "pool=gpu", "MELANOMA_NODES=pool=gpu"),
        ("MELANOMA_NODES", '{"tiny": {}}', "tiny"),
        ("MELANOMA_NODES", '{"gpu": {"pool": 1}}', "MELANOMA_NODES"),
        ("MELANOMA_SPOOL_LIMIT", "much", "MELANOMA_SPOOL_LIMIT=much"),
        ("MELANOMA_POD_START_MINUTES", "0", "MELANOMA_POD_START_MINUTES=0"),
        ("MLFLOW_TRACKING_URI", "http://me:pass@mlflow:5000", "MELANOMA_MLFLOW_SECRET"),
        ("MELANOMA_NAMESPACE", "a.b", "MELANOMA_NAMESPACE='a.b'"),
        ("MELANOMA_SERVICE_ACCOUNT", " ", "MELANOMA_SERVICE_ACCOUNT=' '"),
        ("MELANOMA_PRIORITY_CLASS", "Steps", "MELANOMA_PRIORITY_CLASS='Steps'"),
        ("MELANOMA_IMAGE_PULL_SECRET", "a,b", "MELANOMA_IMAGE_PULL_SECRET='a,b'"),
        ("MELANOMA_STORE_SECRET", "store-{stage}", "MELANOMA_STORE_SECRET='store-{stage}'"),
        ("MELANOMA_MLFLOW_SECRET", " ", "MELANOMA_MLFLOW_SECRET=' '"),
        ("MELANOMA_SIGNING_SECRET", "a_b", "MELANOMA_SIGNING_SECRET='a_b'"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_runs(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task("train")
    kubernetes_place.set_up(monkeypatch, **{variable: value})

    with pytest.raises(BadInput, match=said) as raised:
        task("train")
    assert "Do:" in str(raised.value)
    assert "pass@" not in str(raised.value)


def test_files_to_sign_with_that_there_are_not_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"MELANOMA_SIGNING_SECRET": "sign", "MELANOMA_SIGNING_FILES": "key.pem"}
    kubernetes_place.set_up(monkeypatch, **names)

    with pytest.raises(BadInput, match=r"MELANOMA_SIGNING_FILES=key\.pem"):
        task("split")


def test_a_name_of_a_device_is_checked_where_a_step_gets_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kubernetes_place.set_up(monkeypatch, MELANOMA_GPUS="1", MELANOMA_GPU_RESOURCE="memory")

    with pytest.raises(BadInput, match="MELANOMA_GPU_RESOURCE=memory"):
        task("train")


@pytest.mark.parametrize(
    "variable",
    ["MELANOMA_SIGNING_KEY", "MELANOMA_SIGNING_CONNECTION", "MELANOMA_PUBLIC_KEY",
     "MELANOMA_SIGNING_PASSPHRASE_FILE", "MELANOMA_SIGNING_FILES"],
)  # fmt: skip
def test_where_airflow_signs_its_pods_sign_or_the_setting_is_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod sees no key of Airflow's; it would sign nothing, and nobody would notice."""
    kubernetes_place.set_up(monkeypatch, **{variable: "signing-key.pem"})
    with pytest.raises(BadInput, match=f"(?s)MELANOMA_SIGNING_SECRET.*{variable}"):
        task("train")

    monkeypatch.setenv("MELANOMA_SIGNING_SECRET", "melanoma-signing")
    variables = pod_of(task("train"))["spec"]["containers"][0]["env"]
    assert {"name": "MELANOMA_SIGNING_KEY", "value": "/run/secrets/signing-key.pem"} in variables
