"""The gate's policy: a predetermined change control plan.

A policy says what may change between two versions of the model, which rules each version must meet,
and the method that judges each rule. Each version of a policy is a YAML file in
``tasks/evaluation/policies/``, and part of the program and its container images. A verdict names
its policy by name, version and SHA-256 of the file's bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tasks.engine.run import Run
from tasks.errors import BadInput
from tasks.evaluation.champion_rules import (
    AucAgainstChampion,
    ClassesKept,
    SensitivityAgainstChampion,
)
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
        renewed_by: When the count of looks restarts, see `tasks.splitting.looks.looks_before`.
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

    name: str
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
            do="name one of these in the field policy, or add a file to tasks/evaluation/policies",
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
                expected=f"{FOLDER.name}/NAME-VERSION.yaml, such as melanoma-2.yaml",
                received=path.name,
                do="rename the file",
            )
        found.setdefault(name, set()).add(int(version))
    return found


def released_hashes() -> set[str]:
    """SHA-256, hex, of every version of every policy of this installation."""
    return {sha256(path.read_bytes()) for path in FOLDER.glob("*.yaml")}


class _WithoutAliases(yaml.SafeLoader):
    """A YAML loader that refuses aliases: a few nested ones can expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*name)")
        return super().compose_node(parent, index)


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy. Raises `BadInput` if it is incomplete or has an unknown field."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        content = yaml.load(data, Loader=_WithoutAliases)
        if not isinstance(content, Mapping):
            raise ValueError("it is not a table of fields")
        return Policy.model_validate(content)
    except (yaml.YAMLError, ValidationError, ValueError, RecursionError) as error:
        raise BadInput(
            f"The policy {where} cannot be read.",
            expected="a YAML file with the fields of tasks.evaluation.policy.Policy",
            received=" ".join(str(error).split())[:500],
            do="correct the file; tasks/evaluation/policies/melanoma-2.yaml is an example",
        ) from error


def reference(policy: Policy, data: bytes) -> PolicyReference:
    return PolicyReference(name=policy.name, version=policy.version, sha256=sha256(data))


def outside_state(run: Run) -> str:
    """State that decides about reuse: SHA-256 of the configured policy's bytes."""
    return sha256(policy_bytes(run.config.policy))
