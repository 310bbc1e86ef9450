"""The pages of feedback, added to the app: diagnoses that come later, releases and deletions.

Their addresses are in `tasks.serving.feedback_page`. Each is answered beside the event loop, since
the store may be slow.
"""

import logging
import re
from functools import partial
from typing import Annotated, cast

from fastapi import FastAPI, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tasks.engine.store import Store
from tasks.errors import PipelineError
from tasks.feedback.decided import Released, decided_in
from tasks.feedback.kept import PROOFS, Proof, Waiting, image_of, review_of
from tasks.feedback.release import LONGEST_REASON, delete, release
from tasks.lesions import DIAGNOSES, Diagnosis
from tasks.serving.diagnosing import Viewer, entered, lesion_for
from tasks.serving.feedback_page import (
    DONE,
    Filled,
    Listed,
    Seen,
    failed_page,
    lesion_page,
    list_page,
)
from tasks.serving.languages import Texts, texts_for
from tasks.serving.problems import Refusal, in_words, refusal_of
from tasks.serving.settings import Settings

log = logging.getLogger(__name__)

MOST_WAITING = 50  # of the list; the number in a patient's file leads to the others
MOST_RELEASED = 50
KINDS = {".jpg": "image/jpeg", ".png": "image/png"}

Language = Annotated[str, Query(max_length=20)]
Sent = Annotated[str, Form(max_length=100)]


def add_feedback(app: FastAPI, store: Store, settings: Settings) -> None:
    """Add the pages.

    Args:
        app: The app.
        store: Where lesions are kept.
        settings: The operator's choices.
    """
    pages = FeedbackPages(store, settings)
    add = partial(app.add_api_route, include_in_schema=False)
    add("/feedback", pages.show, methods=["GET"])
    add("/feedback/find", pages.find, methods=["GET"])
    add("/feedback/release", pages.release, methods=["POST"])
    add("/feedback/{lesion}", pages.show_lesion, methods=["GET"])
    add("/feedback/{lesion}", pages.enter, methods=["POST"])
    add("/feedback/{lesion}/delete", pages.delete, methods=["POST"])
    add("/feedback/{lesion}/images/{name}", pages.image, methods=["GET"])


class FeedbackPages:
    """The addresses of the pages, over one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings

    def show(self, request: Request, language: Language = "", done: Language = "") -> Response:
        """The lesions that wait, and what was released."""
        return self._list(request, _texts(request, language), done=done)

    def find(
        self, language: Language = "", lesion: Annotated[str, Query(max_length=100)] = ""
    ) -> Response:
        """Lead to a lesion whose number was typed, with spaces or without."""
        number = re.sub(r"[^0-9a-f]", "", lesion.lower())[:40]
        return self._led(f"/feedback/{number}" if number else "/feedback", language)

    def show_lesion(
        self, request: Request, lesion: str, language: Language = "", done: Language = ""
    ) -> Response:
        """A lesion, with the form for its diagnosis."""
        return self._lesion(request, lesion, _texts(request, language), done=done)

    def enter(
        self,
        request: Request,
        lesion: str,
        diagnosis: Sent = "",
        proof: Sent = "",
        language: Sent = "",
    ) -> Response:
        """Enter a diagnosis."""
        filled = Filled(diagnosis=diagnosis, proof=proof)
        try:
            said = _diagnosis_of(filled)
            entered(self._viewer(request), self.store, lesion, *said)
        except (Refusal, PipelineError) as error:
            texts = _texts(request, language)
            return self._lesion(request, lesion, texts, error=error, filled=filled)
        return self._led(f"/feedback/{lesion}", language, "entered")

    def release(
        self,
        request: Request,
        lesion: Annotated[list[str] | None, Form(max_length=MOST_WAITING)] = None,
        language: Sent = "",
    ) -> Response:
        """Release lesions into a delivery."""
        viewer = self._viewer(request)
        try:
            _check_reviews(viewer)
            if not lesion:
                raise Refusal(422, "No lesion was chosen.", do="choose the lesions to release")
            release(self.store, lesion, viewer.person)
        except (Refusal, PipelineError) as error:
            return self._list(request, _texts(request, language), error=error)
        return self._led("/feedback", language, "released")

    def delete(
        self,
        request: Request,
        lesion: str,
        reason: Annotated[str, Form(max_length=10 * LONGEST_REASON)] = "",
        language: Sent = "",
    ) -> Response:
        """Delete the images of a lesion."""
        viewer = self._viewer(request)
        try:
            lesion_for(viewer, self.store, lesion)
            _check_reviews(viewer)
            delete(self.store, lesion, viewer.person, reason)
        except (Refusal, PipelineError) as error:
            texts, filled = _texts(request, language), Filled(reason=reason)
            return self._lesion(request, lesion, texts, error=error, filled=filled)
        return self._led("/feedback", language, "deleted")

    def image(self, request: Request, lesion: str, name: str) -> Response:
        """An image of a lesion."""
        found = lesion_for(self._viewer(request), self.store, lesion)
        data = image_of(self.store, found, name)
        return Response(data, media_type=KINDS[f".{name.rpartition('.')[2]}"])

    def _viewer(self, request: Request) -> Viewer:
        return Viewer(request, self.settings)

    def _list(
        self,
        request: Request,
        texts: Texts,
        *,
        done: str = "",
        error: Refusal | PipelineError | None = None,
    ) -> Response:
        viewer, refusal = self._viewer(request), _refusal(error) if error else None
        seen = self._seen(viewer, done, refusal)
        try:
            listed = self._listed(viewer)
        except PipelineError as unread:
            refusal = refusal or refusal_of(unread)
            failed = failed_page(texts, self._seen(viewer, "", refusal))
            return HTMLResponse(failed, refusal.status_code)
        return HTMLResponse(list_page(texts, seen, listed), refusal.status_code if refusal else 200)

    def _listed(self, viewer: Viewer) -> Listed:
        review = review_of(self.store)
        waiting = [each for each in review.waiting if viewer.may_see(each.kept)]
        released: list[tuple[str, Released]] = [
            (entry.at, fact)
            for entry, fact in decided_in(self.store).released
            if viewer.may_see(fact.kept)
        ]
        more = max(0, len(waiting) - MOST_WAITING)
        for error in review.damaged.values():
            log.warning("%s", error)
        damaged = list(review.damaged) if viewer.reviewer else []
        return Listed(waiting[:MOST_WAITING], more, released[::-1][:MOST_RELEASED], damaged)

    def _lesion(
        self,
        request: Request,
        lesion: str,
        texts: Texts,
        *,
        done: str = "",
        error: Refusal | PipelineError | None = None,
        filled: Filled | None = None,
    ) -> Response:
        viewer, refusal = self._viewer(request), _refusal(error) if error else None
        try:
            found: Waiting = lesion_for(viewer, self.store, lesion)
        except PipelineError as unread:
            refusal = refusal_of(unread)
            failed = failed_page(texts, self._seen(viewer, "", refusal))
            return HTMLResponse(failed, refusal.status_code)
        said = found.diagnosed
        standing = Filled(said.diagnosis, said.proof) if said else Filled()
        shown = lesion_page(texts, self._seen(viewer, done, refusal), found, filled or standing)
        return HTMLResponse(shown, refusal.status_code if refusal else 200)

    def _seen(self, viewer: Viewer, done: str, refusal: Refusal | None) -> Seen:
        return Seen(
            prefix=self.settings.root_path,
            login=viewer.login,
            reviewer=viewer.reviewer,
            done=done if done in DONE else "",
            error=in_words(refusal) if refusal else "",
        )

    def _led(self, path: str, language: str, done: str = "") -> RedirectResponse:
        """Lead to a page, so that a reload does not send the form again."""
        told = f"language={language}" if re.fullmatch("[a-z]{2}", language) else ""
        query = "&".join(each for each in (told, done and f"done={done}") if each)
        address = f"{self.settings.root_path}{path}" + (f"?{query}" if query else "")
        return RedirectResponse(address, 303)


def _texts(request: Request, language: str) -> Texts:
    return texts_for(language, request.headers.get("accept-language"))


def _refusal(error: Refusal | PipelineError) -> Refusal:
    return error if isinstance(error, Refusal) else refusal_of(error)


def _check_reviews(viewer: Viewer) -> None:
    if not viewer.reviewer:
        raise Refusal(403, "Only reviewers release or delete.", do="ask a reviewer")


def _diagnosis_of(filled: Filled) -> tuple[Diagnosis, Proof]:
    """What was chosen. Raises `Refusal` if a choice is missing, or is none of the choices."""
    for name, value, known in (
        ("diagnosis", filled.diagnosis, DIAGNOSES),
        ("method of proof", filled.proof, PROOFS),
    ):
        if value not in known:
            raise Refusal(
                422, f"The {name} is missing.", received=value[:40], do="choose one of the list"
            )
    return cast(Diagnosis, filled.diagnosis), cast(Proof, filled.proof)
