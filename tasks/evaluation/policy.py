"""The gate's policy: a predetermined change control plan, a YAML file for each version in
``tasks/evaluation/policies/``.

It says what may change between two versions of the model, which rules each version must meet, and
by which method each is judged. The files travel with the program, also into its container images;
a verdict names the one that was used by name, version and SHA-256 of its bytes.
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
MOST_BYTES = 64 * 1024  # ten times the longest of ours

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
    """How a policy's one chance of error is spent over the models judged on one test part.

    Whoever may try again and again finds a model that passes by chance. The bounds of look number
    k have a confidence of 1 - error * 6 / (pi k)^2, so that of any number of models that are each
    below what a rule asks, one passes with a chance of at most `error`. Policies of version 1 spend
    nothing: each of their looks has the full chance again.

    Attributes:
        error: Over all looks at one test part, 0 to 1.
        by: How, as `tasks.statistics.confidence.error_at`.
        renewed_by: When the count begins anew, as `tasks.splitting.looks.looks_before` counts.
        source: Of the rule.
    """

    error: Annotated[float, Field(gt=0, le=0.5)]
    by: Literal["error * 6 / (pi look)^2"]
    renewed_by: Literal["more than half of the test part, and of its melanomas, being new"]
    source: str


# Without these no policy for patients makes sense: see `Policy`.
INDISPENSABLE = {"no_leak", "sensitivity", "specificity"}


class Change(Frozen):
    """Something that may differ between two versions, and within what limits."""

    what: str
    how: str


class Risk(Frozen):
    risk: str
    control: str


class Policy(Frozen):
    """A predetermined change control plan.

    Attributes:
        data: What it may be applied to: a policy for drawn lesions never lets a model of real
            ones pass.
        may_change: Description of modifications.
        must_not_change: What would need a new assessment.
        spending: What a look at the test part costs; None in policies from before it cost anything.
        rules: Modification protocol. Each kind at most once; their order means nothing.
        impact: Impact assessment.
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
        """Of the bounds by which the model of this number, from 1, is judged."""
        return 1 - error_at(look, self.spending.error) if self.spending else CONFIDENCE


def policy_bytes(name: str, version: int | None = None) -> bytes:
    """The file of a policy: the latest version, unless one is named.

    Every version that was released stays, since a bundle is judged by its own.

    Raises:
        BadInput: There is none of this name and version.
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
        BadInput: A file there has no such name.
    """
    found: dict[str, set[int]] = {}
    for path in FOLDER.glob("*.yaml"):
        name, _, version = path.stem.rpartition("-")
        if not name or not version.isdecimal():
            raise BadInput(
                "A policy's file does not say which version it is.",
                expected=f"{FOLDER.name}/NAME-VERSION.yaml, such as melanoma-2.yaml",
                received=path.name,
                do="rename the file",
            )
        found.setdefault(name, set()).add(int(version))
    return found


class _WithoutAliases(yaml.SafeLoader):
    """A few lines of aliases to aliases unfold into gigabytes; no policy needs any."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it holds an alias (*name)")
        return super().compose_node(parent, index)


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy. Raises `BadInput` unless it is one, whole and with no unknown field."""
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
    """What the configured policy says, as far as reuse is concerned: SHA-256 of its bytes."""
    return sha256(policy_bytes(run.config.policy))
