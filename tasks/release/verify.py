"""verify: whether the evidence of a run holds, told by nothing but the evidence.

Checks in this order, and stops at the first that does not hold: no file was changed, added or
taken away; the records follow from each other; the split lets no group straddle; copies are of
training images; the figures follow from the predictions, and so do the comparison with the champion
and what cross-validation found; the verdict follows from the figures and the policy. Needs neither
Airflow nor MLflow, nor any network for a bundle in a directory.

What it cannot see: whether the predictions are those of the models (the images are not in the
bundle), whether the threshold is that of the validation part (whose predictions are not in it
either), what the champion's threshold is and what it learned from (the registry and the champion's
own run tell), and whether somebody who made up a whole run has sealed it. Against the latter stands
the manifest's hash in the registry: `expected`.
"""

from collections.abc import Callable

from tasks.records.evaluated import Evaluated
from tasks.records.record import Frozen, sha256
from tasks.records.verdict import Verdict
from tasks.release.checks import data, figures, records, verdict
from tasks.release.checks.flaw import flaw, record_of
from tasks.release.evidence import Bundle

# What tables, records and files that somebody made up raise. A forger need not be tidy.
UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(OSError, RecursionError),  # pyarrow's, of a broken table; JSON that is nested too deeply
)

CHECKS: tuple[Callable[..., str], ...] = (
    records.the_manifest_is_sealed,
    records.every_file_is_there_unchanged,
    records.the_records_follow_from_each_other,
    records.the_records_vouch_for_the_files,
    records.the_ledger_is_one_chain,
    data.every_file_delivered_is_accounted_for,
    data.no_group_straddles,
    data.copies_are_of_training_images,
    figures.the_model_is_one_that_was_trained,
    figures.the_figures_follow_from_the_predictions,
    figures.the_comparison_follows_from_the_predictions,
    figures.the_cross_estimate_follows_from_its_predictions,
    verdict.the_verdict_follows_from_the_figures,
    verdict.the_card_tells_the_verdict,
    records.the_libraries_are_listed,
)


class Verified(Frozen):
    """A bundle that holds.

    Attributes:
        held: What was checked, in words, in the order of the checks.
    """

    evidence: str
    manifest_sha256: str
    run: str
    decision: str
    model_sha256: str
    held: tuple[str, ...]


def verify(uri: str, expected: str | None = None) -> Verified:
    """Check a bundle.

    Args:
        uri: Of the folder with the manifest: a directory, or ``s3://bucket/prefix``.
        expected: SHA-256 of the manifest, from the registry, if it is known.

    Raises:
        Corrupt: Something does not hold; the message names the first thing that does not.
        BadInput: There is no bundle.
    """
    bundle = Bundle(uri)
    held = []
    for check in CHECKS:
        try:
            sealed = check is records.the_manifest_is_sealed
            said = check(bundle, expected) if sealed else check(bundle)
        except UNREADABLE as error:
            raise flaw(
                f"{check.__name__.replace('_', ' ')}: it cannot be read",
                "tables and records as this version of the pipeline writes them",
                f"{type(error).__name__}: {error}"[:300],
            ) from error
        held.append(said)
    evaluated, judged = record_of(bundle, Evaluated), record_of(bundle, Verdict)
    return Verified(
        evidence=bundle.uri,
        manifest_sha256=sha256(bundle.manifest_data),
        run=bundle.manifest.run,
        decision=judged.decision,
        model_sha256=evaluated.model.sha256,
        held=tuple(held),
    )
