"""propose: put a policy of the installation's own before people, in the ledger of promotions.

The entry holds the text of the policy. So people approve the bytes that they are shown, and a file
that is changed later is another policy.
"""

from datetime import UTC, datetime

from tasks.engine.person import Person, works_alone
from tasks.engine.store import Store
from tasks.errors import BadInput, Halt
from tasks.evaluation.policy import Policy, own_policy, released_hashes
from tasks.evaluation.policy_changes import nearest_released
from tasks.records.record import sha256
from tasks.registry.promotions import (
    Asked,
    Closing,
    OwnPolicy,
    PolicyQuestion,
    Promotions,
    append,
    promotions_in,
)
from tasks.release.policy_page import approved_by, page, subject


def propose(
    store: Store, key: str, name: str, by: Person, deadline: str | None = None
) -> PolicyQuestion:
    """Ask whether models that an own policy lets pass may go into use.

    Asking again under the same name gives the question that stands. Other open questions about a
    policy of the same name are closed.

    Args:
        store: The store.
        key: The policy's file in the store, ``policies/NAME.yaml``.
        name: Name of the question.
        by: Who asks.
        deadline: Time until which an answer counts, UTC, ISO 8601; None without an end.

    Raises:
        BadInput: There is no such file, or it is no policy; or the policy is a released one, or
            passes for one; or people approved another policy of its name and version.
        Halt: People approved the policy before.
        Corrupt: The ledger is damaged.
    """
    policy, data = own_policy(store, key)
    question = _question(policy, data, name, by, deadline)

    def said(now: Promotions) -> PolicyQuestion | Closing | None:
        standing = now.asked(name)
        if standing:
            _check_same(standing, question)
            return None
        _check_needed(now, question.policy)
        others = [each for each in _open(now) if each.policy.name == policy.name]
        if others:
            why = f"superseded: {question.policy.in_words}, was put before people after it"
            return Closing(question=others[0].id, why=why)
        return question

    while True:
        now = append(store, "", said)
        found = now.asked(name)
        if isinstance(found, PolicyQuestion):
            return found


def asked_about(store: Store, key: str) -> PolicyQuestion | None:
    """The question about the present bytes of a policy that is approved, or that takes answers;
    None without one.

    Raises:
        BadInput: There is no such file, or it is no policy of the installation's own.
    """
    _, data = own_policy(store, key)
    now, digest = promotions_in(store), sha256(data)
    standing = [each for each in _open(now) if each.policy.sha256 == digest and not _late(each)]
    return now.approved_policy(digest) or (standing[-1] if standing else None)


def _question(
    policy: Policy, data: bytes, name: str, by: Person, deadline: str | None
) -> PolicyQuestion:
    nearest, changes = nearest_released(policy)
    question = PolicyQuestion(
        id=name,
        policy=OwnPolicy(
            name=policy.name,
            version=policy.version,
            sha256=sha256(data),
            text=data.decode(),
            nearest=f"{nearest.name}, version {nearest.version}",
            changes=changes,
        ),
        asked_by=by,
        asked=Asked(
            approvals=1 if works_alone() else 2,
            different_from_trainer=False,  # nobody trains a policy
            authenticated=policy.approval.authenticated,
            one_person=works_alone(),
        ),
        deadline=deadline,
    )
    return question.model_copy(update={"subject": subject(question), "page": page(question)})


def _open(now: Promotions) -> list[PolicyQuestion]:
    return [each for each in now.policies if now.state(each) == "open"]


def _late(question: PolicyQuestion) -> bool:
    end = question.deadline
    return bool(end) and datetime.fromisoformat(str(end)) < datetime.now(UTC)


def _check_same(standing: object, question: PolicyQuestion) -> None:
    if not isinstance(standing, PolicyQuestion) or standing.policy != question.policy:
        raise BadInput(
            "The policy has changed since the question was asked.",
            expected="the policy of the question",
            received=f"{question.policy.in_words}, SHA-256 {question.policy.sha256}",
            do="ask again under another name: start the DAG melanoma_policy anew",
        )


def _check_needed(now: Promotions, policy: OwnPolicy) -> None:
    if policy.sha256 in released_hashes():
        raise BadInput(
            "There is nothing to approve.",
            expected="a policy of the installation's own",
            received=f"the bytes of {policy.in_words}, which is released",
            do="nothing: a released policy needs no approval",
        )
    if now.approved_policy(policy.sha256):
        raise Halt(
            f"The policy {policy.in_words} stands approved: {approved_by(now, policy.sha256)}."
        )
    now.check_unique(policy.name, policy.version, policy.sha256)
