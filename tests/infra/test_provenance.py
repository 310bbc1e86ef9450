"""The provenance of images: its published form, its signature, and what tampering does to it."""

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from infra import dsse
from infra.image import Image
from infra.provenance import ENVELOPE, make, statement_of, verify
from infra.registry import PAYLOAD, SIGNATURE
from infra.slsa import PREDICATE, STATEMENT, Statement
from tasks.engine.signing import Keys, keys_of
from tasks.errors import BadInput, Corrupt
from tasks.records.record import sha256
from tests.support.keys import pair_in
from tests.support.missing import lacking
from tests.support.repositories import git

# The form --------------------------------------------------------------------------------------


def test_a_statement_has_the_published_form_and_says_what_was_built_of_what(
    image: Image, folder: Path, root: Path
) -> None:
    said = json.loads(statement_of(image, folder, root).as_json())

    assert said["_type"] == STATEMENT == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == PREDICATE == "https://slsa.dev/provenance/v1"
    assert said["subject"] == [
        {"name": "train", "digest": {"sha256": "cd" * 32}},
        {"name": "registry.example/melanoma/train", "digest": {"sha256": "ab" * 32}},
    ]
    definition = said["predicate"]["buildDefinition"]
    known = {each["name"]: each["digest"] for each in definition["resolvedDependencies"]}
    assert known == {
        "source": {"gitCommit": git(root, "rev-parse", "HEAD")},
        "locks/train.txt": {"sha256": sha256(b"numpy==2\n")},
        "containers/steps.Dockerfile": {"sha256": sha256(b"FROM base AS train\n")},
        "base": {"sha256": "ef" * 32},
    }
    assert definition["externalParameters"]["target"] == "train"
    run = said["predicate"]["runDetails"]
    assert run["builder"]["id"].startswith("urn:")
    assert run["metadata"]["finishedOn"] == "2026-11-30T12:00:00Z"
    byproducts = {each["name"]: each["digest"]["sha256"] for each in run["byproducts"]}
    assert byproducts["sbom.cdx.json"] == sha256(image.sbom)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda said: said.update(predicateType="https://slsa.dev/provenance/v0.2"),
        lambda said: said.update(subject=[]),
        lambda said: said["subject"][0].update(digest={}),
        lambda said: said["subject"][0]["digest"].update(sha256="abc"),
        lambda said: said["subject"][0]["digest"].update(sha256="AB" * 32),
        lambda said: said["subject"][0]["digest"].update(sha256="ab" * 20),
        lambda said: said["subject"][0]["digest"].update(md5="ab" * 16),
        lambda said: said["predicate"].pop("runDetails"),
        lambda said: said["predicate"]["runDetails"].pop("builder"),
        lambda said: said["predicate"]["runDetails"]["builder"].update(id="build.sh"),
        lambda said: said["predicate"]["runDetails"]["metadata"].update(finishedOn="yesterday"),
        lambda said: said["predicate"]["buildDefinition"].pop("buildType"),
        lambda said: said["predicate"]["buildDefinition"].update(externalParameters={}),
        lambda said: said["predicate"]["buildDefinition"].update(materials=[]),
        lambda said: said["predicate"]["buildDefinition"]["resolvedDependencies"].append(
            {"name": "nothing that could be found"}
        ),
    ],
)
def test_what_has_not_the_published_form_is_refused(
    change: Change, image: Image, folder: Path, root: Path
) -> None:
    said = json.loads(statement_of(image, folder, root).as_json())
    Statement.model_validate_json(json.dumps(said))
    change(said)

    with pytest.raises(ValidationError):
        Statement.model_validate_json(json.dumps(said))


def test_uncommitted_changes_are_told(image: Image, folder: Path, root: Path) -> None:
    (root / "containers/steps.Dockerfile").write_text("FROM another AS train\n")
    described = git(root, "describe", "--always", "--dirty")
    labels = image.labels | {"org.opencontainers.image.revision": described}
    changed = replace(image, labels=labels)
    definition = statement_of(changed, folder, root).predicate.buildDefinition
    make(changed, folder, Keys(), root)

    assert definition.internalParameters == {"uncommitted changes": True}
    assert "with uncommitted changes" in "\n".join(verify(changed, folder, Keys()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": {"org.opencontainers.image.revision": "0123abc"}}, "another commit"),
        ({"lock": b"numpy==1\n"}, "another lock"),
        ({"sbom": b"{}"}, "another bill of materials"),
        ({"name": "serve"}, "another Dockerfile"),
    ],
)
def test_an_image_of_something_else_gets_no_provenance(
    change: dict[str, Any], told: str, image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    with pytest.raises(BadInput, match=told):
        make(replace(image, **change), folder, keys, root)
    assert not (folder / ENVELOPE).exists()


# Signature and tampering -----------------------------------------------------------------------


def test_what_was_made_holds(image: Image, folder: Path, root: Path, keys: Keys) -> None:
    assert "signed" in make(image, folder, keys, root)
    held = "\n".join(verify(image, folder, keys))

    assert f"signed by the key {keys.fingerprint}" in held
    assert git(root, "rev-parse", "HEAD") in held
    assert f"{image.pushed[0]} is signed" in held
    assert "uncommitted" not in held


def test_dsse_signs_the_type_with_the_payload() -> None:
    """The example of the published protocol."""
    signed = dsse.pre_authentication(b"hello world", "http://example.com/HelloWorld")

    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_openssl_verifies_both_signatures(
    image: Image, folder: Path, root: Path, keys: Keys, tmp_path: Path
) -> None:
    if not shutil.which("openssl"):
        lacking("there is no openssl", install="apt-get install openssl")
    make(image, folder, keys, root)
    read = json.loads((folder / ENVELOPE).read_text())
    payload = base64.b64decode(read["payload"])
    pairs = {
        "envelope": (dsse.pre_authentication(payload), read["signatures"][0]["sig"]),
        "image": ((folder / PAYLOAD).read_bytes(), (folder / SIGNATURE).read_text()),
    }
    public = str(tmp_path / "keys" / "public-key.pem")
    for data, signature in pairs.values():
        (tmp_path / "data").write_bytes(data)
        (tmp_path / "sig").write_bytes(base64.b64decode(signature))
        argv = ["openssl", "dgst", "-sha256", "-verify", public, "-signature", "sig", "data"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "Verified OK", done.stderr


def test_without_a_key_it_says_that_it_is_unsigned(image: Image, folder: Path, root: Path) -> None:
    assert "unsigned" in make(image, folder, Keys(), root)
    assert json.loads((folder / ENVELOPE).read_text())["signatures"] == []
    assert not (folder / SIGNATURE).exists()
    assert "unsigned for all we know" in "\n".join(verify(image, folder, Keys()))


def test_an_unsigned_provenance_is_refused_by_who_has_a_key(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, Keys(), root)

    with pytest.raises(Corrupt, match="does not hold"):
        verify(image, folder, keys)


def test_an_image_that_no_registry_holds_is_not_signed_itself(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    here = replace(image, pushed=())

    assert "after a push" in make(here, folder, keys, root)
    assert not (folder / SIGNATURE).exists()
    assert "No signature of the image" in "\n".join(verify(here, folder, keys))


def test_another_key_does_not_verify(
    image: Image, folder: Path, root: Path, keys: Keys, tmp_path: Path
) -> None:
    make(image, folder, keys, root)
    other = keys_of(pair_in(tmp_path / "others").public)

    with pytest.raises(Corrupt, match="does not hold"):
        verify(image, folder, other)


def statement(folder: Path, change: Change) -> None:
    envelope = json.loads((folder / ENVELOPE).read_text())
    said = json.loads(base64.b64decode(envelope["payload"]))
    change(said)
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    (folder / ENVELOPE).write_text(json.dumps(envelope))


def file(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda f: statement(f, lambda said: said["subject"][0]["digest"].update(sha256="00" * 32)),
        lambda f: statement(f, lambda said: said),  # the same, written in another way
        lambda f: file(f, ENVELOPE, lambda data: data.replace(b"in-toto+json", b"other+json")),
        lambda f: file(f, ENVELOPE, lambda data: data[: len(data) // 2]),
        lambda f: file(f, "sbom.cdx.json", lambda data: data + b" "),
        lambda f: file(f, "licences.md", lambda _: b"GPL"),
        lambda f: file(f, "debian.txt", lambda _: b""),
        lambda f: file(f, PAYLOAD, lambda data: data.replace(b"ab", b"ac", 1)),
        lambda f: file(f, SIGNATURE, lambda data: b"!" + data),
        lambda f: file(f, SIGNATURE, lambda data: data[4:]),
    ],
    ids=[
        *("subject", "whitespace", "type", "cut", "sbom", "licences", "debian"),
        *("payload", "no base64", "signature"),
    ],
)
def test_tampering_is_found(
    tamper: Callable[[Path], None], image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)
    verify(image, folder, keys)
    tamper(folder)

    with pytest.raises(Corrupt):
        verify(image, folder, keys)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00" * 32},
        {"lock": b"numpy==1\n"},
        {"sbom": b"{}"},
        {"pushed": ("registry.example/melanoma/train@sha256:" + "00" * 32,)},
    ],
    ids=["image", "lock", "sbom", "pushed"],
)
def test_another_image_is_found(
    change: dict[str, Any], image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)

    with pytest.raises(Corrupt):
        verify(replace(image, **change), folder, keys)


def test_a_statement_that_leaves_a_list_out_does_not_hold(
    image: Image, folder: Path, root: Path
) -> None:
    make(image, folder, Keys(), root)
    statement(folder, lambda said: said["predicate"]["runDetails"].pop("byproducts"))

    with pytest.raises(Corrupt, match="speaks of another"):
        verify(image, folder, Keys())
