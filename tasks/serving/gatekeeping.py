"""Who may ask, from where and how often: decided before a body is read."""

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.serving.settings import Settings

OPEN = ("/health", "/ready")  # told to everybody: they say nothing of patients or models
# Bytes around the files of a form: names, boundaries, fields.
FORM_BYTES = 2**16
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    # Under "no-referrer" a browser hides the origin of the page's own forms, see `_is_foreign`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass
class Pace:
    """At most so many requests a minute of each asker: a bucket that fills evenly.

    Args:
        each_minute: Requests that a minute allows, and that a full bucket holds.
        clock: Gives the time, in seconds.
        most: Askers that are remembered; the one who asked longest ago is forgotten first.
    """

    each_minute: int
    clock: Callable[[], float] = time.monotonic
    most: int = 10_000
    _left: "OrderedDict[str, tuple[float, float]]" = field(default_factory=OrderedDict)

    def wait(self, asker: str) -> float:
        """Count a request. Returns the seconds to wait before the next; 0 if this one may pass."""
        now = self.clock()
        left, then = self._left.pop(asker, (float(self.each_minute), now))
        left = min(self.each_minute, left + (now - then) * self.each_minute / 60)
        passes = left >= 1
        self._left[asker] = (left - 1 if passes else left, now)
        if len(self._left) > self.most:
            self._left.popitem(last=False)
        return 0.0 if passes else (1 - left) * 60 / self.each_minute


class Gatekeeper:
    """An ASGI application around the app: names, login, pace and the size of bodies.

    The name of who asks is in ``scope["state"]["person"]``; empty without a login.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.pace = Pace(settings.each_minute)
        self.guesses = Pace(settings.guesses_each_minute)
        self.bytes = settings.request_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        await self.app(scope, _limited(receive, self.bytes), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that must not pass; None if the request may."""
        if _name_of(headers.get("host", "")) not in self.settings.allowed_hosts:
            return _told(421, "The app is not known under this name.", "ask for its own name")
        if scope["path"].removeprefix(scope.get("root_path", "")) in OPEN:
            return None
        person = self._person(scope, headers)
        if person is None:
            # A browser that was not asked yet sends no password: that is no guess.
            wait = self.guesses.wait(_address(scope)) if "authorization" in headers else 0
            if wait:
                return _later("Too many wrong passwords.", wait)
            answer = _told(401, "Nobody is logged in.", "log in with name and password")
            if self.settings.users:
                answer.headers["WWW-Authenticate"] = 'Basic realm="melanoma", charset="UTF-8"'
            return answer
        scope.setdefault("state", {})["person"] = person
        if self._is_foreign(scope, headers):
            return _told(403, "Another website sent this request.", "use the page of the app")
        if _length(headers) > self.bytes:
            return _too_large(self.bytes)
        wait = self.pace.wait(person or _address(scope))
        return _later("Too many requests.", wait) if wait else None

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether another website sent the request. Browsers before 2023 name only the origin, and
        of what changes something only."""
        site = headers.get("sec-fetch-site")
        if site not in (None, "same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return False
        if origin == "null":  # hidden, by a proxy or by the other website
            return site is None
        return _name_of(origin.partition("://")[2]) not in self.settings.allowed_hosts

    def _person(self, scope: Scope, headers: Headers) -> str | None:
        """Who asks; empty without a login, None for somebody who is not logged in."""
        settings = self.settings
        if not settings.has_login:
            return ""
        if settings.person_header and _address(scope) in settings.proxies:
            named = headers.getlist(settings.person_header)
            if len(named) == 1 and named[0].strip():
                return named[0].strip()
        name, password = _basic(headers.get("authorization", ""))
        return name if name and settings.knows(name, password) else None


def _name_of(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    name = host.lower()
    return name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _length(headers: Headers) -> int:
    told = headers.get("content-length", "0")
    return int(told) if told.isascii() and told.isdecimal() else 0


def _basic(header: str) -> tuple[str, str]:
    """Name and password of a ``Authorization: Basic`` header (RFC 7617); empty ones of another."""
    kind, _, told = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(told, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return name, password


def _told(status: int, problem: str, do: str) -> JSONResponse:
    return JSONResponse({"detail": {"problem": problem, "do": do}}, status)


def _later(problem: str, wait: float) -> JSONResponse:
    answer = _told(429, problem, f"wait {wait:.1f} s")
    answer.headers["Retry-After"] = str(int(wait) + 1)
    return answer


def _problem_of_size(limit: int) -> dict[str, str]:
    return {"problem": "The request is too large.", "do": f"send at most {limit:,} bytes"}


def _too_large(limit: int) -> JSONResponse:
    return JSONResponse({"detail": _problem_of_size(limit)}, 413)


class TooLarge(HTTPException):
    """More bytes came than were announced, or than are allowed."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, _problem_of_size(limit))


def _limited(receive: Receive, limit: int) -> Receive:
    """As `receive`, but for a body that never ends: its length may not be announced."""
    got = 0

    async def counted() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > limit:
            raise TooLarge(limit)
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(
                    (name.lower().encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.lower().encode() not in given
                ),
            ]
        await send(message)

    return sent
