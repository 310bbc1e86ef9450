"""What provenance makes of envelopes, statements and signatures of any form, also signed ones."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import dsse
from infra.image import Image
from infra.provenance import ENVELOPE, make, verify
from infra.registry import PAYLOAD, SIGNATURE
from tasks.engine.signing import Keys
from tasks.errors import BadInput, Corrupt
from tests.support.repositories import git

Change = Callable[[dict[str, Any]], Any]
DEEP = "[" * 100_000
SECOND = "second.example/derma/train@sha256:" + "12" * 32

# Envelopes -------------------------------------------------------------------------------------


def changed(folder: Path, change: Change) -> None:
    envelope = json.loads((folder / ENVELOPE).read_text())
    change(envelope)
    (folder / ENVELOPE).write_text(json.dumps(envelope))


TYPE = dsse.PAYLOAD_TYPE
SIGNATURES: list[Any] = [None, {}, "x", [None], [5], [[]], [{}], [{"sig": None}], [{"sig": "ü"}]]
CONTENTS: list[Any] = [None, 5, [], "!", "e30", "ü"]
ENVELOPES = [
    *("", "null", "[]", "5", '"x"', "{}", DEEP, '{"payload":' * 50_000, "9" * 5000, "\0"),
    *(json.dumps({"payload": "e30=", "payloadType": TYPE, "signatures": it}) for it in SIGNATURES),
    *(json.dumps({"payload": it, "payloadType": TYPE, "signatures": []}) for it in CONTENTS),
    '{"payload": "e30=", "payloadType": null, "signatures": []}',
]


def test_an_envelope_of_another_form_is_refused_in_words(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)
    for text in ENVELOPES:
        (folder / ENVELOPE).write_text(text)
        for accepted in (keys, Keys()):
            with pytest.raises(Corrupt):
                verify(image, folder, accepted, root)


def as_url_safe(envelope: dict[str, Any]) -> None:
    for holder, name in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        raw = base64.b64decode(holder[name])
        holder[name] = base64.urlsafe_b64encode(raw).decode()


OPEN: list[Change] = [
    lambda envelope: envelope["signatures"][0].pop("keyid"),
    lambda envelope: envelope["signatures"][0].update(keyid=None),
    lambda envelope: envelope["signatures"][0].update(keyid="another's"),
    lambda envelope: envelope["signatures"].insert(0, {"sig": "e30="}),
    lambda envelope: envelope.update(further=1),
    as_url_safe,
]


def test_what_dsse_leaves_open_holds(image: Image, folder: Path, root: Path, keys: Keys) -> None:
    make(image, folder, keys, root)
    made = (folder / ENVELOPE).read_bytes()
    for change in OPEN:
        (folder / ENVELOPE).write_bytes(made)
        changed(folder, change)
        assert keys.fingerprint in "\n".join(verify(image, folder, keys, root))


# Statements by an accepted key -----------------------------------------------------------------


def of_revision(image: Image, revision: str) -> Image:
    return replace(image, labels=image.labels | {"org.opencontainers.image.revision": revision})


def stated(folder: Path, keys: Keys, change: Change) -> None:
    """Let the accepted key state something else."""
    said = json.loads(base64.b64decode(json.loads((folder / ENVELOPE).read_text())["payload"]))
    change(said)
    (folder / ENVELOPE).write_bytes(dsse.enveloped(json.dumps(said).encode(), keys))


def definition(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = said["predicate"]["buildDefinition"]
    return found


def dependency(said: dict[str, Any], name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = definition(said)["resolvedDependencies"]
    return next(each for each in found if each["name"] == name)


STATEMENTS: dict[str, Change] = {
    "another commit": lambda said: dependency(said, "source")["digest"].update(gitCommit="0" * 40),
    "another commit, by SHA-1": lambda said: dependency(said, "source").update(
        digest={"sha1": "0" * 40}
    ),
    "another commit, none": lambda said: definition(said)["resolvedDependencies"].remove(
        dependency(said, "source")
    ),
    "a dependency twice": lambda said: definition(said)["resolvedDependencies"].append(
        dependency(said, "source")
    ),
    "another base": lambda said: dependency(said, "base")["digest"].update(sha256="0" * 64),
    "another kind of build": lambda said: definition(said).update(buildType="urn:other"),
    "another target": lambda said: definition(said)["externalParameters"].update(target="data"),
    "another target, none": lambda said: definition(said)["externalParameters"].pop("target"),
    "another lock": lambda said: definition(said)["externalParameters"].update(lock="other"),
    "another builder": lambda said: said["predicate"]["runDetails"]["builder"].update(
        id="https://evil.example"
    ),
    "another state of the checkout": lambda said: definition(said).update(
        internalParameters={"uncommitted changes": True}
    ),
    "another image": lambda said: said["subject"].append(
        {"name": "train", "digest": {"sha256": "0" * 64}}
    ),
    "another form": lambda said: said.update(predicate=None),
}


def test_a_statement_about_something_else_does_not_hold_though_it_is_signed(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)
    for each in (PAYLOAD, SIGNATURE):  # so that only the statement is looked at
        (folder / each).unlink()
    made = (folder / ENVELOPE).read_bytes()
    stated(folder, keys, lambda said: said)
    verify(image, folder, keys, root)

    for what, change in STATEMENTS.items():
        (folder / ENVELOPE).write_bytes(made)
        stated(folder, keys, change)
        with pytest.raises(Corrupt, match=what.partition(",")[0]):
            verify(image, folder, keys, root)


@pytest.mark.parametrize("tag", ["v1.2.3", "2026", "release/11-30", "v1.2-gbeef"])
def test_an_image_of_a_tag_was_built_from_the_commit_of_the_tag(
    tag: str, image: Image, folder: Path, root: Path, keys: Keys, tmp_path: Path
) -> None:
    git(root, "tag", "-am", "One", tag)
    tagged = of_revision(image, tag)
    make(tagged, folder, keys, root)
    commit = git(root, "rev-parse", "HEAD")
    assert f"from commit {commit}, locks/train.txt." in verify(tagged, folder, keys, root)[1]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if tag.startswith(("v1.2.3", "release")):
        assert "not compared" in verify(tagged, folder, keys, elsewhere)[1]
    for each in (PAYLOAD, SIGNATURE):
        (folder / each).unlink()
    stated(folder, keys, STATEMENTS["another commit"])
    with pytest.raises(Corrupt, match="another commit"):
        verify(tagged, folder, keys, root)


def test_a_later_commit_than_a_tag_is_compared_by_its_short_hash(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    git(root, "tag", "-am", "One", "v1")
    git(root, "commit", "--allow-empty", "-qm", "Second")
    later = of_revision(image, git(root, "describe", "--always", "--dirty"))
    make(later, folder, keys, root)

    assert git(root, "rev-parse", "HEAD") in verify(later, folder, keys, root)[1]


# Signatures in registries ----------------------------------------------------------------------


def payload_signed(folder: Path, keys: Keys, payload: bytes) -> None:
    (folder / PAYLOAD).write_bytes(payload)
    (folder / SIGNATURE).write_bytes(dsse.signature_of(payload, keys))


PAYLOADS: list[Change] = [
    lambda said: said.update(optional=None),
    lambda said: said.update(optional={}),
    lambda said: said.pop("optional"),
    lambda said: said["optional"].update(provenance_sha256=5),
    lambda said: said["optional"].update(provenance_sha256="0" * 64),
    lambda said: said.pop("critical"),
    lambda said: said.update(critical=None),
    lambda said: said["critical"].update(type="another"),
    lambda said: said["critical"].update(identity=None),
    lambda said: said["critical"]["image"].pop("docker-manifest-digest"),
]


def test_a_payload_of_another_form_does_not_hold_though_it_is_signed(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)
    made = (folder / PAYLOAD).read_text()
    payload_signed(folder, keys, json.dumps(json.loads(made)).encode())
    verify(image, folder, keys, root)

    wrong = ["{}", "[]", "null", "", "x", DEEP, "\0"]
    for change in PAYLOADS:
        said = json.loads(made)
        change(said)
        wrong.append(json.dumps(said))
    for payload in wrong:
        payload_signed(folder, keys, payload.encode())
        with pytest.raises(Corrupt, match="does not hold"):
            verify(image, folder, keys, root)


def test_a_line_behind_a_signature_changes_nothing(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(image, folder, keys, root)
    (folder / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes() + b"\n")
    verify(image, folder, keys, root)


def test_an_image_is_signed_for_each_registry_that_holds_it(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    both = replace(image, pushed=(*image.pushed, SECOND))
    assert SECOND in make(both, folder, keys, root)
    held = verify(both, folder, keys, root)
    assert [f"{each} is signed." for each in both.pushed] == held[-2:]
    for one in both.pushed:  # who pulled from one of them
        assert f"{one} is signed." in verify(replace(image, pushed=(one,)), folder, keys, root)

    elsewhere = "third.example/train@sha256:" + "34" * 32
    third = replace(image, pushed=(SECOND, elsewhere))
    assert f"{elsewhere} is NOT signed." in verify(third, folder, keys, root)
    with pytest.raises(Corrupt, match="does not hold"):
        verify(replace(image, pushed=(elsewhere,)), folder, keys, root)
    (folder / "image-2.sig").write_bytes((folder / SIGNATURE).read_bytes())
    with pytest.raises(Corrupt, match="does not hold"):
        verify(both, folder, keys, root)
    (folder / "image-2.sig").unlink()
    with pytest.raises(BadInput, match="missing"):
        verify(both, folder, keys, root)


def test_signatures_of_an_earlier_push_do_not_stay(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    make(replace(image, pushed=(*image.pushed, SECOND)), folder, keys, root)
    assert (folder / "image-2.sig").exists()
    make(image, folder, keys, root)

    assert sorted(each.name for each in folder.glob("image*")) == [PAYLOAD, SIGNATURE]
