"""gate: whether this model may become a challenger, by the rules of a policy.

It believes bounds, not points, and may answer "insufficient evidence". The rules are in
`tasks.rules`, what is asked in ``tasks/policies/``. It judges the frozen test part alone: what
cross-validation found is about the procedure, not about this model, and decides nothing.
"""

import logging

from tasks.contracts import Evaluated, Split, Verdict
from tasks.groups import straddling
from tasks.ledger import earlier_evaluations, hash_of_test_part
from tasks.lesions import source_from
from tasks.manifest import read_parquet
from tasks.policy import parse_policy, policy_bytes, reference
from tasks.rules import Case, decide, judge, reason_of, warnings_of
from tasks.run import Run

log = logging.getLogger(__name__)


def gate(run: Run, split: Split, evaluated: Evaluated) -> Verdict:
    """Judge what was measured by the configured policy.

    Raises:
        BadInput: There is no such policy, or it cannot be read.
    """
    data = policy_bytes(run.config.policy)
    policy = parse_policy(data, run.config.policy)
    parts = read_parquet(run, split.parts)
    test = parts[parts["side"] == "test"]
    case = Case(
        evaluated=evaluated,
        leaks=len(straddling(parts)),
        same_test_part=hash_of_test_part(test) == evaluated.test_part,
        earlier_evaluations=earlier_evaluations(run, test, evaluated.model.sha256),
        synthetic=bool(parts["image_id"].map(source_from).eq("SYNTHETIC").all()),
    )
    rules = judge(policy, case)
    verdict = Verdict(
        decision=decide(rules),
        rules=rules,
        reason=reason_of(rules, evaluated),
        warnings=warnings_of(policy, case),
        policy=reference(policy, data),
        leaks=case.leaks,
        earlier_evaluations=case.earlier_evaluations,
    )
    log.info("Verdict: %s. %s", verdict.decision, verdict.reason)
    for warning in verdict.warnings:
        log.warning("%s", warning)
    return verdict
