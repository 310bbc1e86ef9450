"""A policy that is a file in the store: its spelling, and the bytes that a run keeps."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.config import RELEASED_POLICIES, Retraining, parse_config
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.fix_policy import begin
from tasks.evaluation.policy import (
    bytes_that_judged,
    fixed_key,
    outside_state,
    own_policy,
    parse_policy,
    policy_bytes,
    policy_of,
    reference,
    released,
)
from tasks.evaluation.policy_changes import changes, nearest_released
from tasks.pipeline import step_named
from tests.support.deliveries import do
from tests.support.policies import OURS, approved_policy, like, put, with_rule
from tests.support.stores import keys


def run_by(store: Store, policy: str = OURS) -> Run:
    return Run(store, "a", Retraining(policy=policy))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


# The spelling -------------------------------------------------------------------------------------

NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True)


@given(st.sampled_from(RELEASED_POLICIES) | NAME.map(lambda name: f"policies/{name}.yaml"))
@example("policies/NAME.yaml")
def test_a_released_name_or_a_file_in_policies_is_a_policy(text: str) -> None:
    assert parse_config(json.dumps({"policy": text})).policy == text


PIECES = [*"aZ0_-./\\ \n\t\0:%~", "ä", "\u202e", "policies/", ".yaml"]
ODD = st.lists(st.sampled_from(PIECES)).map("".join)


@given(ODD | ODD.map(lambda text: f"policies/{text}.yaml") | st.text())
@example("policies/../raw/x.yaml")
@example("policies/a/../../b.yaml")
@example("/policies/a.yaml")
@example("./policies/a.yaml")
@example("policies/a.yaml\n")
@example("policies/a.yml")
@example("policies/.yaml")
@example("policies/-a.yaml")
@example("policies/ä.yaml")
@example("policies\\a.yaml")
@example("Policies/a.yaml")
@example("policies/a.yaml.yaml")
@example("s3://theirs/policies/a.yaml")
@example("lenient")
@example("melanoma\n")
@example(f"policies/{'a' * 101}.yaml")
def test_any_other_spelling_is_refused_before_a_run_exists(text: str) -> None:
    may = r"melanoma|synthetic|smoke|policies/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.yaml"
    if re.fullmatch(may, text):
        return
    with pytest.raises(BadInput, match="policy"):
        parse_config(json.dumps({"policy": text}))


@given(ODD.map(lambda text: f"policies/{text}.yaml"))
def test_no_spelling_leads_out_of_the_folder(text: str) -> None:
    """Whoever names a file on the command line passes by the configuration."""
    if re.fullmatch(r"policies/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.yaml", text):
        return

    class Watched:
        uri = "store"

        def read(self, key: str) -> bytes:
            raise AssertionError(f"{key!r} was read")

    watched: Any = Watched()
    with pytest.raises(BadInput, match="no policy of the installation's own"):
        own_policy(watched, text)


# The bytes of a run -------------------------------------------------------------------------------


def test_a_run_keeps_the_policy_it_began_with_on_every_store(store: Store) -> None:
    first, later = like("synthetic"), like("synthetic", version=2)
    put(store, first)
    run = run_by(store)
    begin(run)
    put(store, later)
    begin(run)  # another part of the first step, or a second attempt
    assert policy_of(run)[1] == first
    store.delete(OURS)
    assert policy_of(run) == (parse_policy(first, OURS), first)
    assert bytes_that_judged(run, reference(*policy_of(run))) == first
    assert keys(store, "runs/a/") == ["runs/a/policy/policies/ours.yaml"]
    put(store, later)
    another = replace(run, name="b")
    begin(another)
    assert policy_of(another)[1] == later
    assert outside_state(another) != outside_state(run)


def test_a_released_policy_is_kept_too(folder: Store) -> None:
    run = run_by(folder, "melanoma")
    assert policy_of(run)[1] == policy_bytes("melanoma")  # as in a run of an earlier version
    folder.create(fixed_key(run), policy_bytes("melanoma", 1))
    begin(run)
    assert policy_of(run)[0].version == 1
    begin(replace(run, name="b"))
    assert policy_of(replace(run, name="b"))[0].version == max(released()["melanoma"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "no such file"),
        (b"", "not a table"),
        (b"\xff\xfe", "decode"),
        (b"name: [", "expected"),
        (like("melanoma", extra=1), "extra"),
        (like("melanoma", rules=[]), "rules"),
        (like("melanoma", name="Ours & theirs"), "name"),
        (like("melanoma", name="melanoma"), "bears the name of a released one"),
        (like("melanoma", name="melanoma", version=2), "bears the name of a released one"),
        (policy_bytes("melanoma") + b"# weaker\n", "bears the name of a released one"),
        (like("melanoma") + b"version: 2\n", "version stands twice"),
        (
            with_rule("melanoma", "sensitivity", at_least=0.9).replace(
                b"at_least: 0.9", b"at_least: 0.9\n  at_least: 0.1"
            ),
            "at_least stands twice",
        ),
        (
            like("melanoma", rules=[{
                "rule": "sensitivity", "at_least": 0.8, "why": "",
                "method": "Clopper-Pearson, one-sided, by lesion",
            }]),
            "must hold the rules no_leak, specificity",
        ),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_told_when_the_run_begins(
    folder: Store, data: bytes | None, words: str
) -> None:
    folder.create("raw/Train/nevus/ISIC_0000001.png", b"")
    if data is not None:
        put(folder, data)
    with pytest.raises(BadInput, match=words):
        do(run_by(folder), "ingest")
    assert keys(folder, "runs/") == ["runs/a/ingest/stopped.json"]  # nothing began, and it says why
    put(folder, like("melanoma"))
    begin(run_by(folder))


def test_the_very_bytes_of_a_released_policy_may_have_a_file(folder: Store) -> None:
    """So an installation stays with an earlier version."""
    put(folder, policy_bytes("melanoma", 1))
    begin(run_by(folder))
    assert policy_of(run_by(folder))[0].version == 1


def test_a_step_with_another_policy_than_the_run_began_with_is_refused(folder: Store) -> None:
    put(folder, like("synthetic"))
    put(folder, like("synthetic", name="other"), "policies/other.yaml")
    begin(run_by(folder))
    with pytest.raises(BadInput, match="did not begin with this policy"):
        policy_of(run_by(folder, "policies/other.yaml"))
    assert policy_of(run_by(folder))[0].name == "ours"


def test_a_copy_that_was_changed_judges_nothing_under_a_name_that_is_known(folder: Store) -> None:
    run = run_by(folder, "synthetic")
    begin(run)
    folder.replace(fixed_key(run), policy_bytes("smoke"))
    with pytest.raises(BadInput, match="of another policy"):
        policy_of(run)
    folder.replace(fixed_key(run), policy_bytes("synthetic") + b"# weaker\n")
    with pytest.raises(BadInput, match="bears the name of a released one"):
        policy_of(run)


def test_a_copy_that_was_changed_after_the_verdict_is_noticed(folder: Store) -> None:
    run = run_by(folder)
    put(folder, like("synthetic"))
    begin(run)
    judged = reference(*policy_of(run))
    folder.replace(fixed_key(run), like("synthetic", version=2))
    with pytest.raises(Corrupt, match="that judged the run is gone"):
        bytes_that_judged(run, judged)
    folder.delete(fixed_key(run))
    with pytest.raises(Corrupt, match="that judged the run is gone"):
        bytes_that_judged(run, judged)


def test_a_verdict_of_a_run_without_a_copy_finds_the_released_bytes(folder: Store) -> None:
    first = policy_bytes("melanoma", 1)
    judged = reference(parse_policy(first, "melanoma"), first)
    assert bytes_that_judged(run_by(folder, "melanoma"), judged) == first


def test_what_looks_at_the_policy_is_done_again_for_other_bytes() -> None:
    """Its file's name, which the configuration holds, says too little."""
    for name in ("validate", "gate"):
        assert "evaluation.policy" in step_named(name).outside
    assert "evaluation.policy" not in step_named("ingest").outside


# What the run says of approval --------------------------------------------------------------------


def test_a_run_says_that_its_policy_is_not_approved_yet_and_goes_on(
    folder: Store, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, like("synthetic"))
    with caplog.at_level(logging.WARNING, "tasks"):
        begin(run_by(folder))
    assert "is not approved here yet" in caplog.text
    assert "approve-policy" in caplog.text
    approved_policy(folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tasks"):
        begin(replace(run_by(folder), name="b"))
        begin(Run(folder, "c", Retraining(policy="synthetic")))
    assert caplog.text == ""


def test_a_policy_changed_under_an_approved_name_and_version_is_refused(folder: Store) -> None:
    put(folder, like("synthetic"))
    approved_policy(folder)
    put(folder, like("synthetic") + b"# weaker\n")
    with pytest.raises(BadInput, match="changed under its own name and version"):
        begin(run_by(folder))
    put(folder, like("synthetic", version=2))
    begin(run_by(folder))


# How it differs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "nearest", "told"),
    [
        (like("melanoma"), "melanoma 5", ()),
        (like("synthetic"), "synthetic 4", ()),
        (
            with_rule("melanoma", "sensitivity", at_least=0.7, why="other words"),
            "melanoma 5",
            ("the rule sensitivity: at_least is 0.7 instead of 0.8, which asks for less",),
        ),
        (
            with_rule("melanoma", "calibration", at_most=0.1),
            "melanoma 5",
            ("the rule calibration: at_most is 0.1 instead of 0.15, which asks for more",),
        ),
        (
            with_rule("melanoma", "auc_against_champion", margin=0.2),
            "melanoma 5",
            ("the rule auc_against_champion: margin is 0.2 instead of 0.05, which asks for less",),
        ),
        (
            with_rule("melanoma", "refusals", answered_at_least=0.8, others_at_least=0.9),
            "melanoma 5",
            (
                "the rule refusals: answered_at_least is 0.8 instead of 0.85, which asks for less",
                "the rule refusals: others_at_least is 0.9 instead of 0.8, which asks for more",
            ),
        ),
        (
            like("melanoma", approval={"approvals": 2, "authenticated": True}),
            "melanoma 5",
            (
                "approval: approvals is 2 instead of 1",
                "approval: authenticated is True instead of False",
            ),
        ),
        (
            like("smoke", data="synthetic", intended_use="Ours."),
            "smoke 1",
            ("intended use reads otherwise",),
        ),
    ],
)
def test_each_difference_from_the_nearest_released_policy_is_told(
    data: bytes, nearest: str, told: tuple[str, ...]
) -> None:
    policy, found = nearest_released(parse_policy(data, OURS))
    assert (f"{policy.name} {policy.version}", found) == (nearest, told)


def test_rules_that_are_dropped_or_added_are_told_by_name() -> None:
    full, few = (parse_policy(policy_bytes(name), name) for name in ("melanoma", "synthetic"))
    assert "the rule within_source_auc is dropped" in changes(full, few)
    said = changes(few, full)
    assert "the rule within_source_auc is added, at_least 0.7, fewest 10" in said
    assert "it is for real lesions instead of synthetic ones" in said
    free = full.model_copy(update={"spending": None})
    assert changes(full, free)[0].startswith("a look at the test part costs nothing; before")
    assert changes(full, full) == ()
