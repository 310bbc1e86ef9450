"""The web app: its API, documented at ``/docs`` as OpenAPI, and its page."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as NotServed
from starlette.formparsers import MultiPartParser

from tasks.errors import PipelineError
from tasks.evaluation.traces import new_lesion
from tasks.records.record import Frozen
from tasks.serving.answer import Answer, ModelFacts
from tasks.serving.answering import (
    Answered,
    Image,
    Unreadable,
    answered,
    answered_together,
    lesion_of,
)
from tasks.serving.consent import OF_CHALLENGER, check_consent, with_images_kept
from tasks.serving.diagnosing import Viewer, add_diagnosis
from tasks.serving.follow import Follower, Now
from tasks.serving.gatekeeping import Gatekeeper
from tasks.serving.in_use import Loaded
from tasks.serving.metrics import Metrics, Timed
from tasks.serving.problems import PROBLEMS, Problem, Refusal, refusal_of, some
from tasks.serving.recording import Recorder
from tasks.serving.settings import Settings

log = logging.getLogger(__name__)

NO_MODEL = "No model is in use yet."


class OfFile(Frozen):
    """What a batch says of one file, the only image of its lesion."""

    file: int = Field(description="Which of the files that were sent, from 1.")
    answer: Answer | None = Field(description="The answer; None where the file cannot be read.")
    problem: Problem | None = Field(description="Why there is no answer; None where there is one.")


class InUse(Frozen):
    """The models, and whether the app follows the ledger."""

    champion: ModelFacts | None = Field(description="The model in use; None: none is yet.")
    challenger: ModelFacts | None = Field(
        description="The model that waits for a decision; told to reviewers only."
    )
    problem: str = Field(
        description="Why the model in use may not be the one that the ledger names; else empty."
    )


def app_of(
    follower: Follower,
    settings: Settings,
    add_page: Callable[[FastAPI, Follower, Settings], None] | None = None,
) -> FastAPI:
    """The app. Its follower is started and stopped with it.

    Args:
        follower: Says which model is in use.
        settings: The operator's choices.
        add_page: Adds the page for people; None: the API alone.
    """
    # Files of a form stay in memory: nothing that comes from outside reaches the disk.
    MultiPartParser.spool_max_size = settings.file_bytes + 1

    figures = Metrics()
    recorder = Recorder(follower.store, figures.lost, settings.gather_seconds)

    @asynccontextmanager
    async def lifetime(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(follower.start)
        recorder.start()
        yield
        await run_in_threadpool(follower.stop)
        await run_in_threadpool(recorder.stop)

    app = FastAPI(
        title="Melanoma: a second look",
        summary="The skin-lesion classifier in use. It supports clinicians and diagnoses nothing.",
        version="1",
        lifespan=lifetime,
        root_path=settings.root_path,
        docs_url=None,  # FastAPI's own page fetches its script from elsewhere
        redoc_url=None,
    )
    app.state.follower, app.state.metrics, app.state.recorder = follower, figures, recorder
    app.state.settings = settings
    app.add_middleware(Gatekeeper, settings=settings)
    app.add_middleware(Timed, seconds=app.state.metrics.seconds)
    app.exception_handler(Unreadable)(_unreadable)
    app.exception_handler(PipelineError)(_failed)
    app.exception_handler(RequestValidationError)(_not_valid)
    app.exception_handler(NotServed)(_not_served)
    app.add_api_route("/predict", predict, methods=["POST"], responses=PROBLEMS)
    app.add_api_route("/predict/batch", predict_batch, methods=["POST"], responses=PROBLEMS)
    app.add_api_route("/model", model, methods=["GET"], responses=some(401, 403, 421, 429))
    app.add_api_route(
        "/metrics", metrics, methods=["GET"], responses=some(401, 403, 421, 429),
        response_class=PlainTextResponse,
    )  # fmt: skip
    app.add_api_route("/health", health, methods=["GET"], responses=some(421))
    app.add_api_route("/ready", ready, methods=["GET"], responses=some(421, 503))
    if settings.feedback:
        add_diagnosis(app)
    if add_page:
        add_page(app, follower, settings)
    return app


# What a request is given ------------------------------------------------------------------------


def _now(request: Request) -> Now:
    found: Now = request.app.state.follower.now
    return found


def _settings(request: Request) -> Settings:
    found: Settings = request.app.state.settings
    return found


def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


def may_review(request: Request) -> bool:
    """Whether who asks is shown the challenger too."""
    return Viewer(request, _settings(request)).reviewer


def asked_of(now: Now, standing: str, *, reviewer: bool) -> Loaded:
    """The model that a request asks for.

    Raises:
        Refusal: There is none, or only reviewers may ask it.
    """
    if standing == "challenger" and not reviewer:
        raise Refusal(403, "Only reviewers may ask the challenger.", do="ask the champion")
    if standing == "challenger":
        if now.challenger is None:
            raise Refusal(404, "No model waits for a decision.", received=now.problem)
        return now.challenger
    if now.champion is None:
        do = "promote a model: see `python -m tasks decide`"
        raise Refusal(503, NO_MODEL, received=now.problem, do=do)
    return now.champion


def contents_of(files: list[UploadFile], most: int, file_bytes: int) -> list[bytes]:
    """The bytes of the files that were sent.

    Raises:
        Refusal: There are too many, or one is too large.
    """
    if not 1 <= len(files) <= most:
        raise Refusal(
            422,
            "The number of files is wrong.",
            expected=f"1 to {most} files in the field images",
            received=f"{len(files)}",
            do="send fewer at a time",
        )
    contents = [each.file.read(file_bytes + 1) for each in files]
    for number, data in enumerate(contents, start=1):
        if len(data) > file_bytes:
            raise Refusal(
                413,
                f"File {number} is too large.",
                expected=f"at most {file_bytes} bytes",
                received="more",
                do="send the image as JPEG or PNG",
            )
    return contents


Standing = Annotated[
    Literal["champion", "challenger"],
    Query(description="Which model to ask. The challenger answers reviewers only."),
]


def given(
    request: Request, answer: Answer, lesion: Sequence[Image], consented: Sequence[bytes] = ()
) -> Answer:
    """Count an answer that is given, leave its trace, and keep the images of who agreed. What
    reviewers ask the challenger is not what is served.

    Args:
        request: The request.
        answer: The answer.
        lesion: The images, decoded.
        consented: The files as they were sent, if the patient has agreed that they are kept.

    Returns:
        The answer, which says where images were to be kept under which number they are.
    """
    state = request.app.state
    state.metrics.count(answer)
    if answer.model.standing != "champion":
        return answer.model_copy(update={"not_kept": OF_CHALLENGER}) if consented else answer
    number = new_lesion()
    state.recorder.keep(answer, [each.decoded for each in lesion], number)
    if not consented:
        return answer
    return with_images_kept(
        answer,
        consented,
        number,
        store=state.follower.store,
        settings=state.settings,
        metrics=state.metrics,
        by=Viewer(request, state.settings).login,
    )


# The API ----------------------------------------------------------------------------------------


def predict(
    request: Request,
    images: Annotated[list[UploadFile], File(min_length=1, description="Images of one lesion.")],
    attention: Annotated[
        bool, Form(description="Show what the model looked at. Takes ten times as long.")
    ] = False,
    consent: Annotated[
        bool,
        Form(
            description="The patient has agreed that the images are kept for feedback, see "
            "the answer's field lesion. Only where the installation keeps images."
        ),
    ] = False,
    standing: Standing = "champion",
) -> Answer:
    """Answer about one lesion, from one or several images of the lesion."""
    settings, now = _settings(request), _now(request)
    check_consent(settings, consent=consent)
    asked = asked_of(now, standing, reviewer=may_review(request))
    files = contents_of(images, settings.files, settings.file_bytes)
    lesion = lesion_of(files, asked.side, settings.megapixels)
    found = answered(asked, lesion, attention=attention)
    return given(request, found, lesion, files if consent else ())


def predict_batch(
    request: Request,
    images: Annotated[
        list[UploadFile], File(min_length=1, description="Images, each of another lesion.")
    ],
    standing: Standing = "champion",
) -> list[OfFile]:
    """Answer about many lesions, one image each. A file that cannot be read has a problem instead
    of an answer; the other files have their answers."""
    settings, now = _settings(request), _now(request)
    asked = asked_of(now, standing, reviewer=may_review(request))
    files = contents_of(images, settings.batch, settings.file_bytes)
    told = []
    for number, each in enumerate(answered_together(asked, files, settings.megapixels), start=1):
        if isinstance(each, Answered):
            given(request, each.answer, each.images)
            told.append(OfFile(file=number, answer=each.answer, problem=None))
        else:
            _metrics(request).unreadable.inc()
            told.append(OfFile(file=number, answer=None, problem=_problem(each)))
    return told


def model(request: Request, reviewer: Annotated[bool, Depends(may_review)]) -> InUse:
    """Which model is in use, and which waits for a decision."""
    now = _now(request)
    waiting = now.challenger.facts if now.challenger and reviewer else None
    return InUse(
        champion=now.champion.facts if now.champion else None,
        challenger=waiting,
        problem=now.problem,
    )


def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return PlainTextResponse(_metrics(request).told(_now(request)))


def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "alive"}


def ready(request: Request) -> dict[str, str]:
    """Whether the app has read the ledger, and has loaded the model in use, if there is one."""
    now = _now(request)
    if now.looked is None and now.champion is None:
        raise Refusal(503, "The ledger was not read yet.", received="see the log of the app")
    return {"status": "ready" if now.champion else "no model is in use yet"}


# Beside the routes ------------------------------------------------------------------------------


def _problem(error: Unreadable) -> Problem:
    return Problem.model_validate(refusal_of(error).detail)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Unreadable)
    request.app.state.metrics.unreadable.inc()
    return JSONResponse({"detail": _problem(error).model_dump()}, 422)


async def _failed(_request: Request, error: Exception) -> JSONResponse:
    """What the store refuses, or cannot say."""
    assert isinstance(error, PipelineError)
    refusal = refusal_of(error)
    if refusal.status_code >= 500:
        log.warning("A request has no answer: %s", str(error).splitlines()[0])
    return JSONResponse({"detail": refusal.detail}, refusal.status_code)


async def _not_valid(_request: Request, error: Exception) -> JSONResponse:
    """A request that lacks a field, or holds another value: in the words of all other problems."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    problem = Problem(
        problem="The request is not as documented.",
        expected=f"{field}: {first['msg']}",
        received=str(first.get("input"))[:100],
        do="correct the request; see /openapi.json",
    )
    return JSONResponse({"detail": problem.model_dump()}, 422)


async def _not_served(_request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses, such as an unknown path or a damaged form."""
    assert isinstance(error, NotServed)
    told = error.detail
    problem = told if isinstance(told, dict) else Problem(problem=f"{told}.").model_dump()
    return JSONResponse({"detail": problem}, error.status_code, headers=error.headers)
