"""What a model promises, and the images that it knows, from the evidence that was sealed with it.

The ledger of promotions names the SHA-256 of the evidence, so nobody can change a promise later.
"""

from dataclasses import dataclass

from tasks.errors import BadInput, Corrupt
from tasks.monitoring.outcomes import Promise
from tasks.records.evaluated import Evaluated
from tasks.records.record import sha256
from tasks.records.split import Split
from tasks.registry.promotions import Model
from tasks.release.evidence import FOLDER, Bundle


@dataclass(frozen=True)
class Sealed:
    """What the evidence of a model says.

    Attributes:
        promise: The figures of its own test part that the app tells people.
        pixels: Pixel hashes of the images of its training, validation and test part.
    """

    promise: Promise
    pixels: frozenset[str]


def sealed_of(model: Model) -> Sealed:
    """What the evidence of a model says.

    Args:
        model: As the ledger of promotions names it.

    Raises:
        BadInput: The model has no evidence, or its evidence is gone.
        Corrupt: The evidence is not that of this model, or was changed.
    """
    if model.evidence_sha256 is None:
        raise BadInput(
            f"It is not known what version {model.version} promises.",
            expected="evidence, which the ledger of promotions names",
            received="a version of an earlier version of the program, without evidence",
            do="run a retraining, and have the version that it registers approved",
        )
    bundle = Bundle(f"{model.run}/{FOLDER}")
    if sha256(bundle.manifest_data) != model.evidence_sha256:
        raise Corrupt(
            f"The evidence of version {model.version} is not the bundle that people approved.",
            expected=f"a manifest with SHA-256 {model.evidence_sha256}",
            received=sha256(bundle.manifest_data),
            do=f"find out who changed {bundle.uri}",
        )
    evaluated, split = bundle.record("evaluate"), bundle.record("split")
    assert isinstance(evaluated, Evaluated)
    assert isinstance(split, Split)
    if evaluated.model.sha256 != model.model_sha256:
        raise Corrupt(
            f"The evidence of version {model.version} is of another model.",
            expected=f"a model with SHA-256 {model.model_sha256}",
            received=evaluated.model.sha256,
            do=f"find out who changed {bundle.uri}",
        )
    told = evaluated.figures.headline  # what the app tells, see `tasks.serving.in_use`
    parts = bundle.table("split", split.parts)
    return Sealed(
        Promise(sensitivity=told.sensitivity, specificity=told.specificity),
        frozenset(parts["pixel_hash"].dropna().astype(str)),
    )
