"""The gate's policy: a predetermined change control plan.

A policy says what may change between two versions of the model, which rules each version must meet,
and the method that judges each rule. Each version of a *released* policy is a YAML file in
``tasks/evaluation/policies/``, and part of the program and its container images. An *own* policy of
an installation is a file of the same form in the store, ``policies/NAME.yaml``. A verdict names its
policy by name, version and SHA-256 of the file's bytes.

A run keeps a copy of its policy when it begins, see `tasks.evaluation.fix_policy`. Every step of
the run reads this copy, however late the step begins.
"""

import re
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tasks.config import OWN_POLICY
from tasks.engine.run import Run
from tasks.engine.store import Store
from tasks.errors import BadInput, Corrupt, NotFound
from tasks.evaluation.archive_rules import MixedArchives
from tasks.evaluation.champion_rules import (
    AucAgainstChampion,
    ClassesKept,
    SensitivityAgainstChampion,
)
from tasks.evaluation.external_rules import (
    ExternalAuc,
    ExternalComparison,
    ExternalDrop,
    ExternalSensitivity,
    ExternalSets,
)
from tasks.evaluation.refusal_rules import Refusals
from tasks.evaluation.rules import (
    BalancedAccuracy,
    CalibrationError,
    Count,
    EveryClassRecalled,
    NoLeak,
    Sensitivity,
    Specificity,
    SubgroupSensitivity,
    TestPartReuse,
    WithinSourceAuc,
)
from tasks.evaluation.shortcut_rules import ShortcutProbes
from tasks.records.record import Frozen, sha256
from tasks.records.verdict import PolicyReference
from tasks.statistics.confidence import CONFIDENCE, error_at

FOLDER = Path(__file__).parent / "policies"
MOST_BYTES = 64 * 1024  # ten times our longest policy

PolicyRule = Annotated[
    NoLeak
    | Sensitivity
    | Specificity
    | BalancedAccuracy
    | WithinSourceAuc
    | CalibrationError
    | EveryClassRecalled
    | SubgroupSensitivity
    | SensitivityAgainstChampion
    | AucAgainstChampion
    | ClassesKept
    | MixedArchives
    | ShortcutProbes
    | Refusals
    | ExternalSets
    | ExternalSensitivity
    | ExternalAuc
    | ExternalDrop
    | ExternalComparison
    | TestPartReuse,
    Field(discriminator="rule"),
]


class Spending(Frozen):
    """How the error probability of a policy is spent over the models judged on one test part.

    Whoever tries many models finds one that passes by chance. So the bounds of look number k have a
    confidence of 1 - error * 6 / (pi k)^2. With these bounds, the chance that any of the models
    below a rule's threshold passes is at most `error`, however many are judged. Policies of version
    1 spend nothing: each of their looks has the full error probability.

    Attributes:
        error: Error probability over all looks at one test part, 0 to 1.
        by: Error of one look, see `tasks.statistics.confidence.error_at`.
        renewed_by: When the count of looks restarts, see `tasks.splitting.earlier_looks`.
        source: Source of the rule.
    """

    error: Annotated[float, Field(gt=0, le=0.5)]
    by: Literal["error * 6 / (pi look)^2"]
    renewed_by: Literal["more than half of the test part, and of its melanomas, being new"]
    source: str


# The rules that every policy for real lesions must hold, see `Policy`.
INDISPENSABLE = {"no_leak", "sensitivity", "specificity"}


class Approval(Frozen):
    """Who must approve before a model goes into use.

    Attributes:
        approvals: Number of people who must approve.
        different_from_trainer: Whether the person who started the training may not approve. Where
            nobody knows who that was, two people must approve.
        authenticated: Whether an approval needs a login, so that the command line cannot give it.
    """

    approvals: Literal[1, 2] = 1
    different_from_trainer: bool = True
    authenticated: bool = False


class Change(Frozen):
    """A modification that is allowed between two versions, and its limits."""

    what: str
    how: str


class Risk(Frozen):
    risk: str
    control: str


class Policy(Frozen):
    """A predetermined change control plan.

    Attributes:
        data: Kind of lesions that the policy judges. A policy for drawn lesions never lets a model
            of real lesions pass.
        may_change: Description of modifications.
        must_not_change: Modifications that would need a new assessment.
        spending: What a look at the test part costs; None in older policies, whose looks cost
            nothing.
        rules: Modification protocol. Each kind of rule at most once, in any order.
        impact: Impact assessment.
        approval: Who must approve; the default for older policies, which say nothing.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    version: Count
    data: Literal["real", "synthetic"]
    intended_use: str
    may_change: tuple[Change, ...]
    must_not_change: tuple[str, ...]
    spending: Spending | None = None
    rules: tuple[PolicyRule, ...] = Field(min_length=1)
    impact: tuple[Risk, ...]
    approval: Approval = Approval()

    @model_validator(mode="after")
    def _rules_make_sense(self) -> "Policy":
        kinds = [each.rule for each in self.rules]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"each rule may stand once; received {', '.join(kinds)}")
        missing = INDISPENSABLE - set(kinds)
        if self.data == "real" and missing:
            raise ValueError(
                f"a policy for real lesions must hold the rules {', '.join(sorted(missing))}"
            )
        return self

    def confidence(self, look: int) -> float:
        """Confidence of the bounds at this look, from 1, at the test part."""
        return 1 - error_at(look, self.spending.error) if self.spending else CONFIDENCE


def policy_bytes(name: str, version: int | None = None) -> bytes:
    """The file of a policy: the latest version, unless a version is named.

    Every released version stays, because a bundle is judged by the version that it names.

    Raises:
        BadInput: There is no policy of this name and version.
    """
    versions = released()
    number = version or max(versions.get(name, {0}))
    if number not in versions.get(name, ()):
        raise BadInput(
            "There is no such policy.",
            expected=" or ".join(sorted(versions))
            if name not in versions
            else f"a version of {name}: {', '.join(map(str, sorted(versions[name])))}",
            received=repr(name) if name not in versions else f"version {number}",
            do="name one of these in the field policy, or a file of your own in the store",
        )
    return (FOLDER / f"{name}-{number}.yaml").read_bytes()


def released() -> dict[str, set[int]]:
    """Each policy's versions, ``tasks/evaluation/policies/<name>-<version>.yaml``, by its name.

    Raises:
        BadInput: A file in the folder has another kind of name.
    """
    found: dict[str, set[int]] = {}
    for path in FOLDER.glob("*.yaml"):
        name, _, version = path.stem.rpartition("-")
        if not name or not version.isdecimal():
            raise BadInput(
                "The name of a policy's file does not state the version.",
                expected=f"{FOLDER.name}/NAME-VERSION.yaml, such as melanoma-5.yaml",
                received=path.name,
                do="rename the file",
            )
        found.setdefault(name, set()).add(int(version))
    return found


def released_hashes() -> set[str]:
    """SHA-256, hex, of every version of every policy of this installation."""
    return {sha256(path.read_bytes()) for path in FOLDER.glob("*.yaml")}


class _Strict(yaml.SafeLoader):
    """A YAML loader that refuses aliases, because a few nested ones can expand to gigabytes, and a
    field that stands twice, because a person reads the one and the program takes the other."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*name)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [str(key.value) for key, _ in node.value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the field {twice[0]} stands twice in one place")
        return super().construct_mapping(node, deep)


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy. Raises `BadInput` if it is incomplete or has an unknown field."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        content = yaml.load(data.decode(), Loader=_Strict)
        if not isinstance(content, Mapping):
            raise ValueError("it is not a table of fields")
        return Policy.model_validate(content)
    except (yaml.YAMLError, ValidationError, ValueError, RecursionError) as error:
        raise BadInput(
            f"The policy {where} cannot be read.",
            expected="a YAML file with the fields of tasks.evaluation.policy.Policy",
            received=" ".join(str(error).split())[:500],
            do="correct the file; tasks/evaluation/policies/melanoma-5.yaml is an example",
        ) from error


def reference(policy: Policy, data: bytes) -> PolicyReference:
    return PolicyReference(name=policy.name, version=policy.version, sha256=sha256(data))


# The policy of a run -----------------------------------------------------------------------------


def is_own(name: str) -> bool:
    """Whether the field ``policy`` of a configuration names a file of the store."""
    return bool(re.fullmatch(OWN_POLICY, name))


def own_policy(store: Store, key: str) -> tuple[Policy, bytes]:
    """An own policy as its file in the store is now, and the bytes of the file.

    Raises:
        BadInput: `key` is not ``policies/NAME.yaml``; or there is no such file; or the file is no
            policy; or it bears the name of a released policy.
    """
    if not is_own(key):
        raise BadInput(
            "This is no policy of the installation's own.",
            expected="policies/NAME.yaml, with letters, digits, '_' and '-' in NAME",
            received=repr(key),
            do="put the file into the folder policies/ of the store, beside raw/",
        )
    try:
        data = store.read(key)
    except NotFound:
        raise BadInput(
            "There is no such policy.",
            expected=f"a file {key} in {store.uri}",
            received="no such file",
            do=f"put the policy there, or name a released one: {', '.join(sorted(released()))}",
        ) from None
    return _of_its_own_name(data, key), data


def fixed_key(run: Run) -> str:
    """Key of the copy that a run keeps of its policy: in the folder ``policy/`` of the run."""
    name = run.config.policy
    return f"runs/{run.name}/policy/{name if is_own(name) else f'{name}.yaml'}"


def policy_of(run: Run) -> tuple[Policy, bytes]:
    """The policy that judges a run, as it was when the run began, and its bytes.

    A run of an earlier version of the program has no copy. It has the latest released version.

    Raises:
        BadInput: The run did not begin with this own policy; or the copy is no policy, or bears
            the name of a released one; or this version of the program does not have the policy.
    """
    name = run.config.policy
    try:
        data = run.store.read(fixed_key(run))
    except NotFound:
        if is_own(name):
            raise BadInput(
                "The run did not begin with this policy.",
                expected=f"the copy {fixed_key(run)}, which the run's first step makes",
                received="no such file",
                do="start a new run with this policy; a run keeps the policy it began with",
            ) from None
        data = policy_bytes(name)
    policy = _of_its_own_name(data, fixed_key(run))
    if not is_own(name) and policy.name != name:
        raise BadInput(
            "The run's copy is of another policy.",
            expected=f"the policy {name} in {fixed_key(run)}",
            received=f"{policy.name}, version {policy.version}",
            do="find out who changed the file; start a new run",
        )
    return policy, data


def bytes_that_judged(run: Run, judged: PolicyReference) -> bytes:
    """The very bytes of the policy that a verdict of a run names.

    Raises:
        Corrupt: Neither the run nor this version of the program has them.
    """
    kept = (run.store.read(each.key) for each in run.store.list(f"runs/{run.name}/policy/"))
    found = next((data for data in kept if sha256(data) == judged.sha256), None)
    if found is None:
        with suppress(BadInput):
            found = policy_bytes(judged.name, judged.version)
    if found is None or sha256(found) != judged.sha256:
        raise Corrupt(
            "The policy that judged the run is gone.",
            expected=f"{judged.name}, version {judged.version}, SHA-256 {judged.sha256}",
            received=f"other bytes, or none, in runs/{run.name}/policy/",
            do="find out who changed the file; restore it from a backup, or start a new run",
        )
    return found


def _of_its_own_name(data: bytes, where: str) -> Policy:
    """Read a policy that does not pass for a released one.

    Raises:
        BadInput: It is no policy; or it bears a released name, and other bytes.
    """
    policy = parse_policy(data, where)
    if policy.name not in released() or sha256(data) in released_hashes():
        return policy
    raise BadInput(
        "A policy bears the name of a released one, and is another.",
        expected=f"a name of its own in {where}, or the very bytes of a released policy",
        received=f"name: {policy.name}, version: {policy.version}, SHA-256 {sha256(data)}",
        do="give it another name in its field name, so that nobody takes it for ours",
    )


def outside_state(run: Run) -> str:
    """State that decides about reuse: SHA-256 of the bytes of the run's policy."""
    return sha256(policy_of(run)[1])
