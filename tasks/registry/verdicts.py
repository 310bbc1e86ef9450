"""Anchor the verdict of a run outside its store: in the tags of an MLflow run.

Whoever can write the store can forge a run's records and evidence consistently, and register the
model of a run that was refused. The tags say what the verdict was, and by which evidence. A run is
judged once: another verdict of the same run, or another evidence, is refused.
"""

from typing import Any

from tasks.engine.run import Run
from tasks.errors import Corrupt
from tasks.records.record import sha256
from tasks.records.verdict import Verdict
from tasks.registry.versions import experiment_id, mlflow_module

# Names of tags. Each key goes on with the run and its store, see `key_of`.
VERDICT, REASON, EVIDENCE = "verdict", "verdict_reason", "evidence_sha256"
LEDGER, JUDGED = "ledger_head", "judged_run"
MOST_CHARACTERS = 2000  # of a reason; MLflow takes 8,000


def anchor_verdict(
    client: Any, run: Run, run_id: str, verdict: Verdict, evidence_sha256: str
) -> None:
    """Write the verdict of a run into the tags of an MLflow run, unless it is there already.

    Args:
        client: MLflow's client.
        run: The run that was judged.
        run_id: The MLflow run of its training.
        verdict: The verdict.
        evidence_sha256: SHA-256 of the manifest of the run's evidence.

    Raises:
        Corrupt: MLflow holds another verdict, or another evidence, of this run.
    """
    earlier = _anchors(client, run)
    for tags in earlier:
        then = tags[key_of(EVIDENCE, run)]
        if then != evidence_sha256:
            raise Corrupt(
                f"Run {run.name} was judged before, by other evidence.",
                expected=f"the evidence of then, {then}: {tags.get(key_of(VERDICT, run))}",
                received=f"{evidence_sha256}: {verdict.decision}",
                do="find out who changed the run's folder in the store, or the tags in MLflow; to "
                "judge anew, start a run of another name",
            )
    if earlier:
        return
    tag = mlflow_module("mlflow.entities").RunTag
    found = {
        JUDGED: run.uri,
        VERDICT: verdict.decision,
        REASON: verdict.reason[:MOST_CHARACTERS],
        EVIDENCE: evidence_sha256,
        LEDGER: verdict.ledger.model_dump_json() if verdict.ledger else "",
    }
    client.log_batch(run_id, tags=[tag(key_of(name, run), value) for name, value in found.items()])


def anchored_evidence(client: Any, run: Run) -> set[str]:
    """SHA-256 of each manifest with which MLflow knows this run; empty if none was anchored."""
    return {tags[key_of(EVIDENCE, run)] for tags in _anchors(client, run)}


def key_of(name: str, run: Run) -> str:
    """The key of a tag: several runs, also of several stores, may share one training."""
    return f"{name}/{run.name}/{sha256(run.store.uri.encode())[:12]}"


def _anchors(client: Any, run: Run) -> list[dict[str, str]]:
    """The tags of each MLflow run, a deleted one too, that holds a verdict of this run. The run's
    records, which may be forged, do not decide where to look."""
    found = client.search_runs(
        [experiment_id(client, run.store)],
        f"tags.`{key_of(EVIDENCE, run)}` LIKE '%'",
        run_view_type=mlflow_module("mlflow.entities").ViewType.ALL,
    )
    return [dict(each.data.tags) for each in found]
