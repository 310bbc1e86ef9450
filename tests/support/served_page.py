"""The page of the app over HTTP, with fixed answers: for tests of the page alone.

No model answers here. Each state of the page has a path of its own, as an app has behind a proxy:
``/clinic/<state>/``.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.datastructures import UploadFile

from tasks.serving.answer import Answer, ModelFacts
from tasks.serving.languages import texts_in
from tasks.serving.page import PAGES, Example, failure, page, result
from tests.support.app_answers import (
    CANCER,
    CHALLENGER,
    CHAMPION,
    HARMLESS,
    answered,
    drawn_lesion,
    refused,
    shown,
)
from tests.support.servers import free_port

POLICY = "default-src 'self'; img-src 'self' data: blob:"
EXAMPLES = ("melanoma", "nevus", "basal cell carcinoma")


@dataclass(frozen=True)
class State:
    """What the page knows, and what it is answered."""

    answer: Answer
    model: ModelFacts | None = CHAMPION
    waiting: ModelFacts | None = None
    beside: Answer | None = None
    problem: str = ""
    error: str = ""


WAITING = CHALLENGER.model_copy(update={"synthetic": True})
STATES = {
    "melanoma": State(answered(attention=True)),
    "harmless": State(
        answered(decision="not melanoma", probabilities=HARMLESS, images=2, attention=True)
    ),
    "cancer": State(answered(decision="not melanoma", probabilities=CANCER)),
    "refused": State(refused("blurred", "too dark", images=2)),
    "no-champion": State(answered(model=WAITING), model=None, waiting=WAITING),
    "no-model": State(answered(), model=None),
    "beside": State(
        answered(attention=True),
        waiting=CHALLENGER,
        beside=answered(
            model=CHALLENGER, decision="not melanoma", probabilities=HARMLESS, attention=True
        ),
    ),
    "problem": State(
        answered(),
        problem="Alias and ledger disagree: the alias names version 8, the ledger version 7.",
    ),
    "failed": State(answered(), error="The file is no image.\n  Do: send a JPEG or a DICOM"),
}


@dataclass
class Served:
    """The page, served.

    Attributes:
        address: Of the server, without a slash at its end.
        questions: Fields of each question, in order; of an image its name and size in bytes.
    """

    address: str
    questions: list[dict[str, list[str]]] = field(default_factory=list)

    def of(self, state: str, language: str = "en") -> str:
        """Address of the page in a state."""
        return f"{self.address}/clinic/{state}/?language={language}"


def _app(served: Served) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def policy(request: Request, call_next):  # type: ignore[no-untyped-def]  # Starlette's own
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    def whole(state: str, language: str, answer: Answer | None, images: int) -> str:
        of, prefix = STATES[state], f"/clinic/{state}"
        examples = [Example(each, f"{prefix}/examples/{each}", each) for each in EXAMPLES]
        return page(
            texts_in(language),
            model=of.model,
            waiting=of.waiting,
            problem=of.problem,
            examples=examples,
            prefix=prefix,
            answer=answer,
            beside=of.beside if answer else None,
            error=of.error if answer else "",
            shown=shown(images),
        )

    @app.get("/clinic/{state}/")
    def get(state: str, language: str = "en") -> HTMLResponse:
        return HTMLResponse(whole(state, language, None, 0))

    @app.get("/clinic/{state}/page/{name}")
    def static(name: str) -> FileResponse:
        return FileResponse(PAGES / {"app.css": "app.css", "app.js": "app.js"}[name])

    @app.get("/clinic/{state}/examples/{name}")
    def example(name: str) -> Response:
        return Response(drawn_lesion(EXAMPLES.index(name)), media_type="image/png")

    async def note(request: Request) -> dict[str, list[str]]:
        question: dict[str, list[str]] = {}
        for name, value in (await request.form()).multi_items():
            if not isinstance(value, UploadFile):
                question.setdefault(name, []).append(value)
            elif value.filename:
                told = f"{value.filename} {len(await value.read())}"
                question.setdefault(name, []).append(told)
        served.questions.append(question)
        return question

    @app.post("/clinic/{state}/")
    async def post(state: str, request: Request) -> HTMLResponse:
        question = await note(request)
        images = len(question.get("images", []))
        return HTMLResponse(whole(state, question["language"][0], STATES[state].answer, images))

    @app.post("/clinic/{state}/page/answer")
    async def answer(state: str, request: Request) -> HTMLResponse:
        question, of = await note(request), STATES[state]
        texts = texts_in(question["language"][0])
        if of.error:
            return HTMLResponse(failure(texts, of.error), status_code=422)
        images, drawn = of.answer.images, "example" in question
        prefix = f"/clinic/{state}"
        told = result(texts, of.answer, of.beside, shown(images), prefix=prefix, drawn=drawn)
        return HTMLResponse(told)

    return app


@contextmanager
def served_page() -> Iterator[Served]:
    """Serve the page on a free port of this machine until the end."""
    port = free_port()
    served = Served(f"http://127.0.0.1:{port}")
    server = uvicorn.Server(uvicorn.Config(_app(served), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server ended before it answered"
            assert time.monotonic() < until, "the server did not start within 20 s"
            time.sleep(0.02)
        yield served
    finally:
        server.should_exit = True
        thread.join(20)
