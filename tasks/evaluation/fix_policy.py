"""fix_policy: keep a run's policy, as it is when the run begins, in the run's own folder.

A wrong policy is told here, before hours are spent. The copy is what judges: a file that is changed
or removed later is for the next run.
"""

import logging
from contextlib import suppress

from tasks.engine.run import Run
from tasks.errors import AlreadyExists, NotFound
from tasks.evaluation.policy import (
    fixed_key,
    is_own,
    own_policy,
    policy_bytes,
    reference,
    released_hashes,
)
from tasks.records.verdict import PolicyReference
from tasks.registry.promotions import promotions_in

log = logging.getLogger("tasks")


def begin(run: Run) -> None:
    """Keep the policy that the configuration of a run names, unless the run has a copy.

    Raises:
        BadInput: There is no such policy; or it cannot be read; or it bears the name of a released
            policy, or the name and version of one that people approved, and is another.
        Corrupt: The ledger of promotions is damaged.
    """
    with suppress(NotFound):
        run.store.read(fixed_key(run))
        return
    name = run.config.policy
    if is_own(name):
        policy, data = own_policy(run.store, name)
        _tell_of_approval(run, reference(policy, data))
    else:
        data = policy_bytes(name)
    with suppress(AlreadyExists):  # another part of the first step was faster
        run.store.create(fixed_key(run), data)


def _tell_of_approval(run: Run, named: PolicyReference) -> None:
    """Warn if nobody could be asked about a model that this policy lets pass."""
    if named.sha256 in released_hashes():
        return
    now = promotions_in(run.store)
    now.check_unique(named.name, named.version, named.sha256)
    if now.approved_policy(named.sha256) is None:
        log.warning(
            "The policy %s, version %d, is not approved here yet. The gate judges by it, but no "
            "model that it lets pass can go into use before two people have approved the policy: "
            "`python -m tasks approve-policy --store %s --policy %s`, or the DAG melanoma_policy.",
            named.name,
            named.version,
            run.store.uri,
            run.config.policy,
        )
