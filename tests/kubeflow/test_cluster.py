"""What the compiler takes from the environment: the same as the place `kubernetes`, or nothing."""

from typing import Any

import pytest

from tasks.errors import BadInput
from tasks.kubeflow.cluster import Cluster, cluster_of
from tasks.kubeflow.pipeline import INPUTS
from tasks.pipeline import row_of
from tests.support.kubeflow import CLUSTER


def cluster(more: dict[str, str] | None = None, gpus: int | None = None) -> Cluster:
    return cluster_of(CLUSTER | (more or {}), gpus=gpus)


@pytest.mark.parametrize("kind", ["store", "mlflow", "signing"])
def test_each_step_may_have_a_secret_of_its_own(kind: str) -> None:
    found: Any = cluster({f"MELANOMA_{kind.upper()}_SECRET": f"{kind}-{{step}}"})
    of = getattr(found, f"{kind}_secret")

    assert of(row_of("check_balance")) == f"{kind}-check-balance"
    assert of(INPUTS) == f"{kind}-inputs"


def test_without_names_the_secrets_have_the_names_of_the_documentation() -> None:
    found = cluster({"MELANOMA_SIGNING_SECRET": ""})
    train = row_of("train")

    assert found.store_secret(train) == "melanoma-store"
    assert found.mlflow_secret(train) == "melanoma-mlflow"
    assert found.signing_secret(train) == ""


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MELANOMA_STORE_SECRET", "store-{stage}"),
        ("MELANOMA_MLFLOW_SECRET", "a b"),
        ("MELANOMA_SIGNING_SECRET", " "),
        ("MELANOMA_IMAGE_PULL_SECRET", "a,b"),
        ("MELANOMA_GPU_RESOURCE", "memory"),
        ("MELANOMA_SIGNING_FILES", "signing-key.pem,public-keys.pem"),
        ("MELANOMA_STORE", "/data/store"),
        ("MELANOMA_STORE", "http://s3/bucket"),
        ("MELANOMA_STORE", "s3://"),
        ("MELANOMA_STORE", "s3://me:geheim@bucket/x"),
        ("MELANOMA_STORE", "s3://b/{{$.x}}"),
        ("MELANOMA_STORE", "s3://b/$(HOME)"),
        ("MELANOMA_STORE", 's3://b/x: yes #"\nz'),
        ("AWS_ENDPOINT_URL", "http://s3/{{workflow.name}}"),
    ],
)
def test_what_the_cluster_would_take_for_something_else_is_refused(
    variable: str, value: str
) -> None:
    with pytest.raises(BadInput, match=variable):
        cluster({variable: value}, 1)


@pytest.mark.parametrize("store", ["s3://bucket", "s3://bucket/prefix/", "s3://my_b.1/a/b=c"])
def test_a_store_on_s3_is_the_default_that_the_pipeline_offers(store: str) -> None:
    assert cluster({"MELANOMA_STORE": store}).store == store.rstrip("/")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_TRACKING_URI", "http://melanoma:pw-geheim@mlflow:5000"),
        ("MLFLOW_TRACKING_URI", "http://mlflow:5000/?api_key=pw-geheim"),
        ("AWS_ENDPOINT_URL", "http://s3?token=pw-geheim"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_told(variable: str, value: str) -> None:
    with pytest.raises(BadInput, match="would see a password") as raised:
        cluster({variable: value})
    assert variable in str(raised.value)
    assert "geheim" not in str(raised.value)


def test_gpus_of_airflow_are_refused_unless_the_option_says_how_many() -> None:
    with pytest.raises(BadInput, match="MELANOMA_GPUS=2"):
        cluster({"MELANOMA_GPUS": "2"})
    assert cluster({"MELANOMA_GPUS": "2"}, 2).gpus == 2
    assert cluster({"MELANOMA_GPUS": "2"}, 0).gpus == 0
    assert cluster().gpus == 0


@pytest.mark.parametrize(
    "variable",
    ["MELANOMA_SIGNING_KEY", "MELANOMA_SIGNING_CONNECTION", "MELANOMA_PUBLIC_KEY",
     "MELANOMA_SIGNING_PASSPHRASE_FILE", "MELANOMA_SIGNING_FILES"],
)  # fmt: skip
def test_who_signs_elsewhere_signs_here_or_is_told(variable: str) -> None:
    key = {variable: "signing-key.pem"}
    with pytest.raises(BadInput, match=f"(?s)MELANOMA_SIGNING_SECRET.*{variable}"):
        cluster({"MELANOMA_SIGNING_SECRET": ""} | key)
    assert cluster({"MELANOMA_SIGNING_SECRET": "melanoma-signing"} | key)


def test_kubernetes_finds_nothing_to_replace_in_a_variable() -> None:
    found = cluster({"AWS_ENDPOINT_URL": "http://s3/$(HOME)"}).environment_of(row_of("split"))

    assert found["AWS_ENDPOINT_URL"] == "http://s3/$$(HOME)"
