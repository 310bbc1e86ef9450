"""Released lesions, and the model that answered about them, without images."""

from collections.abc import Iterable
from typing import Any, get_args

from tasks.evaluation.traces import Decision
from tasks.feedback.decided import Released
from tasks.feedback.kept import Diagnosed, Kept, KeptImage
from tasks.lesions import Diagnosis
from tasks.monitoring.outcomes import OfVersion, Outcomes, Promise
from tasks.monitoring.promise import Sealed
from tasks.registry.promotions import Model
from tasks.statistics.proportions import proportion
from tests.support.approvals import PHYSICIAN

SHA = "a" * 64
MODEL = Model(
    version=3,
    run="store/runs/first",
    model_sha256=SHA,
    threshold=0.4,
    classes=("melanoma", "nevus"),
    evidence_sha256="b" * 64,
)
FOUND, MISSED, REFUSED = get_args(Decision)


def released(
    number: int,
    decision: Decision = FOUND,
    diagnosis: Diagnosis = "melanoma",
    *,
    at: str = "2026-10-05T09:30:00+00:00",
    pixels: Iterable[str] = (),
    model_sha256: str = SHA,
    synthetic: bool = False,
) -> Released:
    """A release; the pixels are the number's own if none are given."""
    images = tuple(
        KeptImage(name=f"{place}.jpg", sha256="0" * 64, pixel_hash=each)
        for place, each in enumerate(pixels or (f"pixels of {number}",), start=1)
    )
    kept = Kept(
        lesion=f"{number:016x}",
        at=at,
        by="",
        version=3,
        model_sha256=model_sha256,
        synthetic=synthetic,
        decision=decision,
        probabilities={} if decision == REFUSED else {"melanoma": 0.5, "nevus": 0.5},
        refused=("blurred",) if decision == REFUSED else (),
        images=images,
    )
    proof: Any = "histopathology"
    told = Diagnosed(diagnosis=diagnosis, proof=proof, by="", at="2026-11-02T08:00:00+00:00")
    return Released(kept=kept, diagnosed=told, by=PHYSICIAN, keys=(f"raw/feedback/{number}.jpg",))


def melanomas(found: Iterable[bool], first: int = 0, **said: Any) -> list[Released]:
    """A melanoma of its own for each, found or missed."""
    return [
        released(number, FOUND if one else MISSED, **said)
        for number, one in enumerate(found, start=first)
    ]


def sealed(found: int = 96, n: int = 100, known: Iterable[str] = ()) -> Sealed:
    """The evidence of a model that found so many of the melanomas of its test part."""
    promise = Promise(sensitivity=proportion(found, n), specificity=proportion(180, 300))
    return Sealed(promise, frozenset(known))


def outcomes_of(own: OfVersion, *earlier: OfVersion, **said: Any) -> Outcomes:
    usual: dict[str, Any] = {"never_in_use": 0, "released": None, "told_by": ""}
    return Outcomes(in_use=own, earlier=earlier, **(usual | said))
