"""An image as the engine knows it, with the lists that lie inside of it."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from infra.slsa import DIGITS
from tasks.errors import BadInput

INSIDE = {"lock": "/libraries/made-from.txt", "sbom": "/libraries/sbom.cdx.json"}
REVISION = "org.opencontainers.image.revision"
BASE = "org.opencontainers.image.base.digest"
NOWHERE = "<none>"  # what an engine writes where it knows no name or digest
PUSHED = re.compile(r"(?P<name>[^@\s]+)@(?P<kind>sha256|sha384|sha512):(?P<hex>[0-9a-f]+)")


@dataclass(frozen=True)
class Image:
    """An image as the engine knows it.

    Attributes:
        name: ``data``, ``train`` and so on.
        id: SHA-256 of its configuration, which covers its layers.
        pushed: References by digest in registries, ``NAME@sha256:...``; empty before a push.
        created: When it was built.
        labels: What the build wrote on it.
        engine: Version of the engine.
        lock, sbom: The bytes of both inside the image.
    """

    name: str
    id: str
    pushed: tuple[str, ...]
    created: str
    labels: dict[str, str]
    engine: str
    lock: bytes
    sbom: bytes


class Config(BaseModel):
    """What of an image's configuration is read."""

    labels: dict[str, str] | None = Field(None, alias="Labels")


class Answer(BaseModel):
    """What of the answer of ``docker image inspect`` is read. Engines leave out what is empty."""

    id: Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-f]{64}$")] = Field(alias="Id")
    pushed: tuple[str, ...] | None = Field(None, alias="RepoDigests")
    created: str = Field("", alias="Created")
    config: Config | None = Field(None, alias="Config")


ANSWERS = TypeAdapter(Annotated[tuple[Answer, ...], Field(min_length=1)])


def image_of(name: str, called: str) -> Image:
    """Look at an image on the engine.

    Args:
        name: ``data``, ``train`` and so on.
        called: How images are called, with ``{image}``.

    Raises:
        BadInput: There is no engine, it has no image of this name, or its answer has another form.
    """
    reference = called.replace("{image}", name)
    try:
        found = ANSWERS.validate_json(_docker("image", "inspect", reference))[0]
    except ValidationError as error:
        raise _another_form("the answer of docker image inspect", str(error)) from error
    inside = {
        what: _docker("run", "--rm", "--network", "none", "--entrypoint", "cat", reference, path)
        for what, path in INSIDE.items()
    }
    version = _docker("version", "--format", "{{.Server.Version}}")
    return Image(
        name=name,
        id=found.id.removeprefix("sha256:"),
        pushed=tuple(each for each in found.pushed or () if NOWHERE not in each),
        created=found.created,
        labels=(found.config and found.config.labels) or {},
        engine=version.decode(errors="replace").strip(),
        **inside,
    )


def in_registry(reference: str) -> tuple[str, str, str]:
    """Name, kind of digest and digest of an image in a registry.

    Raises:
        BadInput: It is no reference by a digest.
    """
    found = PUSHED.fullmatch(reference)
    if not found or len(found["hex"]) != DIGITS[found["kind"]]:
        raise _another_form("RepoDigests of the image, as NAME@sha256:...", reference)
    return found["name"], found["kind"], found["hex"]


def read(path: Path) -> bytes:
    """A file that the build left beside an image. Raises `BadInput` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "A file of the image is missing.",
            expected=f"{path.parent.name}/{path.name}",
            received=error.strerror or type(error).__name__,
            do="build the image with containers/build.sh; then make its provenance",
        ) from error


def write(path: Path, data: bytes) -> None:
    """Write a file beside an image. Raises `BadInput` if it cannot be written."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(
            "A file of the image cannot be written.",
            expected=f"a folder that can be written: {path.parent}",
            received=f"{path.name}: {error.strerror or type(error).__name__}",
            do="give the folder to who builds",
        ) from error


def _docker(*arguments: str) -> bytes:
    argv = [os.environ.get("DOCKER") or "docker", *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except (OSError, ValueError) as error:  # no such program, or a name that can be none
        raise BadInput(
            "There is no client of Docker.",
            expected="docker, or the program that DOCKER names",
            received=f"{argv[0]!r}: {getattr(error, 'strerror', None) or error}",
            do="apt-get install docker.io, or give DOCKER=/path/to/docker",
        ) from error
    if done.returncode:
        raise BadInput(
            "The image cannot be looked at.",
            expected="an engine with the image",
            received=done.stderr.decode(errors="replace").strip(),
            do="build it with containers/build.sh, or set NAMES to how it is called",
        )
    return done.stdout


def _another_form(expected: str, received: str) -> BadInput:
    return BadInput(
        "The engine says something of the image that cannot be read.",
        expected=expected,
        received=received,
        do="look at `docker image inspect`; only Docker's own engine was tried",
    )
