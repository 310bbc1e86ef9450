"""The pages of feedback: pure functions from what is kept of lesions to HTML.

Addresses that the pages ask for, below the prefix:

    GET  /feedback                         the lesions that wait, and what was released
    GET  /feedback/find?lesion=…           leads to the page of a lesion
    POST /feedback/release                 ``lesion``, several: release into a delivery
    GET  /feedback/<lesion>                a lesion, with the form for its diagnosis
    POST /feedback/<lesion>                ``diagnosis``, ``proof``
    POST /feedback/<lesion>/delete         ``reason``
    GET  /feedback/<lesion>/images/<name>  an image

Each form works without scripts, and sends ``language`` too. Logins, reasons and all else that
records say are hostile input, so the templates escape them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tasks.feedback.decided import Released
from tasks.feedback.kept import PROOFS, Diagnosed, Kept, Waiting
from tasks.lesions import DIAGNOSES, MELANOMA
from tasks.serving.languages import Texts
from tasks.serving.page import rendered
from tasks.serving.sentences import bold
from tasks.text.lines import visible

# What was done, as the pages tell it once after a form was sent.
DONE = ("entered", "released", "deleted")


@dataclass(frozen=True)
class Seen:
    """What a page of feedback is shown with.

    Attributes:
        prefix: Path of the app behind a proxy, without a slash at its end; empty at the root.
        login: Of the reader; empty without a login.
        reviewer: Whether the reader may release and delete.
        done: One of `DONE`, if a form was just sent; else empty.
        error: Why what a form asked for was not done, in English; else empty.
    """

    prefix: str
    login: str
    reviewer: bool
    done: str = ""
    error: str = ""


@dataclass(frozen=True)
class Listed:
    """What the list shows.

    Attributes:
        waiting: The lesions that wait, the oldest first.
        more: Lesions that wait behind these.
        released: Releases with their time, ISO 8601, the newest first.
        damaged: Numbers of lesions that cannot be read, for reviewers.
    """

    waiting: Sequence[Waiting]
    more: int
    released: Sequence[tuple[str, Released]]
    damaged: Sequence[str] = ()


@dataclass(frozen=True)
class Filled:
    """What the form of a lesion holds: what was sent, where it was refused."""

    diagnosis: str = ""
    proof: str = ""
    reason: str = ""


def list_page(texts: Texts, seen: Seen, listed: Listed) -> str:
    """The lesions that wait, and what was released."""
    return _shown("feedback.html.j2", texts, seen, "/feedback", listed=listed)


def lesion_page(texts: Texts, seen: Seen, found: Waiting, filled: Filled) -> str:
    """A lesion with its images, what the app answered, and the form for its diagnosis."""
    here = f"/feedback/{found.kept.lesion}"
    return _shown("lesion.html.j2", texts, seen, here, found=found, filled=filled)


def failed_page(texts: Texts, seen: Seen) -> str:
    """Why there is no list, or no such lesion."""
    return _shown("feedback_failed.html.j2", texts, seen, "/feedback")


def _shown(template: str, texts: Texts, seen: Seen, here: str, **values: object) -> str:
    return rendered(
        template,
        texts,
        seen=seen,
        prefix=seen.prefix,
        here=here,
        feedback=True,
        answered=answered,
        leading=leading,
        entered=entered,
        who=who,
        is_own=is_own,
        classes=DIAGNOSES,
        proofs=PROOFS,
        **values,
    )


# In words -----------------------------------------------------------------------------------------


def answered(texts: Texts, kept: Kept) -> Markup:
    """The app's call in a few words."""
    if kept.decision == "cannot judge":
        return texts.say(f"decision.cannot judge.{'one' if len(kept.images) == 1 else 'other'}")
    return texts.say(f"decision.{kept.decision}")


def leading(texts: Texts, kept: Kept) -> Markup:
    """What the call rests on: the probabilities, or why the app could not judge."""
    if not kept.probabilities:
        told = [texts.words.get(f"ground.{each}.what", visible(each)) for each in kept.refused]
        return Markup(" · ").join(told)
    melanoma = kept.probabilities.get(MELANOMA, 0.0)
    most = max(kept.probabilities, key=lambda name: kept.probabilities[name])
    return texts.say(
        "feedback.leading",
        probability=bold(texts.percent(melanoma)),
        name=visible(texts.named(most)),
        share=texts.percent(kept.probabilities[most]),
    )


def entered(texts: Texts, diagnosed: Diagnosed) -> Markup:
    """A diagnosis with its proof."""
    return texts.say(
        "feedback.diagnosed",
        name=bold(texts.named(diagnosed.diagnosis)),
        proof=texts.say(f"proof.{diagnosed.proof}"),
    )


def who(texts: Texts, login: str) -> str:
    """Who it was."""
    return visible(login) if login else str(texts.say("feedback.no_login"))


def is_own(seen: Seen, found: Waiting) -> bool:
    """Whether who would release has asked about the lesion and entered the diagnosis, too: then
    nobody else has looked."""
    said = found.diagnosed
    return bool(said and seen.login) and seen.login == found.kept.by == (said and said.by)
