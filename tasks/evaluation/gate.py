"""gate: decide by a policy whether this model may become a challenger.

The gate judges by confidence bounds, not by point estimates, and may answer "insufficient
evidence". It judges only the frozen test part: cross-validation estimates the procedure, not this
model, and decides nothing. The kinds of rule are in `tasks.evaluation.rules`, the policies in
``tasks/evaluation/policies/``, the cases to judge in `tasks.evaluation.cases`.
"""

import logging

from tasks.engine.ledger import chain_of
from tasks.engine.run import Run
from tasks.evaluation.cases import cases_of
from tasks.evaluation.decision import decide, judge, reason_of, warnings_of
from tasks.evaluation.policy import policy_of, reference
from tasks.evaluation.rules import Case
from tasks.intake.manifest import read_parquet
from tasks.records.evaluated import Evaluated
from tasks.records.split import Split
from tasks.records.verdict import Verdict

log = logging.getLogger(__name__)


def gate(run: Run, split: Split, evaluated: Evaluated) -> Verdict:
    """Judge the figures of the run by the configured policy.

    Raises:
        BadInput: There is no such policy, or it cannot be read.
        Corrupt: The ledger is damaged.
    """
    policy, data = policy_of(run)
    chain = chain_of(run.store)
    cases = cases_of(
        policy,
        run.config,
        evaluated,
        read_parquet(run, evaluated.predictions),
        read_parquet(run, split.parts),
        chain,
        {e.name: read_parquet(run, e.predictions) for e in evaluated.external if e.predictions},
    )
    rules = judge(policy, *cases)
    case: Case = cases[0]
    verdict = Verdict(
        decision=decide(rules),
        rules=rules,
        reason=reason_of(rules, evaluated),
        warnings=warnings_of(policy, case),
        policy=reference(policy, data),
        leaks=case.leaks,
        earlier_evaluations=case.earlier_evaluations,
        looks=case.looks,
        departed=case.departed,
        superseded=case.superseded,
        relabelled=case.relabelled,
        ledger=chain.head,
    )
    log.info("Verdict: %s. %s", verdict.decision, verdict.reason)
    for warning in verdict.warnings:
        log.warning("%s", warning)
    return verdict
