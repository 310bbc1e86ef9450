"""The gate's policy: a predetermined change control plan, one YAML file in ``tasks/policies/``.

It says what may change between two versions of the model, which rules each version must meet, and
by which method each is judged. The files travel with the program, also into its container images;
a verdict names the one that was used by name, version and SHA-256 of its bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from tasks.contracts import Frozen, PolicyReference
from tasks.errors import BadInput
from tasks.run import Run, sha256

FOLDER = Path(__file__).parent / "policies"

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

EXACT = "Clopper-Pearson, one-sided 95 %, by lesion"


class _Rule(Frozen):
    """`why` says what the rule is for; each kind knows the one method by which it is judged."""

    why: str


class NoLeak(_Rule):
    rule: Literal["no_leak"]
    method: Literal["groups recomputed from the parts"]


class Sensitivity(_Rule):
    rule: Literal["sensitivity"]
    at_least: Share
    method: Literal["Clopper-Pearson, one-sided 95 %, by lesion"]


class Specificity(_Rule):
    rule: Literal["specificity"]
    at_least: Share
    method: Literal["Clopper-Pearson, one-sided 95 %, by lesion"]


class BalancedAccuracy(_Rule):
    rule: Literal["balanced_accuracy"]
    at_least: Share
    method: Literal["Wilson and MOVER, two-sided 95 %, by lesion"]


class WithinSourceAuc(_Rule):
    """`fewest`: melanomas, and nevi, of an archive that is judged."""

    rule: Literal["within_source_auc"]
    at_least: Share
    fewest: Count
    method: Literal["DeLong, two-sided 95 %, by lesion"]


class CalibrationError(_Rule):
    rule: Literal["calibration"]
    at_most: Share
    method: Literal["expected calibration error, bootstrap, two-sided 95 %, by lesion"]


class EveryClassRecalled(_Rule):
    """`fewest`: lesions of a class of which none was found, to call that a failure."""

    rule: Literal["every_class_recalled"]
    fewest: Count
    method: Literal["counts, by lesion"]


class SubgroupSensitivity(_Rule):
    """`fewest`: melanomas of a subgroup that is judged."""

    rule: Literal["subgroup_sensitivity"]
    at_least: Share
    fewest: Count
    method: Literal["Clopper-Pearson, one-sided 95 %, by lesion"]


class SensitivityAgainstChampion(_Rule):
    rule: Literal["sensitivity_against_champion"]
    margin: Share
    method: Literal[
        "exact unconditional test of the score statistic, one-sided 95 %, paired by lesion"
    ]


class AucAgainstChampion(_Rule):
    rule: Literal["auc_against_champion"]
    margin: Share
    method: Literal["DeLong, paired, two-sided 95 %, by lesion"]


class ClassesKept(_Rule):
    rule: Literal["classes_kept"]
    method: Literal["comparison with the champion's classes"]


class TestPartReuse(_Rule):
    rule: Literal["test_part_reuse"]
    warn_above: Count
    method: Literal["count in the ledger of evaluations"]


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
        rules: Modification protocol. Each kind at most once; their order means nothing.
        impact: Impact assessment.
    """

    name: str
    version: Count
    data: Literal["real", "synthetic"]
    intended_use: str
    may_change: tuple[Change, ...]
    must_not_change: tuple[str, ...]
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


def policy_bytes(name: str) -> bytes:
    """The file of a policy. Raises `BadInput` if there is none of this name."""
    path = FOLDER / f"{name}.yaml"
    known = sorted(each.stem for each in FOLDER.glob("*.yaml"))
    if name not in known:
        raise BadInput(
            "There is no such policy.",
            expected=" or ".join(known),
            received=repr(name),
            do="name one of these in the field policy, or add a file to tasks/policies",
        )
    return path.read_bytes()


def parse_policy(data: bytes, where: str) -> Policy:
    """Read a policy. Raises `BadInput` unless it is one, whole and with no unknown field."""
    try:
        content = yaml.safe_load(data)
        if not isinstance(content, Mapping):
            raise ValueError("it is not a table of fields")
        return Policy.model_validate(content)
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        raise BadInput(
            f"The policy {where} cannot be read.",
            expected="a YAML file with the fields of tasks.policy.Policy",
            received=" ".join(str(error).split())[:500],
            do="correct the file; tasks/policies/melanoma.yaml is an example",
        ) from error


def reference(policy: Policy, data: bytes) -> PolicyReference:
    return PolicyReference(name=policy.name, version=policy.version, sha256=sha256(data))


def outside_state(run: Run) -> str:
    """What the configured policy says, as far as reuse is concerned: SHA-256 of its bytes."""
    return sha256(policy_bytes(run.config.policy))
