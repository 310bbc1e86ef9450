"""infra/README.md leads to an installation: its commands are whole and in order.

Without a cluster: those that make secrets run for real, the others are parsed by kubectl."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.pipeline import BESIDE, PIPELINE
from tests.support import kubernetes_place
from tests.support.manifests import KUBECTL, OVERLAYS, of_kind, pods_of, rendered
from tests.support.missing import lacking
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
TEXT = (ROOT / "infra/README.md").read_text()
CLOUD = ROOT / "infra/kubernetes/overlays/cloud"
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "infra/helm/airflow.yaml").read_text())
BLOCKS = re.findall(r"^ *```sh\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)


# What an engineer must write ----------------------------------------------------------------------

PLACEHOLDERS = (
    r"(registry\.example)/",
    r"(sha256:0{64})",
    r"\b(melanoma\.hospital\.example)\b",
    r"ingressClassName: (\S+)",
    r"s3://([\w-]+)/",
    r"AWS_DEFAULT_REGION=(\S+)",
    r"storageClassName: ([\w-]+)",
)


def placeholders(files: dict[str, str]) -> set[tuple[str, str]]:
    """Each placeholder, with the file in which it stands."""
    return {
        (found, name)
        for name, text in files.items()
        for pattern in PLACEHOLDERS
        for found in re.findall(pattern, text)
    }


def files() -> dict[str, str]:
    paths = [*CLOUD.iterdir(), ROOT / "infra/helm/airflow.yaml"]
    return {path.name: path.read_text() for path in paths}


def told() -> set[tuple[str, str]]:
    rows = TEXT.partition("| stands there | in | is |")[2].partition("\n\n")[0].splitlines()
    cells = [row.split("|")[1:3] for row in rows if "`" in row]
    return {
        (re.findall("`(.*?)`", what)[0], file)
        for what, where in cells
        for file in re.findall("`(.*?)`", where)
    }


def test_every_placeholder_of_the_cloud_is_in_the_table() -> None:
    assert told() == placeholders(files())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("ingress.yaml", "X=registry.example/new"),
        ("settings.env", "NEW=s3://hospital-new/x"),
        ("ingress.yaml", "ingressClassName: traefik"),
    ],
)
def test_a_placeholder_that_is_not_in_the_table_would_be_found(name: str, more: str) -> None:
    before = files()
    after = before | {name: f"{before[name]}\n{more}/"}

    assert placeholders(after) != told()


def test_what_ends_in_example_is_a_placeholder() -> None:
    known = {placeholder for placeholder, _ in placeholders(files())}
    for name, text in files().items():
        assert set(re.findall(r"[\w.-]+\.example\b", text)) <= known, name


# Commands -----------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """A machine with the checkout, and a kubectl without a cluster: it prints what it makes."""
    if not KUBECTL.exists():
        lacking("there is no kubectl of today", install="sh locks/kubectl.sh")
    if not shutil.which("openssl"):
        lacking("no openssl", install="apt-get install openssl")
    for name in ("containers", "infra", "tasks", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f'#!/bin/sh\n[ "$1" = create ] || exit 0\nexec >>{tmp_path}/made\necho ---\n'
        f'exec {KUBECTL} "$@" --dry-run=client --output yaml\n'
    )
    kubectl.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def typed(blocks: list[str], machine: dict[str, str]) -> dict[str, set[str]]:
    """Run blocks of commands one after the other; the keys of each secret that they make."""
    done = subprocess.run(
        ["sh", "-euc", "\n".join(blocks)], cwd=machine["HOME"], env=machine,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(Path(machine["HOME"], "made").read_text()) if each]
    assert {each["metadata"]["namespace"] for each in made} == {"melanoma"}
    assert len({each["metadata"]["name"] for each in made}) == len(made), "one made twice"
    return {each["metadata"]["name"]: set(each["data"]) for each in made}


def section(title: str, until: str) -> list[str]:
    part = TEXT.partition(title)[2].partition(until)[0]
    return [block for block in BLOCKS if block in part]


def needed(volumes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Secret and key of each file that volumes hold."""
    for volume in volumes:
        sources = (volume.get("projected") or {}).get("sources", ())
        for each in [volume, *sources]:
            if secret := each.get("secret"):
                items = secret.get("items") or [{"key": "credentials"}]
                name = secret.get("secretName") or secret["name"]
                yield from ((name, item["key"]) for item in items)


def of_overlay(overlay: str) -> Iterator[tuple[str, str]]:
    for _, pod in pods_of(rendered(overlay)):
        yield from needed(pod["spec"].get("volumes", []))
    for ingress in of_kind(rendered(overlay), "Ingress"):
        for each in ingress["spec"]["tls"]:
            yield from ((each["secretName"], key) for key in ("tls.crt", "tls.key"))


def of_steps(overlay: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """What the pods of all steps and commands mount, with the settings of an overlay."""
    kubernetes_place.place(folder)
    kubernetes_place.set_up(patch)
    (settings,) = [each["data"] for each in of_kind(rendered(overlay), "ConfigMap")
                   if each["metadata"]["name"].startswith("melanoma-settings")]  # fmt: skip
    for name, value in settings.items():
        patch.setenv(name, value)
    for row in (*PIPELINE, *BESIDE):
        pod = kubernetes_place.pod_of(kubernetes_place.task(row.name))
        yield from needed(pod["spec"]["volumes"])


def of_chart() -> Iterator[tuple[str, str]]:
    every = [*VALUES["volumes"], *(volume for name in ("scheduler", "apiServer")
                                   for volume in VALUES[name]["extraVolumes"])]  # fmt: skip
    yield from needed(every)
    yield VALUES["data"]["metadataSecretName"], "connection"
    yield VALUES["fernetKeySecretName"], "fernet-key"
    yield VALUES["apiSecretKeySecretName"], "api-secret-key"
    yield VALUES["jwtSecretName"], "jwt-secret"


def test_the_secrets_of_a_trial_are_those_that_its_pods_mount(
    machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = typed(section("**2. Make the secrets.**", "**3. Install**"), machine)
    want = {*of_overlay("trial"), *of_steps("trial", tmp_path / "airflow", monkeypatch)}

    assert {(name, key) for name, key in want if key not in made.get(name, ())} == set()
    assert made.keys() == {name for name, _ in want}


def test_the_secrets_of_a_cloud_are_those_that_its_pods_mount(
    machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = section("**6. Make the secrets.**", "**7. Install**")
    keys = "for user in {}; do echo key >.stack/cloud/s3-keys/$user; done".format(
        " ".join(f"melanoma-{row.name}" for row in (*PIPELINE, *BESIDE))
    )
    made = typed([blocks[0], keys, *blocks[1:]], machine)
    want = {
        *of_overlay("cloud"),
        *of_chart(),
        *of_steps("cloud", tmp_path / "airflow", monkeypatch),
    }

    assert {(name, key) for name, key in want if key not in made.get(name, ())} == set()
    assert made.keys() == {name for name, _ in want}


COMMANDS = {
    line.strip(): None
    for block in BLOCKS
    for line in re.sub(r"\\\n *", "", block).splitlines()
    if line.strip().startswith("kubectl ") and not re.search(r" kustomize |\$|--filename -$", line)
}


@pytest.mark.parametrize("line", COMMANDS)
def test_kubectl_understands_the_command(line: str, tmp_path: Path) -> None:
    """Without a cluster it ends where it would ask one."""
    if not KUBECTL.exists():
        lacking("there is no kubectl of today", install="sh locks/kubectl.sh")
    _, *argv = shlex.split(line.rstrip(" &|"), comments=True)
    if {"secret", "apply"} & set(argv[:2]):
        argv.append("--dry-run=client")
    server = ["--server", "http://127.0.0.1:9", "--request-timeout", "5s"]
    at = argv.index("--") if "--" in argv else len(argv)
    done = subprocess.run(
        [KUBECTL, *argv[:at], *server, *argv[at:]], cwd=ROOT, env={"HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # `stack.sh` makes the files of secrets; the tests above run these commands.
    absent = "no such file or directory" in done.stderr and ".stack/" in line

    assert done.returncode == 0 or absent or "127.0.0.1:9" in done.stderr, done.stderr


def test_a_command_that_kubectl_does_not_understand_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no need to specify a resource type"):
        test_kubectl_understands_the_command(
            "kubectl rollout restart deployment statefulset/s3 --namespace melanoma", tmp_path
        )


def test_what_commands_name_is_there() -> None:
    of_the_chart = {"airflow-api-server", "airflow-dag-processor"}
    made_by_command = {"backup-now"}
    there = {each["metadata"]["name"] for overlay in OVERLAYS for each in rendered(overlay)}
    named = re.findall(
        r"\b(?:service|cronjob|job|deployment|statefulset)/([\w-]+)", "".join(BLOCKS)
    )

    assert set(named) - of_the_chart - made_by_command <= there
    assert {"backup", "s3", "mlflow"} <= set(named)
    for path in re.findall(r"(?<![\w/.-])((?:infra|containers)/[\w./-]+)", "".join(BLOCKS)):
        assert (ROOT / path).exists(), path
