"""What an image holds, and what it does not."""

import json
import os
import re
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.pipeline import BESIDE, PIPELINE, Step
from tests.support.paths import ROOT

IMAGES = ("data", "train", "serve", "airflow")
# Megabytes of 10^6 bytes, unpacked.
LIMITS = {"data": 700, "train": 2000, "serve": 700, "airflow": 600}
LARGEST_TEXT = 2_000_000  # bytes; what is larger is compiled
PRIVATE_KEY = re.compile(rb"-----BEGIN (?:RSA |EC |OPENSSH |)PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")
TOOLS = ("pip", "pip3", "uv", "gcc", "cc", "make", "apt", "apt-get", "git", "curl", "wget")

each_image = pytest.mark.parametrize("image", IMAGES)


def name_of(image: str) -> str:
    return f"melanoma-retraining/{image}:latest"


def files_in_layers(client: str, image: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of every layer, also those that a later layer hides; then the configuration."""
    archive = folder / f"{image.replace('/', '-').replace(':', '-')}.tar"
    subprocess.run([client, "save", "--output", str(archive), image], check=True)
    with tarfile.open(archive) as outer:
        for member in outer:
            content = outer.extractfile(member)
            if content is None:
                continue
            if not member.name.endswith("layer.tar"):
                yield member.name, content.read()
                continue
            with tarfile.open(fileobj=content, mode="r|") as layer:
                for file in layer:
                    if file.isfile() and (data := layer.extractfile(file)):
                        yield file.name, data.read()
    archive.unlink()


@pytest.fixture(scope="module")
def client(images: None) -> str:
    """The client of Docker that Debian's engine comes with builds by itself."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"


@each_image
def test_an_image_is_within_its_size(engine: Any, images: None, image: str) -> None:
    size = engine.inspect_image(name_of(image))["Size"] / 1e6

    assert size < LIMITS[image]


@pytest.mark.parametrize("row", [*PIPELINE, *BESIDE], ids=lambda row: row.name)
def test_the_image_of_a_step_holds_what_the_step_imports(client: str, row: Step) -> None:
    said = subprocess.run(
        [client, "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp",
         "--entrypoint", "python", f"melanoma-retraining/{row.image}:latest",
         "-c", f"import tasks.{row.module}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr


@each_image
def test_an_image_runs_as_an_ordinary_user_and_says_what_it_was_made_of(
    engine: Any, images: None, image: str
) -> None:
    config = engine.inspect_image(name_of(image))["Config"]

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == (
        ["/entrypoint"] if image == "airflow" else ["python", "-m", "tasks"]
    )
    assert config["Labels"]["org.opencontainers.image.revision"]
    assert config["Labels"]["org.opencontainers.image.base.digest"].startswith("sha256:")
    assert not [name for name in config["Env"] if re.search("SECRET|TOKEN|PASSWORD|CERT", name)]


@each_image
def test_an_image_holds_no_tool_to_build_or_fetch_with(
    engine: Any, images: None, image: str
) -> None:
    code = f"import shutil; print([tool for tool in {TOOLS} if shutil.which(tool)])"

    assert run_python(engine, image, code) == "[]"


@each_image
def test_tensorflow_is_where_it_is_needed_only(engine: Any, images: None, image: str) -> None:
    code = "from importlib.util import find_spec; print(bool(find_spec('tensorflow')))"

    assert run_python(engine, image, code) == str(image == "train")


def test_airflows_image_reads_the_dags_and_serves_the_pages_of_runs(
    engine: Any, images: None
) -> None:
    code = (
        "import dags.melanoma_retraining as a, dags.melanoma_promotion as b, sys;"
        "from dags.pages.app import pages; pages();"
        "print(sorted({type(task).__name__ for task in vars(a)['steps'].values()}))"
    )
    environment = {"MELANOMA_RUNNER": "docker", "AIRFLOW_HOME": "/dev/shm"}

    assert run_python(engine, "airflow", code, environment).endswith("['Container']")


def run_python(
    engine: Any, image: str, code: str, environment: dict[str, str] | None = None
) -> str:
    """The standard output of code that runs in an image as locked as a step."""
    host = engine.create_host_config(network_mode="none", read_only=True, tmpfs={"/tmp": ""})
    made = engine.create_container(
        name_of(image),
        entrypoint=["python", "-c", code],
        host_config=host,
        environment=environment,
    )
    try:
        engine.start(made["Id"])
        status = engine.wait(made["Id"])["StatusCode"]
        said = engine.logs(made["Id"], stdout=True, stderr=False).decode().strip()
        assert status == 0, engine.logs(made["Id"]).decode()
        return str(said)
    finally:
        engine.remove_container(made["Id"], force=True)


@each_image
def test_no_layer_holds_a_key_or_credentials(client: str, tmp_path: Path, image: str) -> None:
    named, keys = [], []
    for name, data in files_in_layers(client, name_of(image), tmp_path):
        if re.search(r"(^|/)(run/secrets/.|uv\.toml$|pip\.conf$|\.netrc$|\.aws/|\.docker/)", name):
            named.append(name)
        if len(data) < LARGEST_TEXT and PRIVATE_KEY.search(data):
            keys.append(name)

    assert (named, keys) == ([], [])


def test_what_a_build_is_told_in_secret_is_in_no_layer(client: str, tmp_path: Path) -> None:
    # The files of the real build, run anew, but for a lock of one library instead of forty: which
    # libraries are fetched makes no difference to a secret.
    canary = f"canary-{secrets.token_hex(8)}"
    context = copy_of_what_is_built(tmp_path / "context")
    for lock, library in (("uv", "uv"), ("data", "typing-extensions")):
        file = context / "locks" / f"{lock}.txt"
        file.write_text(f"# {secrets.token_hex(8)}\n{pin_of(library, file.read_text())}")
    given = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    for name, text in (("ca", Path(given).read_text()), ("uv", "")):
        (tmp_path / name).write_text(f"# {canary}\n{text}")
    build(
        *(client, context, "data", "melanoma-secret:latest"),
        *("--secret", f"id=ca,src={tmp_path}/ca", "--secret", f"id=uv,src={tmp_path}/uv"),
    )
    try:
        files = dict(files_in_layers(client, "melanoma-secret:latest", tmp_path))
        assert not [name for name, data in files.items() if canary.encode() in data]
        assert "app/tasks/__main__.py" in files  # so that an empty scan is no proof
        assert any(name.endswith("/typing_extensions.py") for name in files)
    finally:
        subprocess.run([client, "rmi", "melanoma-secret:latest"], check=True, capture_output=True)


def pin_of(library: str, lock: str) -> str:
    """The lines of one library in a lock, with its hashes."""
    found = re.search(rf"(?m)^{library}==.*(?:\n    .*)*\n", lock)
    assert found, f"{library} is not in the lock"
    return found[0]


def copy_of_what_is_built(folder: Path) -> Path:
    folder.mkdir()
    for part in ("tasks", "dags", "containers", "locks", ".dockerignore"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
    return folder


def build(client: str, context: Path, target: str, tag: str, *options: str) -> None:
    done = subprocess.run(
        [
            *(client, "build", "--quiet", "--target", target, "--tag", tag, "."),
            *("--file", "containers/steps.Dockerfile"),
            *("--build-arg", f"BASE={os.environ.get('BASE', 'melanoma-base:bookworm')}"),
            *options,
        ],
        cwd=context,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_change_in_tasks_makes_one_layer_anew(client: str, engine: Any, tmp_path: Path) -> None:
    context = copy_of_what_is_built(tmp_path / "context")
    with (context / "tasks" / "evaluation" / "gate.py").open("a") as file:
        file.write("\n# changed\n")
    build(client, context, "train", "melanoma-changed:latest")
    before = engine.inspect_image(name_of("train"))["RootFS"]["Layers"]
    after = engine.inspect_image("melanoma-changed:latest")["RootFS"]["Layers"]
    engine.remove_image("melanoma-changed:latest", force=True)

    assert (before[:-1], before[-1] != after[-1]) == (after[:-1], True)


@each_image
def test_what_an_image_holds_is_listed_as_its_lock_says(images: None, image: str) -> None:
    folder = ROOT / "build" / image
    listed = json.loads((folder / "sbom.cdx.json").read_text())
    lock = (ROOT / "locks" / f"{image}.txt").read_text()
    pins = dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock))

    assert listed["bomFormat"] == "CycloneDX"
    held = {plain(part["name"]): part["version"] for part in listed["components"]}
    assert held == {plain(name): version for name, version in pins.items()}
    licences = (folder / "licences.md").read_text()
    assert len(licences.splitlines()) >= len(pins)


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).casefold()


def test_the_image_for_gpus_differs_in_what_computes_and_in_nothing_else() -> None:
    """It takes gigabytes, and so is built by hand: `containers/build.sh train-gpu`."""
    train, gpu = (
        set(re.findall(r"(?m)^([A-Za-z0-9._-]+)", (ROOT / "locks" / f"{lock}.txt").read_text()))
        for lock in ("train", "train-gpu")
    )
    added, left_out = gpu - train, train - gpu

    assert {"jax", "jax-cuda12-plugin", "nvidia-cudnn-cu12"} <= added
    assert all(re.match("jax|nvidia-", name) for name in added), added
    assert "tensorflow-cpu" in left_out
    assert {"keras", "mlflow-skinny", "boto3", "numpy"} <= gpu & train


def test_the_image_for_gpus_is_made_as_the_others_are(client: str, tmp_path: Path) -> None:
    """The real Dockerfile and target, with a lock of one library."""
    context = copy_of_what_is_built(tmp_path / "context")
    file = context / "locks" / "train-gpu.txt"
    file.write_text(pin_of("typing-extensions", file.read_text()))
    tag = "melanoma-gpu:latest"
    given = os.environ.get("SSL_CERT_FILE")
    build(client, context, "train-gpu", tag, *(["--secret", f"id=ca,src={given}"] if given else []))
    try:
        inspected = json.loads(subprocess.check_output([client, "image", "inspect", tag]))[0]
    finally:
        subprocess.run([client, "rmi", tag], check=True, capture_output=True)
    config = inspected["Config"]

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python", "-m", "tasks"]
    assert {
        "KERAS_BACKEND=jax",
        "JAX_PLATFORMS=cuda",
        "JAX_DEFAULT_MATMUL_PRECISION=highest",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    } <= set(config["Env"])


def test_a_base_with_other_packages_than_those_pinned_is_refused(
    images: object, tmp_path: Path
) -> None:
    pinned = (ROOT / "containers" / "debian.txt").read_text()
    other = tmp_path / "debian.txt"
    other.write_text(re.sub("^bash=.*$", "bash=0.1", pinned, flags=re.MULTILINE))
    asked = {name: value for name, value in os.environ.items() if name != "BASE"}
    refused = subprocess.run(
        ["containers/build.sh", "data"],
        cwd=ROOT,
        env=asked | {"FROZEN": "1", "PACKAGES": str(other)},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 64
    assert "< bash=0.1" in refused.stderr
