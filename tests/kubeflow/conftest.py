"""The pipeline, compiled once."""

from pathlib import Path

import pytest

from tests.support.kubeflow import CLUSTER, compiled


@pytest.fixture(scope="session")
def on_gpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline of a cluster with GPUs, secrets for signing, and nodes by their labels."""
    output = tmp_path_factory.mktemp("kubeflow") / "pipeline.yaml"
    compiled(output, "--gpus", "2", **CLUSTER)
    return output
