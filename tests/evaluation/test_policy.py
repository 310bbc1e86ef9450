"""The files of the policies: released ones never change, and others are refused."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from tasks.config import RELEASED_POLICIES
from tasks.errors import BadInput
from tasks.evaluation.policy import PolicyRule, parse_policy, policy_bytes, released
from tasks.records.record import sha256
from tests.support.judged import NAN, RULES


def test_every_policy_can_be_read_and_chosen_and_is_named_like_its_file() -> None:
    assert released().keys() == set(RELEASED_POLICIES)
    for name, versions in released().items():
        assert versions == set(range(1, max(versions) + 1))
        for version in versions:
            policy = parse_policy(policy_bytes(name, version), name)
            assert (policy.name, policy.version) == (name, version)
        assert policy_bytes(name) == policy_bytes(name, max(versions))


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("melanoma", "403c7be9a5c1d786197b8a1c02fdd9b03ab88ce7b13344128dbf14df5946b2bb"),
        ("synthetic", "11a3f1c4d5121a8fc77262e54c3d8e80e6d928eb38544544c65661187e74b2bc"),
        ("smoke", "c31c7d96853a02152b9806fc6d445ab534ed3f207c2bc95d093945bf739d18d3"),
    ],
)
def test_a_released_policy_never_changes(name: str, digest: str) -> None:
    """Bundles were judged by these bytes."""
    assert sha256(policy_bytes(name, 1)) == digest


def test_a_policys_file_without_a_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = changed(name="mine", version=1)
    monkeypatch.setattr("tasks.evaluation.policy.FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_bytes(mine)
    with pytest.raises(BadInput, match="does not state the version"):
        policy_bytes("mine")
    (tmp_path / "mine.yaml").rename(tmp_path / "mine-1.yaml")
    assert policy_bytes("mine") == mine


def test_a_version_that_was_never_released_is_refused_by_number() -> None:
    with pytest.raises(BadInput, match="version 99"):
        policy_bytes("melanoma", 99)


BOMB = b"a: &a [x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n".encode()
    for n in range(9)
)


@pytest.mark.parametrize(
    ("data", "words"),
    [(BOMB, "alias"), (b"[" * 20_000, "recursion|expected|nest"), (b"#" * 70_000, "larger than")],
)
def test_a_policy_that_would_unfold_without_end_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=f"(?i){words}"):
        parse_policy(data, "melanoma")


def test_the_policy_for_patients_judges_everything_that_can_be_judged() -> None:
    kinds = get_args(get_args(PolicyRule)[0])
    known = {get_args(kind.model_fields["rule"].annotation)[0] for kind in kinds}
    assert set(RULES) == known


def changed(**fields: Any) -> bytes:
    return yaml.safe_dump(yaml.safe_load(policy_bytes("melanoma")) | fields).encode()


SENSITIVITY = yaml.safe_load(policy_bytes("melanoma"))["rules"][1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"- a list", "not a table"),
        (b"{", "expected"),
        (changed(extra=1), "extra"),
        (changed(rules=[]), "rules"),
        (changed(rules=[SENSITIVITY]), "no_leak, specificity"),
        (changed(rules=[SENSITIVITY, dict(SENSITIVITY)]), "stand once"),
        (changed(rules=[SENSITIVITY | {"at_least": 1.2}]), "less than 1"),
        (changed(rules=[SENSITIVITY | {"at_least": NAN}]), "at_least"),
        (changed(rules=[SENSITIVITY | {"method": "by eye"}]), "Clopper-Pearson"),
        (changed(rules=[SENSITIVITY | {"rule": "kindness"}]), "kindness"),
        (changed(version="first"), "version"),
    ],
)
def test_a_policy_that_says_something_else_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_policy(data, "melanoma")


def test_a_policy_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="melanoma or smoke or synthetic"):
        policy_bytes("../config")
