"""A proxy before an S3 server that breaks some of the answers, as a bad network does.

It speaks HTTP over real sockets, so that what a client gets is what a broken connection gives it.
"""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["500", "503", "reset", "lost", "truncated", "slow", "empty"]
FAULTS: tuple[Fault, ...] = ("500", "503", "reset", "lost", "truncated", "slow")
CODES = {"500": "InternalError", "503": "SlowDown"}
SLOW_SECONDS = 0.5
BY_HOP = ("connection", "keep-alive", "transfer-encoding", "expect", "content-length")

Choice = Callable[[str, str], Fault | None]


def at_random(seed: int, rate: float) -> Choice:
    """Every fault as often as any other, together `rate` of the requests."""
    chance = random.Random(seed)
    return lambda method, path: chance.choice(FAULTS) if chance.random() < rate else None


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on.

    Attributes:
        choice: Given a request's method and path: the fault of its answer, or None. "reset" breaks
            the connection before the server hears of the request, "lost" after it has done it;
            "truncated" breaks off amid the body; "empty" has none, as if that were all.
        sent: Paths of the objects whose bodies were sent whole.
        faults: How many answers were broken.
    """

    daemon_threads = True

    def __init__(self, server: str, choice: Choice) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = urlsplit(server).netloc
        self.choice = choice
        self.sent: list[str] = []
        self.faults = 0
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            fault = self.choice(method, path)
            self.faults += fault is not None
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method is passed on alike."""
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        fault = self.server.fault_of(self.command, path)
        if fault == "reset":
            return self._break()
        if fault in ("500", "503"):
            refusal = f"<Error><Code>{CODES[fault]}</Code><Message>no</Message></Error>".encode()
            return self._answer(int(fault), {"Content-Type": "application/xml"}, refusal)
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        status, headers, content = self._ask(body)
        if fault == "lost" or (fault == "truncated" and len(content) < 2):
            return self._break()
        if fault == "truncated":
            self._answer(status, headers, content, send=len(content) // 2)
            return self._break()
        if fault == "empty":
            return self._answer(status, headers, b"")
        self._answer(status, headers, content)
        if self.command == "GET" and status == 200:
            self.server.sent.append(path)
        return None

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        upstream = HTTPConnection(self.server.server, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in BY_HOP:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in BY_HOP}
        return answer.status, headers, content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, send: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:send])

    def _break(self) -> None:
        """End the connection with a reset, as a server that fell over does."""
        self.close_connection = True
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.shutdown(socket.SHUT_WR)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client hung up
            super().handle()


@contextmanager
def faulty(server: str, choice: Choice) -> Iterator[FaultyProxy]:
    """A proxy before a server, while the block lasts."""
    proxy = FaultyProxy(server, choice)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
