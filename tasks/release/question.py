"""question: put a registered model before people, in the ledger of promotions.

Whatever a person is shown comes from the verified bundle. The question holds the hash of the
bundle's manifest, so the answer is an answer about these bytes.
"""

import logging
from typing import Any

from tasks.engine.person import Person, works_alone
from tasks.engine.run import Run
from tasks.errors import BadInput, Corrupt
from tasks.evaluation.policy import Policy, parse_policy, released_hashes
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.registered import Registered
from tasks.registry.aliases import mark
from tasks.registry.champion import adopt
from tasks.registry.promotions import (
    Asked,
    Closing,
    Model,
    Promotions,
    Question,
    append,
    promotions_in,
)
from tasks.registry.versions import MODEL, mlflow_client
from tasks.release.checks.flaw import record_of
from tasks.release.evidence import FOLDER, Bundle
from tasks.release.policy_page import of_own_policy
from tasks.release.question_page import page, subject
from tasks.release.trainers import trainers_of
from tasks.release.verify import verify

log = logging.getLogger(__name__)


def ask(run: Run, name: str, by: Person, deadline: str | None = None) -> Question:
    """Ask whether the model that a run registered becomes the champion.

    Asking again under the same name gives the question that stands. Other open questions are
    closed: they compare with the same champion, and only one of their models can replace it. A
    closed model can be put before people again.

    Args:
        run: The run that registered the model.
        name: Name of the question.
        by: Who asks.
        deadline: Time until which an answer counts, UTC, ISO 8601; None without an end.

    Raises:
        BadInput: The run registered nothing; or the model is the champion already; or it was
            compared with another champion than the one in use; or its policy is neither released
            nor approved here.
        Corrupt: The evidence does not hold, or MLflow's tags contradict it.
        Momentary: MLflow failed.
    """
    registered = registered_by(run)
    held = verify(f"{run.uri}/{FOLDER}", registered.evidence.sha256)
    bundle = Bundle(f"{run.uri}/{FOLDER}")
    evaluated = record_of(bundle, Evaluated)
    with mlflow_client(run.store) as client:
        check_the_tags(client, run, registered)
        now = adopt(client, run.store)
    policy = known_policy(bundle, now)
    if held.decision != "pass":
        raise Corrupt(
            "A model that the gate refused cannot be put into use.",
            expected="evidence whose verdict is pass",
            received=held.decision,
            do="find out who registered this model in MLflow",
        )
    model = Model(
        version=registered.version,
        run=run.uri,
        model_sha256=held.model_sha256,
        threshold=evaluated.threshold,
        classes=evaluated.classes,
        evidence_sha256=held.manifest_sha256,
    )
    trainers, did = trainers_of(run)
    asked = asked_of(policy, trainers)

    def said(now: Promotions) -> Question | None:
        standing = now.question(name)
        if standing:
            _check_same(standing, model)
            return None
        _check_not_champion(now, model)
        check_compared_with(evaluated, now.champion, run)
        question = Question(
            id=name,
            model=model,
            champion=now.champion,
            asked_by=by,
            trained_by=trainers,
            did=did,
            asked=asked,
            deadline=deadline,
        )
        own = of_own_policy(now, sha256(bundle.read("policy.yaml")))
        shown = {"subject": subject(question), "page": page(question, own)}
        return question.model_copy(update=shown)

    if now.question(name) is None:
        said(now)  # raises before any other question is closed
        _close_others(run, name, model)
    found = append(run.store, run.name, said).question(name)
    assert found
    return found


def registered_by(run: Run) -> Registered:
    """The record of `register`. Raises `BadInput` if the run registered nothing."""
    registered = run.record("register")
    if isinstance(registered, Registered):
        return registered
    raise BadInput(
        "There is nothing to promote.",
        expected=f"a registered model version in {run.uri}",
        received="no record of register: the gate did not pass, or the run is unfinished",
        do="name a run whose gate passed",
    )


def known_policy(bundle: Bundle, now: Promotions) -> Policy:
    """The policy of a bundle, if its bytes are released, or were approved here.

    A policy of a known name and version may have been weakened; only the bytes tell.

    Raises:
        BadInput: The policy is neither released nor approved.
    """
    data = bundle.read("policy.yaml")
    policy = parse_policy(data, "policy.yaml")
    if sha256(data) in released_hashes() or now.approved_policy(sha256(data)):
        return policy
    raise BadInput(
        "This installation does not know the policy that judged the model.",
        expected="the bytes of a released policy, or of a policy that people approved here",
        received=f"{policy.name}, version {policy.version}, SHA-256 {sha256(data)}",
        do="if it is your own, have it approved: `python -m tasks approve-policy --store STORE "
        "--policy policies/NAME.yaml`, or the DAG melanoma_policy; if not, find out who changed it",
    )


def check_compared_with(evaluated: Evaluated, champion: Model | None, run: Run) -> None:
    """Check that the model was compared with the champion in use.

    Raises:
        BadInput: It was compared with another model, or with none.
    """
    then = evaluated.champion
    compared = (then.version, then.model_sha256) if then else None
    in_use = (champion.version, champion.model_sha256) if champion else None
    if compared == in_use:
        return
    raise BadInput(
        "The model was not compared with the champion.",
        expected=f"a comparison with version {champion.version}" if champion else "no champion",
        received=f"a comparison with version {then.version}" if then else "no comparison",
        do=f"compare anew: `python -m tasks compare --run {run.uri}`, and decide about the run "
        "that it names",
    )


def asked_of(policy: Policy, trainers: tuple[Person, ...]) -> Asked:
    """What must hold of the answers, by policy and installation."""
    rule = policy.approval
    if works_alone():
        return Asked(
            approvals=1,
            different_from_trainer=False,
            authenticated=rule.authenticated,
            one_person=True,
        )
    nobody = rule.different_from_trainer and not trainers
    return Asked(
        approvals=2 if nobody else rule.approvals,
        different_from_trainer=rule.different_from_trainer,
        authenticated=rule.authenticated,
        one_person=False,
    )


def check_the_tags(client: Any, run: Run, registered: Registered) -> None:
    """Check that the version's tags name this model and this bundle.

    Another run of the same data may have registered the version first. Then the tags name the
    bundle of that run, and that run is the one to promote.

    Raises:
        BadInput: MLflow does not hold the version.
        Corrupt: The tags name another model or bundle.
    """
    tags = client.get_model_version(registered.name, str(registered.version)).tags
    expected = {
        "model_sha256": registered.model_sha256,
        "evidence_sha256": registered.evidence.sha256,
    }
    found = {name: tags.get(name) for name in expected}
    if found != expected:
        raise Corrupt(
            f"Version {registered.version} of {registered.name} is not of this evidence.",
            expected=", ".join(f"{name} {value}" for name, value in expected.items()),
            received=", ".join(f"{name} {value}" for name, value in found.items()),
            do="promote the run that the version's tag run names; if it is this one, find out who "
            "changed the tags in MLflow",
        )


def _check_same(standing: Question, model: Model) -> None:
    if standing.model != model:
        raise Corrupt(
            "The evidence has changed since the question was asked.",
            expected=f"manifest SHA-256 {standing.model.evidence_sha256}",
            received=f"manifest SHA-256 {model.evidence_sha256}",
            do="find out who changed the evidence; do not promote this model",
        )


def _check_not_champion(now: Promotions, model: Model) -> None:
    if now.champion and now.champion.model_sha256 == model.model_sha256:
        raise BadInput(
            "There is nothing to decide.",
            expected="a model that is not in use",
            received=f"version {model.version}, which is the champion already",
            do="nothing; to use an earlier champion again, `python -m tasks rollback`",
        )


def _close_others(run: Run, name: str, model: Model) -> None:
    why = f"superseded: version {model.version} was put before people after it"

    def said(now: Promotions) -> Closing | None:
        left = [each for each in now.open if each.id != name]
        return Closing(question=left[0].id, why=why) if left else None

    before = promotions_in(run.store)
    for _ in [each for each in before.open if each.id != name]:
        append(run.store, run.name, said)
    closed = [each for each in before.open if each.id != name]
    with mlflow_client(run.store) as client:
        for each in closed:
            log.info("The question %s is closed, %s.", each.id, why)
            if each.model.version != model.version:
                mark(client, MODEL, each.model.version, "superseded", why)
