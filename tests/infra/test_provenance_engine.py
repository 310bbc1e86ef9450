"""What provenance makes of any answer of an engine: a refusal in words, or what holds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.image import Image, image_of
from infra.provenance import ENVELOPE, main, make, statement_of, verify
from tasks.engine.signing import Keys
from tasks.errors import BadInput, Corrupt

DEEP = "[" * 100_000
SECOND = "second.example/derma/train@sha256:" + "12" * 32

INSPECTED: dict[str, Any] = {
    "Id": "sha256:" + "cd" * 32,
    "RepoDigests": [SECOND],
    "Created": "2026-11-30T12:00:00.123456789Z",
    "Config": {"Labels": {"org.opencontainers.image.revision": "abc"}},
}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make an engine answer with a text when it is asked for an image."""
    program, answer = tmp_path / "docker", tmp_path / "answer"
    program.write_text(
        f"#!/bin/sh\ncase $1 in\nimage) cat '{answer}' ;;\n"
        "run) echo content ;;\nversion) printf '20.10\\377\\n' ;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("DOCKER", str(program))
    return lambda text: (answer.write_text(text), None)[1]


CHANGES: list[dict[str, Any]] = [
    {"Id": None},
    {"Id": "sha256:abc"},
    {"Id": 5},
    {"RepoDigests": "x"},
    {"RepoDigests": [None]},
    {"Created": 5},
    {"Config": []},
    {"Config": {"Labels": []}},
    {"Config": {"Labels": {"a": None}}},
]
ANSWERS = [
    *("", "[]", "{}", "null", "[null]", "[{}]", "no JSON", "[", DEEP, "\N{BOM}[]", '["\\ud800"]'),
    *(json.dumps([INSPECTED | change]) for change in CHANGES),
]


def test_an_answer_of_another_form_is_refused_in_words(engine: Callable[[str], None]) -> None:
    for answer in ANSWERS:
        engine(answer)
        with pytest.raises(BadInput, match="cannot be read"):
            image_of("train", "a/{image}")


@pytest.mark.parametrize(
    ("change", "attribute", "read"),
    [
        ({"Config": {}}, "labels", {}),
        ({"Config": {"Labels": None}}, "labels", {}),
        ({"Config": None}, "labels", {}),
        ({"RepoDigests": None}, "pushed", ()),
        ({"RepoDigests": ["<none>@<none>", SECOND]}, "pushed", (SECOND,)),
        ({"Created": ""}, "created", ""),
        ({"Id": "cd" * 32}, "id", "cd" * 32),
        ({"Architecture": "amd64"}, "id", "cd" * 32),
    ],
)
def test_an_answer_that_leaves_out_what_is_empty_is_read(
    engine: Callable[[str], None], change: dict[str, Any], attribute: str, read: object
) -> None:
    engine(json.dumps([INSPECTED | change]))
    assert getattr(image_of("train", "a/{image}"), attribute) == read


@pytest.mark.parametrize("client", ["/nope", "no-such-program", "/", "folder/that/is none"])
def test_no_client_is_refused_in_words(
    client: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER", client)
    for what in ("make", "verify"):
        assert main([what, "train"]) == 64
        assert "There is no client of Docker." in capsys.readouterr().err


def test_no_git_is_refused_in_words(
    image: Image, folder: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="not known from which commit"):
        make(image, folder, Keys(), root)


# What make refuses -----------------------------------------------------------------------------


def of_base(image: Image, digest: str) -> Image:
    labels = image.labels | {"org.opencontainers.image.base.digest": digest}
    return replace(image, labels=labels)


def test_what_has_no_place_in_a_statement_is_refused_in_words(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    bases = ("", "debian:12", "sha256:" + "EF" * 32, "sha512:" + "ef" * 64)
    times = ("", "yesterday", "2026-11-30T12:00:00")
    places = ("a", "a@", "@sha256:" + "ab" * 32, "a@sha256:abc", "a@md5:" + "ab" * 16)
    for wrong in (
        replace(image, labels={}),
        *(of_base(image, base) for base in bases),
        *(replace(image, created=time) for time in times),
        *(replace(image, pushed=(place,)) for place in places),
    ):
        with pytest.raises(BadInput):
            make(wrong, folder, keys, root)
        assert not (folder / ENVELOPE).exists()


def test_a_builder_is_a_uri(
    image: Image, folder: Path, root: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("not a uri", "build.sh", "HTTP://x", " "):
        monkeypatch.setenv("BUILDER", wrong)
        with pytest.raises(BadInput, match="BUILDER names nobody"):
            make(image, folder, keys, root)
    monkeypatch.setenv("BUILDER", "https://builds.house.example/derma")
    make(image, folder, keys, root)
    verify(image, folder, keys, root)

    monkeypatch.delenv("BUILDER")
    with pytest.raises(Corrupt, match="another builder"):
        verify(image, folder, keys, root)


@pytest.mark.parametrize(
    ("created", "stated"),
    [
        ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00Z"),
        ("2026-11-30T12:00:00.5+01:00", "2026-11-30T12:00:00+01:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_any_time_with_a_zone_is_stated_in_whole_seconds(
    created: str, stated: str, image: Image, folder: Path, root: Path
) -> None:
    said = json.loads(statement_of(replace(image, created=created), folder, root).as_json())
    assert said["predicate"]["runDetails"]["metadata"]["finishedOn"] == stated


def test_a_digest_of_another_kind_is_stated_as_such(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    longer = replace(image, pushed=("a.example/train@sha512:" + "ab" * 64,))
    make(longer, folder, keys, root)
    assert f"{longer.pushed[0]} is signed." in verify(longer, folder, keys, root)
    subject = statement_of(longer, folder, root).subject[1]
    assert subject.digest == {"sha512": "ab" * 64}


def test_a_folder_that_cannot_be_written_is_refused_in_words(
    image: Image, folder: Path, root: Path, keys: Keys
) -> None:
    (folder / ENVELOPE).mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        make(image, folder, keys, root)
