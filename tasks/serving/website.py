"""The page for people, added to the app: its addresses, its examples and the report of a model."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, File, Form, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, Response
from PIL import Image as Picture

from tasks.errors import NotFound
from tasks.intake.drawn_lesions import draw
from tasks.lesions import Diagnosis
from tasks.serving.answer import Answer
from tasks.serving.answering import Image, Unreadable, answered, data_url, lesion_of
from tasks.serving.api import asked_of, contents_of, given, may_review
from tasks.serving.consent import OF_EXAMPLE, check_consent
from tasks.serving.follow import Follower, Now
from tasks.serving.languages import Texts, texts_for
from tasks.serving.page import PAGES, Example, failure, page, result
from tasks.serving.problems import Refusal, in_words, refusal_of
from tasks.serving.reviewing import add_feedback
from tasks.serving.settings import Settings

# Drawn lesions to ask about: name, class, and the seed of the drawing.
DRAWN: tuple[tuple[str, Diagnosis, int], ...] = (
    ("a", "melanoma", 1),
    ("b", "nevus", 2),
    ("c", "basal cell carcinoma", 3),
    ("d", "vascular lesion", 4),
)
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# The report brings looks and charts of its own, and no script; it may do nothing else.
OF_REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def add_page(app: FastAPI, follower: Follower, settings: Settings) -> None:
    """Add the page's addresses, see `tasks.serving.page`.

    Args:
        app: The app.
        follower: Says which model is in use, and holds the store with the reports.
        settings: The operator's choices.
    """
    website = Website(follower, settings)
    add = partial(app.add_api_route, include_in_schema=False)
    add("/", website.show, methods=["GET"])
    add("/", website.answer_whole, methods=["POST"])
    add("/page/answer", website.answer, methods=["POST"])
    add("/page/report/{version}", website.report, methods=["GET"])
    add("/page/examples/{name}.png", example_image, methods=["GET"])
    for path in PAGES.iterdir():
        if path.suffix in KINDS:
            add(f"/page/{path.name}", _static(path), methods=["GET"])
    if settings.feedback:
        add_feedback(app, follower.store, settings)


@dataclass(frozen=True)
class Question:
    """What the form of the page sends."""

    images: list[UploadFile]
    language: str
    attention: bool
    beside: bool
    consent: bool
    example: str

    def files(self, settings: Settings) -> list[bytes]:
        """The files to answer about. Raises `Refusal` if there are none, or too many."""
        if not self.example:
            return contents_of(self.images, settings.files, settings.file_bytes)
        if self.example not in {name for name, _, _ in DRAWN}:
            raise Refusal(422, "There is no such example.")
        return [drawn_image(self.example)]


def question_of(
    images: Annotated[list[UploadFile] | None, File()] = None,
    language: Annotated[str, Form(max_length=20)] = "",
    attention: Annotated[bool, Form()] = False,
    beside: Annotated[bool, Form()] = False,
    consent: Annotated[bool, Form()] = False,
    example: Annotated[str, Form(max_length=20)] = "",
) -> Question:
    """The question that a request holds."""
    # A browser sends an empty file of no name where none was chosen.
    chosen = [each for each in images or [] if each.filename or each.size]
    return Question(chosen, language, attention, beside, consent, example)


class Website:
    """The addresses of the page, over one follower."""

    def __init__(self, follower: Follower, settings: Settings) -> None:
        self.follower, self.settings = follower, settings

    def show(
        self,
        request: Request,
        language: Annotated[str | None, Query(max_length=20)] = None,
    ) -> HTMLResponse:
        """The page, without an answer."""
        return HTMLResponse(self._page(request, self.follower.now, _texts(request, language)))

    def answer(
        self,
        request: Request,
        asked: Annotated[Question, Depends(question_of)],
    ) -> HTMLResponse:
        """The answer alone, which the page's script puts in its place."""
        now, texts = self.follower.now, _texts(request, asked.language)
        try:
            told = self._answered(request, now, asked)
        except (Refusal, Unreadable) as error:
            refusal = _refusal(error)
            return HTMLResponse(failure(texts, in_words(refusal)), refusal.status_code)
        return HTMLResponse(
            result(
                texts,
                told.answer,
                told.beside,
                told.shown,
                prefix=self.settings.root_path,
                drawn=bool(asked.example),
            )
        )

    def answer_whole(
        self,
        request: Request,
        asked: Annotated[Question, Depends(question_of)],
    ) -> HTMLResponse:
        """The page with the answer, for a browser without scripts."""
        now, texts = self.follower.now, _texts(request, asked.language)
        try:
            told = self._answered(request, now, asked)
        except (Refusal, Unreadable) as error:
            refusal = _refusal(error)
            shown = self._page(request, now, texts, error=in_words(refusal))
            return HTMLResponse(shown, refusal.status_code)
        return HTMLResponse(self._page(request, now, texts, told, drawn=bool(asked.example)))

    def report(self, request: Request, version: int) -> Response:
        """The report of the run that made the model in use, or the one that waits."""
        now = self.follower.now
        shown = [now.champion, now.challenger if may_review(request) else None]
        run = next((each.facts.run for each in shown if each and each.facts.version == version), "")
        try:
            if not run:
                raise Refusal(404, "No model that can be asked has this number.")
            data = self.follower.store.read(f"runs/{run}/report.html")
        except NotFound as error:
            raise Refusal(404, error.problem, received=error.received, do=error.do) from error
        return Response(
            data,
            media_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": OF_REPORT},
        )

    def _answered(self, request: Request, now: Now, asked: Question) -> "ToldOf":
        """Answer with one snapshot: the champion, or the challenger where a reviewer has no
        champion to ask."""
        check_consent(self.settings, consent=asked.consent)
        reviewer = may_review(request)
        alone = "challenger" if now.champion is None and now.challenger and reviewer else "champion"
        model = asked_of(now, alone, reviewer=reviewer)
        files = asked.files(self.settings)
        lesion = lesion_of(files, model.side, self.settings.megapixels)
        told = answered(model, lesion, attention=asked.attention)
        other = None
        if asked.beside and alone == "champion":
            waiting = asked_of(now, "challenger", reviewer=reviewer)
            again = lesion
            if waiting.side != model.side:
                again = lesion_of(files, waiting.side, self.settings.megapixels)
            other = answered(waiting, again, attention=asked.attention)
        if not asked.example:
            told = given(request, told, lesion, files if asked.consent else ())
        elif asked.consent:  # what the program drew says nothing of what is served
            told = told.model_copy(update={"not_kept": OF_EXAMPLE})
        return ToldOf(told, other, [preview(each) for each in lesion])

    def _page(
        self,
        request: Request,
        now: Now,
        texts: Texts,
        told: "ToldOf | None" = None,
        *,
        error: str = "",
        drawn: bool = False,
    ) -> str:
        prefix = self.settings.root_path
        waiting = now.challenger if may_review(request) else None
        return page(
            texts,
            model=now.champion.facts if now.champion else None,
            waiting=waiting.facts if waiting else None,
            problem=now.problem,
            examples=[
                Example(name, f"{prefix}/page/examples/{name}.png", diagnosis)
                for name, diagnosis, _ in DRAWN
            ],
            prefix=prefix,
            answer=told.answer if told else None,
            beside=told.beside if told else None,
            error=error,
            shown=told.shown if told else (),
            drawn=drawn,
            feedback=self.settings.feedback,
        )


class ToldOf:
    """The answers to a question, and the images that were sent, as data URLs."""

    def __init__(self, answer: Answer, beside: Answer | None, shown: list[str]) -> None:
        self.answer, self.beside, self.shown = answer, beside, shown


def _texts(request: Request, language: str | None) -> Texts:
    return texts_for(language, request.headers.get("accept-language"))


def _refusal(error: Refusal | Unreadable) -> Refusal:
    return error if isinstance(error, Refusal) else refusal_of(error)


def preview(image: Image) -> str:
    """The image as the model saw it, as a data URL: made of pixels alone, so without EXIF."""
    return data_url(image.decoded.pixels)


@cache
def drawn_image(name: str) -> bytes:
    """The PNG of an example. The page marks each as SYNTHETIC."""
    _, diagnosis, seed = next(each for each in DRAWN if each[0] == name)
    pixels = draw(diagnosis, np.random.default_rng(seed), np.random.default_rng(seed))
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def example_image(name: str) -> Response:
    """The image of an example."""
    if name not in {each for each, _, _ in DRAWN}:
        raise Refusal(404, "There is no such example.")
    return Response(drawn_image(name), media_type="image/png")


def _static(path: Path) -> Callable[[], Response]:
    """An address of a file of the page."""
    data = path.read_bytes()

    def told() -> Response:
        return Response(
            data,
            media_type=KINDS[path.suffix],
            headers={"Cache-Control": "max-age=31536000, immutable"},  # its address has its hash
        )

    return told
