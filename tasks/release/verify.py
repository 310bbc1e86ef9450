"""verify: check the evidence of a run using only the bundle.

The checks run in this order and stop at the first flaw. No file was changed, added or removed, but
by an erasure that the bundle tells. With a key, an accepted key signed the bundle. The records
follow from each other. No more is missing than was erased. No group stands on two sides of the
split. Copies are of training images. The figures, the comparisons with the champion and with the
standing challenger, cross-validation and the figures on external sets follow from the predictions.
No external image shares anything with an image of the split. The judge of images can be read, and
the lesions that it leaves follow from the predictions. The golden images are test images,
with the answers of the predictions. The verdict follows from the figures and the policy.
For a bundle in a directory, the checks need no network; they never need Airflow or MLflow.

The checks cannot find out:

- whether the models made the predictions, because the weights and most images are not in the bundle
  (`tasks.release.served` asks a registered model about the golden images);
- whether validation gave the threshold, because its predictions are not in the bundle;
- the champion's threshold, and the images that the champion learned from, which only the registry
  and the champion's own run hold;
- without a key, whether somebody invented and sealed a whole run. The hash of the manifest in the
  registry rules that out: pass it as `expected`.
"""

from collections.abc import Callable

from tasks.engine.signing import Keys
from tasks.records.evaluated import Evaluated
from tasks.records.record import Frozen, sha256
from tasks.records.verdict import Verdict
from tasks.release.checks import data, external, figures, golden, records, refusals, verdict
from tasks.release.checks.flaw import flaw, record_of
from tasks.release.evidence import Bundle
from tasks.release.signature import the_signature_holds

# Errors that forged or broken tables, records and files raise.
UNREADABLE = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(OSError, RecursionError),  # pyarrow's, of a broken table; JSON that is nested too deeply
)

CHECKS: tuple[Callable[..., str], ...] = (
    records.the_manifest_is_sealed,
    records.every_file_is_there_unchanged,
    the_signature_holds,
    records.the_records_follow_from_each_other,
    records.the_records_vouch_for_the_files,
    records.only_what_was_erased_is_missing,
    records.the_ledger_is_one_chain,
    data.every_file_delivered_is_accounted_for,
    data.no_group_straddles,
    data.copies_are_of_training_images,
    figures.the_model_is_one_that_was_trained,
    figures.the_figures_follow_from_the_predictions,
    figures.the_shortcut_probes_follow_from_the_predictions,
    figures.the_comparison_follows_from_the_predictions,
    figures.the_ranking_follows_from_the_predictions,
    figures.the_cross_estimate_follows_from_its_predictions,
    external.external_sets_share_nothing_with_what_was_learned_from,
    external.the_external_figures_follow_from_the_predictions,
    refusals.the_refusals_follow_from_the_predictions,
    golden.the_golden_images_are_of_the_test_part,
    refusals.the_judge_says_the_same_of_the_golden_images,
    verdict.the_verdict_follows_from_the_figures,
    verdict.the_card_tells_the_verdict,
    records.the_libraries_are_listed,
)


class Verified(Frozen):
    """The outcome of a verification without a flaw.

    Attributes:
        held: What each check found, in words, in the order of the checks.
        gaps: What was erased since the bundle was sealed, in words; empty if nothing was.
        signature: Who signed the bundle, or that nobody did or nobody checked, in words.
    """

    evidence: str
    manifest_sha256: str
    run: str
    decision: str
    model_sha256: str
    held: tuple[str, ...]
    signature: str
    gaps: str = ""


def verify(uri: str, expected: str | None = None, keys: Keys | None = None) -> Verified:
    """Check a bundle.

    Args:
        uri: Folder with the manifest: a directory, or ``s3://bucket/prefix``.
        expected: SHA-256 of the manifest, from the registry; None if it is not known.
        keys: Whose signatures are accepted; None for the keys of this process. Without any key a
            bundle need not be signed.

    Raises:
        Corrupt: A check fails; the message names the first flaw.
        BadInput: There is no bundle at this address.
    """
    bundle = Bundle(uri, keys)
    held, signature = [], ""
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
        if check is the_signature_holds:
            signature = said
        else:
            held.append(said)
    evaluated, judged = record_of(bundle, Evaluated), record_of(bundle, Verdict)
    return Verified(
        evidence=bundle.uri,
        manifest_sha256=sha256(bundle.manifest_data),
        run=bundle.manifest.run,
        decision=judged.decision,
        model_sha256=evaluated.model.sha256,
        held=tuple(held),
        signature=signature,
        gaps=bundle.gaps.in_words if bundle.gaps else "",
    )
