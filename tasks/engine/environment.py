"""Describe the environment: the program's version, the libraries and their bill of materials, the
machine."""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from tasks.errors import Momentary
from tasks.records.record import sha256

# The build of a container image leaves this file, because the image does not contain the tool that
# makes it.
PREPARED = Path(sys.prefix, "sbom.cdx.json")
# A copy of the lock, left by the program that installed the environment.
LOCK = Path(sys.prefix, "made-from.txt")


def distributions() -> dict[str, str]:
    """Name (as PEP 503 normalizes it) and version of every installed distribution."""
    found = {plain(each.name): each.version for each in metadata.distributions()}
    return dict(sorted(found.items()))


def plain(name: str) -> str:
    """The normalized name of a distribution (PEP 503, for names that are valid)."""
    return name.replace("_", "-").replace(".", "-").lower()


def revision() -> str | None:
    """The commit of this program, with ``-dirty`` if files differ from the commit.

    It comes from the variable REVISION, which a container image sets, or from git; None where
    neither knows the commit.
    """
    given = os.environ.get("REVISION")
    if given and given != "unknown":
        return given
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None


def lock() -> bytes | None:
    """The lock that the libraries were installed from; None without a copy of the lock."""
    return LOCK.read_bytes() if LOCK.is_file() else None


def sbom() -> bytes | None:
    """The bill of materials of the installed libraries, as CycloneDX JSON.

    Returns:
        The file that the build of the container image left; else the output of ``cyclonedx-py``;
        None without either.

    Raises:
        Momentary: ``cyclonedx-py`` failed.
    """
    if PREPARED.is_file():
        return PREPARED.read_bytes()
    if not find_spec("cyclonedx_py"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sbom.cdx.json")
        # Checking its own output would take ten times as long as making it.
        made = subprocess.run(
            [
                *(sys.executable, "-m", "cyclonedx_py", "environment", sys.executable),
                *("--no-validate", "--output-reproducible", "--output-file", str(path)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise Momentary("cyclonedx-py failed:", log=made.stderr.strip()[-500:])
        return path.read_bytes()


def machine() -> str:
    """The hardware of this machine, as far as Linux describes it."""
    processor = platform.machine()
    with suppress(OSError, IndexError):  # ARM names no model
        lines = Path("/proc/cpuinfo").read_text().split("model name\t: ")[1]
        processor = lines.partition("\n")[0]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in path.read_text().splitlines()
        if line.startswith("Model")
    ]
    return ", ".join(
        [
            f"{processor}, {os.cpu_count()} cores, {memory_gib:.0f} GiB",
            *(gpus or ["no NVIDIA GPU"]),
            socket.gethostname(),
        ]
    )


def described(**more: str) -> bytes:
    """The environment, and `more`, as JSON."""
    locked = lock()
    facts = {
        "revision": revision(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "lock_sha256": sha256(locked) if locked else None,
        "image": os.environ.get("IMAGE_DIGEST"),
        "distributions": distributions(),
        **more,
    }
    return json.dumps(facts, indent=1).encode()
