"""Serves the pages of runs in Airflow's own web server, to those who may read the DAG's runs.

The pages hold names and text of deliveries, which are hostile input. So a browser gets them with a
policy that lets them run, fetch and send nothing, whatever they contain.
"""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk.exceptions import AirflowFailException
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from dags.pages import contents, own_pages
from dags.pages.answers import answers
from dags.pages.contents import EVIDENCE, MANIFEST, Folder
from dags.pages.links import ANSWERS, DATA_DOCS, PACKED_EVIDENCE, PREFIX, RETRAINING, base, link
from tasks.engine.store import not_found
from tasks.errors import BadInput, Corrupt, Momentary, NotFound
from tasks.records.record import sha256

# The pages are whole in themselves: pictures are data, styles stand inside. In the sandbox no page
# runs a script, sends a form or opens a window. "allow-same-origin" is harmless without
# "allow-scripts", and needed: the tab of a run in Airflow is a frame, and when a link in a frame is
# clicked, a browser sends the login only if the page in the frame has its own origin.
POLICY = "; ".join(
    [
        "sandbox allow-same-origin allow-downloads",
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}

# What a browser shows; everything else it keeps as a file.
SHOWN = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}

ADDRESS = re.compile(r"runs/([^/]+)(?:/(.*))?")


class Locked:
    """Gives every answer of an app the HEADERS, also those of its errors."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_locked(message: Any) -> None:
            if message["type"] == "http.response.start":
                others = [
                    pair for pair in message["headers"] if pair[0].decode().lower() not in HEADERS
                ]
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*others, *own]}
            await send(message)

        await self.app(scope, receive, send_locked)


def pages() -> Locked:
    """The app, to be mounted under PREFIX."""
    app = FastAPI(title="melanoma pages", openapi_url=None, docs_url=None, redoc_url=None)
    may_read = requires_access_dag("GET", DagAccessEntity.RUN, RETRAINING)
    # One route for all: no answer is given before the login was looked at.
    app.get("/{path:path}", dependencies=[Depends(may_read)])(answer)
    app.exception_handler(401)(_not_logged_in)
    app.exception_handler(403)(_not_allowed)
    app.exception_handler(404)(_nothing_here)
    return Locked(app)


def answer(path: str) -> Response:
    """The page under a path, or a page that says why there is none."""
    named = ADDRESS.fullmatch(path)
    if named is None:
        return _nothing_here()
    run_id, file = named[1], named[2] or ""
    try:
        folder = contents.folder_of(run_id)
    except (AirflowFailException, BadInput) as error:
        return _failed(500, "Airflow's API server does not know the store.", str(error))
    try:
        return _found(folder, file)
    except Corrupt as error:
        return _failed(409, error.problem, _told(error))
    except BadInput as error:
        return _failed(500, error.problem, _told(error))
    except Momentary as error:
        return _failed(503, "The store does not answer. Load the page again.", str(error))


def _found(folder: Folder, file: str) -> Response:
    try:
        return _of_run(folder, file)
    except NotFound:
        if folder.paths():
            return HTMLResponse(own_pages.absent(folder, file), 404)
        return HTMLResponse(own_pages.no_run(folder), 404)


def _of_run(folder: Folder, file: str) -> Response:
    special: dict[str, Callable[[Folder], Response]] = {
        "": _list,
        DATA_DOCS: _to_docs,
        "evidence": _evidence,
        EVIDENCE: _evidence,
        PACKED_EVIDENCE: _packed,
        ANSWERS: lambda folder: HTMLResponse(answers(folder)),
    }
    if file in special:
        return special[file](folder)
    if file.startswith(EVIDENCE):
        return _as_file(file, contents.sealed_file(folder, file.removeprefix(EVIDENCE)))
    return _as_file(file, folder.read(file))


def _as_file(file: str, data: bytes) -> Response:
    kind = SHOWN.get(PurePosixPath(file).suffix)
    if kind:
        return Response(data, media_type=kind)
    return Response(
        data,
        media_type="application/octet-stream",
        headers=_kept_as(PurePosixPath(file).name),
    )


def _list(folder: Folder) -> Response:
    present = folder.paths()
    if not present:
        raise not_found(folder.store, folder.uri)
    return HTMLResponse(own_pages.list_of_pages(folder, present))


def _to_docs(folder: Folder) -> Response:
    run, _, page = contents.first_of_docs(folder).partition("/")
    return RedirectResponse(link(run, page))


def _evidence(folder: Folder) -> Response:
    manifest = folder.read(EVIDENCE + MANIFEST)
    sizes = contents.files_of(folder)
    return HTMLResponse(own_pages.list_of_evidence(folder, sizes, sha256(manifest)))


def _packed(folder: Folder) -> Response:
    return StreamingResponse(
        contents.packed(folder),
        media_type="application/zip",
        headers=_kept_as(f"evidence-{folder.name}.zip"),
    )


def _kept_as(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


# Refusals ---------------------------------------------------------------------------------------


def _not_logged_in(request: Request, error: Exception) -> Response:
    """To the login and back again, if a person opened the page; a program, and a frame, which could
    not show the login, are told."""
    asks = "text/html" in request.headers.get("accept", "")
    if asks and request.headers.get("sec-fetch-dest", "document") == "document":
        # Quoted twice: once as an address, and once as a value in another.
        back = quote(quote(f"{base()}{PREFIX}/{request.path_params.get('path', '')}"), safe="")
        return RedirectResponse(f"{base()}/api/v2/auth/login?next={back}", 303)
    return _failed(401, "You are not logged in", "Log in to Airflow, then open this page again.")


def _not_allowed(request: Request, error: Exception) -> Response:
    return _failed(
        403,
        "You may not read this page",
        f"Pages of runs are for those who may read the runs of the DAG {RETRAINING}. Ask who "
        "administers this Airflow; or log in anew, if your login is an old one.",
    )


def _nothing_here(*_: object) -> Response:
    return _failed(
        404,
        "There is no such page",
        f"The pages of a run lie under {base()}{PREFIX}/runs/RUN/. In Airflow, a run's tab Results "
        "shows them.",
    )


def _failed(status: int, title: str, lines: str) -> Response:
    return HTMLResponse(own_pages.problem(title, lines), status)


def _told(error: BadInput) -> str:
    return f"Expected: {error.expected}\nReceived: {error.received}\nDo: {error.do}"
