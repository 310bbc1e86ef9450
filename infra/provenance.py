"""The provenance of an image: what was built, from which commit, lock and base, by whom.

    python -m infra.provenance make IMAGE ...      after containers/build.sh IMAGE ...
    python -m infra.provenance verify IMAGE ... [--public-key FILE]

IMAGE is ``data``, ``train`` and so on. `make` reads the image on the engine, not what somebody says
about it: its lock and its bill of materials are those that lie inside. It writes to build/IMAGE/

- ``provenance.dsse.json``: an in-toto statement with SLSA provenance, in a DSSE envelope, signed if
  MELANOMA_SIGNING_KEY names a key;
- for an image that a registry holds, with a key, ``image.payload.json`` and ``image.sig``: what
  ``cosign attach signature`` takes.

NAMES in the environment says how the images are called, with ``{image}``; BUILDER is the URI of who
builds. Docker's client is asked, or what DOCKER names.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra import dsse
from infra.slsa import (
    BuildDefinition,
    Builder,
    Metadata,
    Provenance,
    Resource,
    RunDetails,
    Statement,
    Subject,
)
from tasks.engine.signing import KEY, PUBLIC, Keys, keys_here, keys_of
from tasks.errors import BadInput, Corrupt, PipelineError
from tasks.records.record import sha256

ROOT = Path(__file__).parents[1]
BUILD_TYPE = "urn:melanoma-retraining:image:1"  # docs/supply-chain.md says what it means
BUILDER = "urn:melanoma-retraining:containers/build.sh"
NAMES = "melanoma-retraining/{image}:latest"
UNCOMMITTED = "uncommitted changes"
ENVELOPE, PAYLOAD, SIGNATURE = "provenance.dsse.json", "image.payload.json", "image.sig"
# What the build leaves beside an image, and the places of the first two inside of it.
BYPRODUCTS = {
    "sbom.cdx.json": "application/vnd.cyclonedx+json",
    "licences.md": "text/markdown",
    "debian.txt": "text/plain",
}
INSIDE = {"lock": "/libraries/made-from.txt", "sbom": "/libraries/sbom.cdx.json"}


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


def image_of(name: str, called: str) -> Image:
    """Look at an image on the engine. Raises `BadInput` if the engine has none of this name."""
    reference = called.replace("{image}", name)
    found: dict[str, Any] = json.loads(_docker("image", "inspect", reference))[0]
    inside = {
        what: _docker("run", "--rm", "--network", "none", "--entrypoint", "cat", reference, path)
        for what, path in INSIDE.items()
    }
    return Image(
        name=name,
        id=found["Id"].removeprefix("sha256:"),
        pushed=tuple(found["RepoDigests"] or ()),
        created=found["Created"],
        labels=found["Config"]["Labels"] or {},
        engine=_docker("version", "--format", "{{.Server.Version}}").decode().strip(),
        **inside,
    )


def statement_of(image: Image, folder: Path, root: Path = ROOT) -> Statement:
    """The statement about an image that was built from the commit that is checked out.

    Args:
        image: The image.
        folder: What the build left beside the image.
        root: The checkout.

    Raises:
        BadInput: The image was built from something else, or its lists do not belong to it.
    """
    commit = _git(root, "rev-parse", "HEAD")
    described = _git(root, "describe", "--always", "--dirty")
    _same("commit", image.labels.get("org.opencontainers.image.revision"), described)
    lock, file = _lock(image, root), _dockerfile(image.name, root)
    _same("bill of materials", sha256(image.sbom), sha256(_read(folder / "sbom.cdx.json")))
    base = image.labels.get("org.opencontainers.image.base.digest", "")
    dependencies = [
        Resource(name="source", digest={"gitCommit": commit}),
        Resource(name=lock, digest={"sha256": sha256(image.lock)}),
        Resource(name=file, digest={"sha256": sha256(_read(root / file))}),
        Resource(name="base", digest={"sha256": base.removeprefix("sha256:")}),
    ]
    byproducts = tuple(
        Resource(name=name, digest={"sha256": sha256(_read(folder / name))}, mediaType=kind)
        for name, kind in BYPRODUCTS.items()
    )
    return Statement(
        subject=_subjects(image),
        predicate=Provenance(
            buildDefinition=BuildDefinition(
                buildType=BUILD_TYPE,
                externalParameters={"dockerfile": file, "target": image.name, "lock": lock},
                internalParameters={UNCOMMITTED: described.endswith("-dirty")},
                resolvedDependencies=tuple(dependencies),
            ),
            runDetails=RunDetails(
                builder=Builder(
                    id=os.environ.get("BUILDER") or BUILDER, version={"engine": image.engine}
                ),
                # The engine writes nanoseconds, which no clock of Python reads.
                metadata=Metadata(finishedOn=_time(image.created)),
                byproducts=byproducts,
            ),
        ),
    )


def make(image: Image, folder: Path, keys: Keys, root: Path = ROOT) -> str:
    """Write the provenance of an image; returns what was done, in words."""
    payload = statement_of(image, folder, root).as_json()
    (folder / ENVELOPE).write_bytes(dsse.enveloped(payload, keys))
    for name in (PAYLOAD, SIGNATURE):
        (folder / name).unlink(missing_ok=True)
    if not keys.private:
        return f"{image.name}: provenance, unsigned: {KEY} names no key. Anybody can forge it"
    if not image.pushed:
        return (
            f"{image.name}: provenance, signed. The image itself is signed after a push: only a "
            "registry gives the digest that a cluster pulls it by"
        )
    reference, _, digest = image.pushed[0].partition("@")
    signed = dsse.image_payload(reference, digest, sha256(payload))
    (folder / PAYLOAD).write_bytes(signed)
    (folder / SIGNATURE).write_bytes(dsse.signature_of(signed, keys))
    return f"{image.name}: provenance and image {image.pushed[0]}, signed"


def verify(image: Image, folder: Path, keys: Keys) -> list[str]:
    """Check the provenance of an image against the image and what lies beside it.

    Returns:
        What holds, in words, with what was not checked.

    Raises:
        Corrupt: Something does not hold.
    """
    envelope = _read(folder / ENVELOPE)
    payload, signer = dsse.opened(envelope, keys, f"The provenance of {image.name}")
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise _broken(
            "The provenance has another form.", "SLSA provenance v1", str(error)
        ) from error
    said = {each.name: each.digest or {} for each in statement.subject}
    _holds("image", said.get(image.name, {}).get("sha256"), image.id)
    definition = statement.predicate.buildDefinition
    known = {each.name: each.digest or {} for each in definition.resolvedDependencies or ()}
    lock = str(definition.externalParameters.get("lock"))
    _holds("lock", known.get(lock, {}).get("sha256"), sha256(image.lock))
    byproducts = {
        each.name: each.digest or {} for each in statement.predicate.runDetails.byproducts or ()
    }
    for name in BYPRODUCTS:
        _holds(name, byproducts.get(name, {}).get("sha256"), sha256(_read(folder / name)))
    _holds("bill of materials inside", byproducts["sbom.cdx.json"]["sha256"], sha256(image.sbom))
    by = f"signed by the key {signer}" if signer else f"unsigned for all we know: no {PUBLIC}"
    commit = known.get("source", {}).get("gitCommit", "an unknown commit")
    if (definition.internalParameters or {}).get(UNCOMMITTED):
        commit += " with uncommitted changes"
    return [
        f"The provenance of {image.name} holds, {by}.",
        f"Image {image.id[:12]} was built from commit {commit}, {lock}.",
        *_image_signature(image, folder, keys, sha256(payload)),
    ]


def _image_signature(image: Image, folder: Path, keys: Keys, statement: str) -> list[str]:
    if not (folder / SIGNATURE).exists() or not keys.on:
        return ["No signature of the image in a registry was checked."]
    payload, what = _read(folder / PAYLOAD), f"The signature of the image {image.name}"
    dsse.check_image_signature(payload, _read(folder / SIGNATURE), keys, what)
    read = json.loads(payload)
    named = read["critical"]["identity"]["docker-reference"]
    digest = read["critical"]["image"]["docker-manifest-digest"]
    if f"{named}@{digest}" not in image.pushed:
        raise _broken(
            f"{what} is of another image.", " or ".join(image.pushed), f"{named}@{digest}"
        )
    _holds("provenance", read["optional"]["provenance_sha256"], statement)
    return [f"{named}@{digest} is signed."]


# What a statement is made of ------------------------------------------------------------------


def _subjects(image: Image) -> tuple[Subject, ...]:
    pushed = (reference.partition("@sha256:") for reference in image.pushed)
    return (
        Subject(name=image.name, digest={"sha256": image.id}),
        *(Subject(name=name, digest={"sha256": digest}) for name, _, digest in pushed),
    )


def _dockerfile(name: str, root: Path) -> str:
    """The file that has the image among its targets."""
    target = re.compile(rf"(?m)^FROM .* AS {re.escape(name)}$")
    for file in sorted((root / "containers").glob("*.Dockerfile")):
        if target.search(file.read_text()):
            return f"containers/{file.name}"
    raise _another("Dockerfile", f"a file with the target {name}", "none in containers/")


def _lock(image: Image, root: Path) -> str:
    """The lock that lies in the image."""
    for file in sorted((root / "locks").glob("*.txt")):
        if file.read_bytes() == image.lock:
            return f"locks/{file.name}"
    raise _another("lock", "one of locks/", f"SHA-256 {sha256(image.lock)}")


def _time(created: str) -> datetime:
    return datetime.fromisoformat(re.sub(r"\.\d+Z?$|Z$", "+00:00", created))


def _docker(*arguments: str) -> bytes:
    argv = [os.environ.get("DOCKER", "docker"), *arguments]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        raise BadInput(
            "The image cannot be looked at.",
            expected="an engine with the image",
            received=done.stderr.decode(errors="replace").strip(),
            do="build it with containers/build.sh, or set NAMES to how it is called",
        )
    return done.stdout


def _git(root: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(root), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadInput(
            "It is not known from which commit the image was built.",
            expected="a git checkout",
            received=done.stderr.strip(),
            do="build in a checkout of the repository",
        )
    return done.stdout.strip()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "A file of the image is missing.",
            expected=f"{path.parent.name}/{path.name}",
            received=error.strerror or type(error).__name__,
            do="build the image with containers/build.sh; then make its provenance",
        ) from error


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise _another(what, str(expected), str(found))


def _another(what: str, expected: str, received: str) -> BadInput:
    return BadInput(
        f"The image was built from another {what}.",
        expected=expected,
        received=received,
        do="build it again from this checkout, then make its provenance",
    )


def _holds(what: str, said: object, found: object) -> None:
    if said != found:
        raise _broken(
            f"The provenance speaks of another {what}.", f"SHA-256 {said}", f"SHA-256 {found}"
        )


def _broken(problem: str, expected: str, received: str) -> Corrupt:
    do = "do not run the image; find out who changed the image or the file"
    return Corrupt(problem, expected=expected, received=received, do=do)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.provenance", description=__doc__)
    parser.add_argument("what", choices=["make", "verify"])
    parser.add_argument("image", nargs="+")
    parser.add_argument("--public-key", type=Path)
    given = parser.parse_args(argv)
    try:
        keys = keys_of(given.public_key) if given.public_key else keys_here()
        for name in given.image:
            image = image_of(name, os.environ.get("NAMES") or NAMES)
            folder = ROOT / "build" / name
            done = (
                [make(image, folder, keys)] if given.what == "make" else verify(image, folder, keys)
            )
            print("\n".join(done))
    except PipelineError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
