"""The environment of kfp, and the pipeline that it compiles, for tests."""

import fcntl
import os
import subprocess
from pathlib import Path

from tests.support.missing import lacking
from tests.support.paths import ROOT

FOLDER = ROOT / ".kubeflow"
LOCK = ROOT / "locks" / "kubeflow.txt"
DIGEST = "sha256:" + "0123456789abcdef" * 4
# A cluster that uses all that the compiler knows.
CLUSTER = {
    "MELANOMA_IMAGES": "registry.example/melanoma/{image}@" + DIGEST,
    "MELANOMA_NODES": '{"gpu": {"pool": "gpu"}, "large": {"pool": "large"}}',
    "MELANOMA_SIGNING_SECRET": "melanoma-signing",
    "MELANOMA_IMAGE_PULL_SECRET": "registry",
    "AWS_ENDPOINT_URL": "http://s3.melanoma:8000",
    "MLFLOW_TRACKING_URI": "http://mlflow.melanoma:5000",
    # What a process may hold, and a pipeline may not.
    "AWS_SECRET_ACCESS_KEY": "s3cret-of-the-store",
    "MLFLOW_TRACKING_PASSWORD": "s3cret-of-mlflow",
}
GOLDEN = ROOT / "tests" / "kubeflow" / "pipeline.golden.yaml"


def kfp_python() -> Path:
    """The Python of kfp's environment, made from its lock as `make kubeflow` makes it."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (build / "kubeflow.lock").open("w") as turn:  # of the processes of one test run
        fcntl.flock(turn, fcntl.LOCK_EX)
        made_from = FOLDER / "made-from.txt"
        if not made_from.exists() or made_from.read_bytes() != LOCK.read_bytes():
            argv = ["sh", "locks/environment.sh", "locks/kubeflow.txt", ".kubeflow/made-from.txt"]
            made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
            if made.returncode:
                last = (made.stderr.strip().splitlines() or ["no reason"])[-1]
                lacking(f"kfp's environment cannot be made ({last})", install="make kubeflow")
    return FOLDER / "bin" / "python"


def command(
    *options: str, python: Path | str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tasks`` with only these variables beside the system's own."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [python, "-m", "tasks", *options],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def compiled(output: Path, *options: str, **variables: str) -> str:
    """The pipeline for a cluster, as kfp writes it."""
    done = command(
        *("kubeflow", "--output", str(output), *options), python=kfp_python(), **variables
    )
    assert done.returncode == 0, done.stderr
    return output.read_text()
