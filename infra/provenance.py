"""The provenance of an image: what was built, from which commit, lock and base, by whom.

    python -m infra.provenance make IMAGE ...      after containers/build.sh IMAGE ...
    python -m infra.provenance verify IMAGE ... [--public-key FILE]

IMAGE is ``data``, ``train`` and so on. `make` reads the image on the engine, not what somebody says
about it: its lock and its bill of materials are those that lie inside. It writes to build/IMAGE/

- ``provenance.dsse.json``: an in-toto statement with SLSA provenance, in a DSSE envelope, signed if
  MELANOMA_SIGNING_KEY names a key;
- for an image that a registry holds, with a key, ``image.payload.json`` and ``image.sig``: what
  ``cosign attach signature`` takes. Of a second registry they are ``image-2.payload.json`` and
  ``image-2.sig``, and so on.

NAMES in the environment says how the images are called, with ``{image}``; BUILDER is the URI of who
builds, and of who must have built what is verified. Docker's client is asked, or what DOCKER names.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from infra import dsse, registry
from infra.image import BASE, REVISION, Image, image_of, in_registry, read, write
from infra.slsa import (
    BuildDefinition,
    Builder,
    Metadata,
    Provenance,
    Resource,
    RunDetails,
    Statement,
    Subject,
    Uri,
)
from tasks.engine.signing import KEY, PUBLIC, Keys, keys_here, keys_of
from tasks.errors import BadInput, Corrupt, PipelineError
from tasks.records.record import sha256

ROOT = Path(__file__).parents[1]
BUILD_TYPE = "urn:melanoma-retraining:image:1"  # docs/supply-chain.md says what it means
BUILDER = "urn:melanoma-retraining:containers/build.sh"
NAMES = "melanoma-retraining/{image}:latest"
UNCOMMITTED = "uncommitted changes"
ENVELOPE = "provenance.dsse.json"
URI: TypeAdapter[str] = TypeAdapter(Uri)
# What the build leaves beside an image.
BYPRODUCTS = {
    "sbom.cdx.json": "application/vnd.cyclonedx+json",
    "licences.md": "text/markdown",
    "debian.txt": "text/plain",
}


def statement_of(image: Image, folder: Path, root: Path = ROOT) -> Statement:
    """The statement about an image that was built from the commit that is checked out.

    Args:
        image: The image.
        folder: What the build left beside the image.
        root: The checkout.

    Raises:
        BadInput: The image was built from something else, its lists do not belong to it, or what
            the engine, BUILDER or the labels say has no place in a statement.
    """
    commit = _git(root, "rev-parse", "HEAD")
    described = _git(root, "describe", "--always", "--dirty")
    _same("commit", image.labels.get(REVISION), described)
    lock, file = _lock(image, root), _dockerfile(image.name, root)
    _same("bill of materials", sha256(image.sbom), sha256(read(folder / "sbom.cdx.json")))
    dependencies = [
        Resource(name="source", digest={"gitCommit": commit}),
        Resource(name=lock, digest={"sha256": sha256(image.lock)}),
        Resource(name=file, digest={"sha256": sha256(read(root / file))}),
        Resource(name="base", digest={"sha256": _base(image)}),
    ]
    byproducts = tuple(
        Resource(name=name, digest={"sha256": sha256(read(folder / name))}, mediaType=kind)
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
                builder=Builder(id=_builder(), version={"engine": image.engine}),
                metadata=Metadata(finishedOn=_time(image.created)),
                byproducts=byproducts,
            ),
        ),
    )


def make(image: Image, folder: Path, keys: Keys, root: Path = ROOT) -> str:
    """Write the provenance of an image; returns what was done, in words."""
    payload = statement_of(image, folder, root).as_json()
    write(folder / ENVELOPE, dsse.enveloped(payload, keys))
    registry.forget(folder)
    if not keys.private:
        return f"{image.name}: provenance, unsigned: {KEY} names no key. Anybody can forge it"
    if not image.pushed:
        return (
            f"{image.name}: provenance, signed. The image itself is signed after a push: only a "
            "registry gives the digest that a cluster pulls it by"
        )
    registry.sign(image, folder, keys, sha256(payload))
    return f"{image.name}: provenance and image {', '.join(image.pushed)}, signed"


def verify(image: Image, folder: Path, keys: Keys, root: Path = ROOT) -> list[str]:
    """Check the provenance of an image against the image and what lies beside it.

    Args:
        image: The image.
        folder: What the build left beside the image.
        keys: Whose signatures are accepted; without any, none is checked.
        root: The checkout, which is asked for the commit of a tag.

    Returns:
        What holds, in words, with what was not checked.

    Raises:
        BadInput: A file is missing.
        Corrupt: Something does not hold.
    """
    envelope = read(folder / ENVELOPE)
    payload, signer = dsse.opened(envelope, keys, f"The provenance of {image.name}")
    try:
        statement = Statement.model_validate_json(payload)
    except ValidationError as error:
        raise _broken(
            "The provenance has another form.", "SLSA provenance v1", str(error)
        ) from error
    said = [(of.digest or {}).get("sha256") for of in statement.subject if of.name == image.name]
    _holds("image", said, [image.id])
    made_from = _made_from(image, statement.predicate.buildDefinition, root)
    _check_run(image, statement.predicate.runDetails, folder)
    by = f"signed by the key {signer}" if signer else f"unsigned for all we know: no {PUBLIC}"
    return [
        f"The provenance of {image.name} holds, {by}.",
        f"Image {image.id[:12]} was built from commit {made_from}.",
        *registry.verified(image, folder, keys, sha256(payload)),
    ]


def _made_from(image: Image, definition: BuildDefinition, root: Path) -> str:
    """Commit and lock of an image, in words, where all that went into the build is the image's."""
    _holds("kind of build", definition.buildType, BUILD_TYPE)
    _holds("target", definition.externalParameters.get("target"), image.name)
    known = _digests("dependency", definition.resolvedDependencies or ())
    lock = str(definition.externalParameters.get("lock"))
    _holds("lock", known.get(lock, {}).get("sha256"), sha256(image.lock))
    base = image.labels.get(BASE, "").removeprefix("sha256:")
    _holds("base", known.get("base", {}).get("sha256"), base)
    uncommitted = (definition.internalParameters or {}).get(UNCOMMITTED) is True
    return f"{_commit(image, known.get('source', {}), uncommitted, root)}, {lock}"


def _check_run(image: Image, run: RunDetails, folder: Path) -> None:
    """Check who built, and the lists beside the image."""
    _holds("builder than BUILDER names here", run.builder.id, _builder())
    byproducts = _digests("list", run.byproducts or ())
    for name in BYPRODUCTS:
        _holds(name, byproducts.get(name, {}).get("sha256"), sha256(read(folder / name)))
    _holds("bill of materials inside", byproducts["sbom.cdx.json"]["sha256"], sha256(image.sbom))


def _digests(what: str, of: Iterable[Resource]) -> dict[str, dict[str, str]]:
    """Digests by name. Who finds a name twice cannot know which of both holds."""
    found: dict[str, dict[str, str]] = {}
    for each in of:
        name = each.name or ""
        if name in found:
            raise _broken(f"The provenance names a {what} twice.", "each name once", repr(name))
        found[name] = {str(kind): value for kind, value in (each.digest or {}).items()}
    return found


def _commit(image: Image, source: dict[str, str], uncommitted: bool, root: Path) -> str:
    """The commit of a statement, in words, where the image's own label says the same.

    The label is what ``git describe --always --dirty`` says: TAG, TAG-COUNT-gCOMMIT or COMMIT.
    """
    label, commit = image.labels.get(REVISION, ""), source.get("gitCommit", "")
    described = label.removesuffix("-dirty")
    _holds("state of the checkout", f"{uncommitted=}", f"uncommitted={label != described}")
    words = commit + (" with uncommitted changes" if uncommitted else "")
    short = re.fullmatch(r"(?:.+-g)?([0-9a-f]{4,40})", described)
    if short and commit.startswith(short[1]):
        return words
    tagged = _commit_of_tag(described, root)
    if tagged == "" and commit and described and not short:
        return f"{words} (no checkout here knows the image's {described!r}: not compared)"
    _holds("commit", commit, tagged or described or None)
    return words


def _commit_of_tag(tag: str, root: Path) -> str:
    """The commit of a tag; empty where no checkout knows it."""
    try:
        return _git(
            root, "rev-parse", "--verify", "--end-of-options", f"refs/tags/{tag}^{{commit}}"
        )
    except BadInput:
        return ""


# What a statement is made of ------------------------------------------------------------------


def _subjects(image: Image) -> tuple[Subject, ...]:
    pushed = [in_registry(reference) for reference in image.pushed]
    return (
        Subject(name=image.name, digest={"sha256": image.id}),
        *(Subject.model_validate({"name": name, "digest": {k: d}}) for name, k, d in pushed),
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
    """When it was built, in whole seconds: the engine writes nanoseconds."""
    expected = "the time at which the image was built, with its zone"
    try:
        time = datetime.fromisoformat(created).replace(microsecond=0)
    except ValueError as error:
        raise _unfit(expected, created or "none") from error
    if time.tzinfo is None:
        raise _unfit(expected, created)
    return time


def _base(image: Image) -> str:
    label = image.labels.get(BASE, "")
    found = re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", label)
    if not found:
        raise _unfit(f"the label {BASE} of containers/build.sh, sha256:...", label or "none")
    return found[1]


def _builder() -> str:
    """The URI of who builds."""
    named = os.environ.get("BUILDER") or BUILDER
    try:
        return URI.validate_python(named)
    except ValidationError as error:
        raise BadInput(
            "BUILDER names nobody.",
            expected="a URI, such as https://builds.house.example/derma",
            received=named,
            do="correct BUILDER, or leave it out",
        ) from error


def _unfit(expected: str, received: str) -> BadInput:
    return BadInput(
        "The provenance of the image cannot be stated.",
        expected=expected,
        received=received,
        do="build the image again with containers/build.sh, then make its provenance",
    )


def _git(root: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        said, failed = done.stderr.strip(), bool(done.returncode)
    except OSError as error:
        said, failed = f"git: {error.strerror}", True
    if failed:
        raise BadInput(
            "It is not known from which commit the image was built.",
            expected="a git checkout",
            received=said,
            do="build in a checkout of the repository",
        )
    return done.stdout.strip()


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
            f"The provenance speaks of another {what}.", f"as found: {found}", f"as stated: {said}"
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
