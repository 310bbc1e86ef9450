"""Keep the images of a lesion whose patient has agreed, beside the answer that was given."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from tasks.engine.store import Store
from tasks.errors import BadInput, PipelineError
from tasks.feedback.bare import Bare, bare
from tasks.feedback.kept import Kept, bytes_kept, images_named, keep
from tasks.serving.answer import Answer
from tasks.serving.metrics import Metrics
from tasks.serving.problems import Refusal
from tasks.serving.settings import Settings

log = logging.getLogger(__name__)

OF_CHALLENGER = "What the challenger is asked about is never kept."
OF_EXAMPLE = "An example is drawn by the program. It is never kept."
FAILED = "The images could not be kept. The log of the app says why."


def check_consent(settings: Settings, *, consent: bool) -> None:
    """Check that images may be kept here.

    Raises:
        Refusal: They are sent to be kept, and the installation keeps none.
    """
    if consent and not settings.feedback:
        raise Refusal(
            403,
            "This installation keeps no images.",
            expected="no field consent",
            received="consent=true",
            do="ask without consent, or start the app with --feedback",
        )


def with_images_kept(
    answer: Answer,
    files: Sequence[bytes],
    lesion: str,
    *,
    store: Store,
    settings: Settings,
    metrics: Metrics,
    by: str,
) -> Answer:
    """Keep a lesion. An answer that was found is given, whether its images can be kept or not.

    Args:
        answer: The answer of the champion.
        files: The files as they were sent.
        lesion: Number of the lesion, as in its trace.
        store: Where the lesion is kept.
        settings: The operator's choices.
        metrics: Counts what was kept, and what could not be kept.
        by: Login of who asked; empty without a login.

    Returns:
        The answer with the number under which the images are kept, or with the reason why they
        are not.
    """
    try:
        check_room(store, settings)
        images = _images(files, settings)
        keep(store, _kept(answer, images, lesion, by), images)
    except PipelineError as error:
        why = str(error).splitlines()[0]
        log.warning("The images of a lesion are not kept: %s", why)
    except Exception:  # what a file holds that no rule foresees must not cost the answer
        why = FAILED
        log.exception("The images of a lesion are not kept.")
    else:
        metrics.kept.inc()
        return answer.model_copy(update={"lesion": lesion})
    metrics.not_kept.inc()
    return answer.model_copy(update={"not_kept": why})


def check_room(store: Store, settings: Settings) -> None:
    """Check that what waits for reviewers leaves room.

    Raises:
        BadInput: It does not.
    """
    if bytes_kept(store) >= settings.review_bytes:
        raise BadInput(
            "No more images are kept: too many wait for a reviewer.",
            expected=f"less than {settings.review_bytes:,} bytes that wait",
            received="more",
            do="ask a reviewer to release or delete lesions",
        )


def _images(files: Sequence[bytes], settings: Settings) -> list[Bare]:
    """The files without metadata. Raises `BadInput` where they are too large together."""
    images: list[Bare] = []
    for data in files:
        images += bare(data, settings.megapixels)
        if sum(len(each.data) for each in images) > settings.lesion_bytes:
            raise BadInput(
                "The images are too large to be kept.",
                expected=f"at most {settings.lesion_bytes:,} bytes of one lesion as JPEG or PNG",
                received="more",
                do="send fewer or smaller images of the lesion",
            )
    return images


def _kept(answer: Answer, images: Sequence[Bare], lesion: str, by: str) -> Kept:
    facts = answer.model
    return Kept(
        lesion=lesion,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=by,
        version=facts.version,
        model_sha256=facts.sha256,
        synthetic=facts.synthetic,
        decision=answer.decision,
        probabilities=answer.probabilities,
        refused=tuple(dict.fromkeys(each.ground for each in answer.refused)),
        images=images_named(images),
    )
