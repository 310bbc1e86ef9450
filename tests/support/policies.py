"""Policies of an installation's own, for tests."""

from typing import Any

import yaml

from tasks.engine.person import Person
from tasks.engine.store import Store
from tasks.evaluation.policy import policy_bytes
from tasks.registry.promotions import PolicyQuestion
from tasks.release.decide import decide
from tasks.release.propose import propose
from tests.support.approvals import COLLEAGUE, NOBODY, PHYSICIAN

OURS = "policies/ours.yaml"


def like(released: str, **fields: Any) -> bytes:
    """A released policy with other fields, named ``ours`` if nothing else is said."""
    named = {"name": "ours", "version": 1}
    return yaml.safe_dump(yaml.safe_load(policy_bytes(released)) | named | fields).encode()


def with_rule(released: str, kind: str, **fields: Any) -> bytes:
    """A policy ``ours`` like a released one, but for fields of one rule."""
    rules = yaml.safe_load(policy_bytes(released))["rules"]
    return like(released, rules=[each | fields if each["rule"] == kind else each for each in rules])


def put(store: Store, data: bytes, key: str = OURS) -> str:
    store.replace(key, data)
    return key


def approved_policy(
    store: Store, key: str = OURS, people: tuple[Person, ...] = (PHYSICIAN, COLLEAGUE)
) -> PolicyQuestion:
    """The question by which people approved the policy of a file."""
    question = propose(store, key, f"about {key} of {len(store.read(key))} bytes", NOBODY)
    for person in people:
        assert not decide(store, question.id, "approve", person, "We need it.").refused
    return question
