"""The compiled pipeline, run by kfp's own local runner on the real images. What happened is read
from the records alone: kfp's runner can take a container that failed for one that did well."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from demo.engine import NETWORK, give_to_containers
from tasks.config import Retraining
from tasks.engine.run import open_run
from tasks.pipeline import PIPELINE
from tests.real.containers.conftest import (  # noqa: F401 - fixtures
    delivery,
    engine,
    gateway,
    mlflow,
)
from tests.real.containers.conftest import images as built_images  # noqa: F401
from tests.support.campaigns import found
from tests.support.environments import of_a_container
from tests.support.kubeflow import compiled, kfp_python
from tests.support.paths import ROOT

STEPS = [step.name for step in PIPELINE]
REPEATABLE = STEPS[: STEPS.index("register")]  # evidence holds times
# Two parts and two recipes, so that both loops have something to do.
CONFIG: dict[str, Any] = {
    "image_size": 32,
    "packed_size": 48,
    "minimum_groups": 3,
    "parts": 2,
    "recipes": ["baseline", "balanced"],
    "epochs": 1,
}
RUNNER = str(ROOT / "tests" / "support" / "kubeflow_runner.py")
IMAGES = os.environ.get("MELANOMA_IMAGES") or "melanoma-retraining/{image}:latest"


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> None:
    """The images of this working tree, unless MELANOMA_IMAGES names others."""
    if not os.environ.get("MELANOMA_IMAGES"):
        request.getfixturevalue("built_images")


class Ran:
    """A run of the pipeline by kfp, beside one by a process on the same delivery."""

    def __init__(self, folder: Path, delivery: Path, mlflow: str) -> None:  # noqa: F811
        self.mlflow, self.folder = mlflow, folder
        self.kubeflow, self.process = folder / "kubeflow", folder / "process"
        for store in (self.kubeflow, self.process):
            shutil.copytree(delivery, store)
        give_to_containers(self.kubeflow)
        compiled(folder / "pipeline.yaml", MELANOMA_IMAGES=IMAGES, MELANOMA_IMAGES_BY_TAG="yes")

    def by_kfp(self, **config: Any) -> tuple[str, str, float]:
        """The name of the run, kfp's output, and its seconds."""
        root = self.folder / "outputs"
        root.mkdir(exist_ok=True)
        root.chmod(0o777)  # the containers' user writes outputs there
        before = self.runs()
        runner = {
            "network": NETWORK,
            "user": f"{self.kubeflow.stat().st_uid}:{self.kubeflow.stat().st_gid}",
            "read_only": True,
            "tmpfs": {"/tmp": "mode=1777,size=1024m"},
            "environment": {"MLFLOW_TRACKING_URI": self.mlflow, "TMPDIR": "/tmp"},
            "mounts": [
                {"Target": str(self.kubeflow), "Source": str(self.kubeflow), "Type": "bind"}
            ],
        }
        # kfp's local runner, unlike a cluster, cannot leave a parameter out.
        fields = json.loads(Retraining().model_dump_json()) | CONFIG | config
        given = {"store": str(self.kubeflow), **fields}
        argv = [RUNNER, str(self.folder / "pipeline.yaml"), json.dumps(given), json.dumps(runner)]
        began = time.monotonic()
        done = subprocess.run(
            [kfp_python(), *argv, str(root)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        (self.folder / "kfp.log").write_text(done.stdout + done.stderr)
        (name,) = self.runs() - before
        return name, done.stdout + done.stderr, time.monotonic() - began

    def by_process(self, name: str, **config: Any) -> None:
        """Run all steps with a registry of their own: the other one knows kfp's model."""
        argv = ["-m", "tasks", "run", "--store", str(self.process), "--name", name]
        argv += ["--config", json.dumps(CONFIG | config)]
        environment = of_a_container()
        environment.pop("MLFLOW_TRACKING_URI", None)
        subprocess.run([sys.executable, *argv], cwd=ROOT, env=environment, check=True)

    def runs(self) -> set[str]:
        folder = self.kubeflow / "runs"
        return {each.name for each in folder.iterdir()} if folder.is_dir() else set()

    def record(self, store: Path, name: str, step: str) -> Any:
        return open_run(f"{store}/runs/{name}", Retraining()).record(step)


@pytest.fixture(scope="module")
def ran(delivery: Path, mlflow: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:  # noqa: F811
    return Ran(tmp_path_factory.mktemp("kubeflow"), delivery, mlflow)


def test_kfps_runner_commits_the_records_that_a_process_commits(ran: Ran) -> None:
    name, said, seconds = ran.by_kfp(policy="smoke")
    ran.by_process("same", policy="smoke")

    kinds = {}
    for step in STEPS:
        record = ran.record(ran.kubeflow, name, step)
        assert record is not None, f"{step} did not happen:\n{said[-3000:]}"
        same = record.content_hash == ran.record(ran.process, "same", step).content_hash
        kinds[step] = "equal" if same else "differs"
    assert (ran.kubeflow / "runs" / name / "report.html").exists()
    found(
        "kubeflow",
        {
            "a model that passes": {
                "steps": len(STEPS),
                "seconds": round(seconds),
                "kfp said": "done" if "kfp: done" in said else "failed",
                "records equal to a process": ", ".join(s for s in STEPS if kinds[s] == "equal"),
                "records that differ": ", ".join(s for s in STEPS if kinds[s] != "equal"),
            }
        },
    )
    assert {kinds[step] for step in REPEATABLE} == {"equal"}, kinds
    parts = ran.record(ran.kubeflow, name, "ingest").provenance.parts
    assert sorted(parts) == ["1-of-2", "2-of-2"]


def test_a_refused_model_ends_well_without_a_registration(ran: Ran) -> None:
    name, said, seconds = ran.by_kfp(policy="synthetic")

    verdict = ran.record(ran.kubeflow, name, "gate")
    assert verdict is not None, said[-3000:]
    assert verdict.decision != "pass"
    assert ran.record(ran.kubeflow, name, "register") is None
    assert (ran.kubeflow / "runs" / name / "evidence").is_dir()  # of the refusal
    assert (ran.kubeflow / "runs" / name / "report.html").exists()
    assert "kfp: done" in said
    found(
        "kubeflow",
        {
            "a model that is refused": {
                "steps": len(STEPS),
                "seconds": round(seconds),
                "kfp said": "done",
                "verdict": verdict.decision,
            }
        },
    )


def test_a_configuration_that_is_wrong_ends_before_any_step(ran: Ran) -> None:
    before = ran.runs()
    with pytest.raises(ValueError, match="not enough values"):  # no run began
        ran.by_kfp(image_size=4)

    assert ran.runs() == before
    said = (ran.folder / "kfp.log").read_text()
    assert "The configuration is not valid" in said
    assert "kfp: done" not in said
