"""Run pods, as the place `kubernetes` renders them, by `podman kube play` on this machine.

Podman is no cluster. `adapted` changes what podman 4.3 cannot do, and nothing else:

- volumes for temporary files become folders of this machine, those of memory with the same limit:
  podman gives an emptyDir neither, and shares it by name between pods;
- secrets become files of the same names in folders: podman knows no projected volume, and does not
  decode a Secret's data;
- the pod stands in the network of this machine, where the servers of the test listen;
- annotations go: podman takes them for labels, of at most 63 letters;
- no image is pulled, not even one that is absent: all were loaded.

Scheduling, tolerations, service accounts, priorities and network policies mean nothing to podman.
"""

import copy
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.missing import lacking
from tests.support.paths import ROOT

# The engine's own limits are higher than what some machines allow.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=4096:4096","nproc=4096:4096"]\n'
Secrets = dict[str, dict[str, str]]  # by name: content by key


@dataclass(frozen=True)
class Ended:
    """A pod that is over.

    Attributes:
        code: Exit code of its container.
        lines: What it printed.
        facts: What podman says of the container.
        seconds: How long the container ran.
    """

    code: int
    lines: list[str]
    facts: dict[str, Any]
    seconds: float


class Podman:
    """Podman, with a configuration of the test.

    Args:
        folder: For files of the test.

    Attributes:
        images: Names of the images that were loaded, with their digests.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.images = folder, set[str]()
        (folder / "containers.conf").write_text(CONFIGURATION)
        self._environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}

    def __call__(self, *argv: str, check: bool = True) -> str:
        done = subprocess.run(
            ["podman", *argv],
            cwd=self.folder,  # where conmon leaves a file if memory ran out
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"podman {argv}: {done.stderr}"
        return done.stdout + done.stderr if argv[0] == "logs" else done.stdout

    def load(self, image: str) -> str:
        """Take an image over from the Docker engine; returns its full name, with its digest."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            loading = ["podman", "load", "--quiet"]
            subprocess.run(loading, env=self._environment, stdin=saved.stdout, check=True)
        found = json.loads(self("image", "inspect", f"localhost/{image}"))[0]
        name = f"localhost/{image.partition(':')[0]}@{found['Digest']}"
        self.images.add(name)
        return name

    def begin(self, pod: dict[str, Any], secrets: Secrets | None = None) -> str:
        """Start a pod; returns the name of its container."""
        name = pod["metadata"]["name"]
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(self.adapted(pod, secrets or {})))
        self("kube", "play", str(file))
        return f"{name}-base"

    def run(self, pod: dict[str, Any], secrets: Secrets | None = None) -> Ended:
        """Run a pod to its end, and remove all of it."""
        try:
            return self.ended(self.begin(pod, secrets))
        finally:
            self.remove(pod)

    def ended(self, container: str) -> Ended:
        """What became of a container, as soon as it is over."""
        begun = time.monotonic()
        code = int(self("wait", container))
        facts = json.loads(self("inspect", container))[0]
        lines = self("logs", container).splitlines()
        seconds = time.monotonic() - begun
        return Ended(code, lines, facts, seconds)

    def remove(self, pod: dict[str, Any]) -> None:
        """Remove a pod and its volumes."""
        name = pod["metadata"]["name"]
        self("pod", "rm", "--force", "--time", "1", name, check=False)
        folder = self.folder / name
        for place in folder.iterdir() if folder.is_dir() else ():
            if place.is_mount():
                subprocess.run(["umount", str(place)], check=True, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)

    def adapted(self, pod: dict[str, Any], secrets: Secrets) -> dict[str, Any]:
        """A pod that podman can run, with its volumes made. See the top of this file."""
        made = copy.deepcopy(pod)
        spec = made["spec"]
        made["metadata"].pop("annotations")
        spec["hostNetwork"] = True
        spec["containers"][0]["imagePullPolicy"] = "Never"
        for volume in spec["volumes"]:
            folder = self._folder(made, volume["name"])
            if scratch := volume.pop("emptyDir", None):
                _scratch(folder, scratch)
            else:
                _written(folder, files_of(volume, secrets))
            for kind in ("secret", "projected"):
                volume.pop(kind, None)
            volume["hostPath"] = {"path": str(folder), "type": "Directory"}
        return made

    def _folder(self, pod: dict[str, Any], volume: str) -> Path:
        folder = self.folder / str(pod["metadata"]["name"]) / volume
        folder.mkdir(parents=True)
        return folder


def _scratch(folder: Path, kind: dict[str, str]) -> None:
    if kind.get("medium") == "Memory":
        size = kind["sizeLimit"].replace("Gi", "g").replace("Mi", "m")
        options = f"size={size},mode=1777,nosuid,nodev"
        argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        subprocess.run(argv, check=True, capture_output=True)
    folder.chmod(0o1777)


def _written(folder: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (folder / path).write_text(content)
        (folder / path).chmod(0o444)


def files_of(volume: dict[str, Any], secrets: Secrets) -> dict[str, str]:
    """The files of a volume of secrets, as a cluster would lay them out.

    Raises:
        KeyError: There is no such secret, or no such key in it.
    """
    if "secret" in volume:
        named = [(volume["secret"]["secretName"], volume["secret"]["items"])]
    else:
        sources = [each["secret"] for each in volume["projected"]["sources"]]
        named = [(source["name"], source["items"]) for source in sources]
    return {item["path"]: secrets[name][item["key"]] for name, items in named for item in items}


def need_podman() -> None:
    """End a test that needs podman where there is none."""
    missing = [program for program in ("podman", "catatonit") if not shutil.which(program)]
    if "podman" in missing or not shutil.which("docker"):
        lacking("no podman", install="apt-get install podman catatonit docker.io")
    if missing and not Path("/usr/libexec/podman/catatonit").exists():
        lacking("no podman", install="apt-get install podman catatonit")
    if os.geteuid() != 0:
        lacking("no podman", install="run as root, whose pods have limits on every system")


def need_images() -> None:
    """Make the images of this working tree in the Docker engine, or end a test where there is none.
    IMAGES_ARE_BUILT=yes takes those that are there."""
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        lacking("no Docker engine answers", install="apt-get install docker.io, and start dockerd")
    if os.environ.get("IMAGES_ARE_BUILT") == "yes":
        return
    argv = [str(ROOT / "containers" / "build.sh"), "data", "train"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the images cannot be built:\n{done.stdout}{done.stderr}"
