"""Passwords in addresses and in the environment show nowhere; hosts and ports do."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tasks.engine.quiet import OneLine
from tasks.engine.run import Run
from tasks.errors import BadInput, Momentary
from tasks.reporting.report import report
from tasks.text.redaction import HIDDEN, redacted
from tests.support.deliveries import judged_run
from tests.support.paths import ROOT
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

SECRET = "s3cr3t@of:the/house?yes"
HOST = "registry.example:5000"

passwords = st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=4, max_size=20)


def told(secret: str, text: str) -> list[str]:
    """The spellings of a secret that a text holds."""
    spellings = {secret, quote(secret, ""), quote(secret), repr(secret)[1:-1]}
    return [each for each in spellings if each in text]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=passwords, encoded=st.booleans())
def test_no_password_of_an_address_is_in_a_message_or_a_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, password: str, encoded: bool
) -> None:
    assume(password not in f"http://me:@{HOST}/api failed Expected Received")
    address = f"http://me:{quote(password, '') if encoded else password}@{HOST}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    record = logging.LogRecord("any", logging.ERROR, "", 0, "%s failed", (address,), None)
    bad = BadInput(address, expected=address, received=password, do=address)
    for text in (
        redacted(f"{address}/api failed"),
        str(Momentary(f"MLflow at {address} failed: {password}")),
        str(bad) + bad.received,
        OneLine("%(message)s").format(record),
    ):
        assert told(password, text) == []
        assert HIDDEN in text
    assert HOST in redacted(address)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000 answered 500 at 'raw/a@b.jpg'",
        "models:/melanoma_classifier@champion",
        "s3://bucket/prefix/me@home.jpg",
        "https://host/page?size=3&part=2",
        "https://host/page#part-2",
        "Authorization failed: basic needs are not met",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_secret_in_a_query_and_one_of_the_environment_are_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcd/efgh+1")
    said = redacted("http://h:1/a?X-Amz-Signature=12ab&page=2 with abcd/efgh+1, abcd%2Fefgh%2B1")
    assert said == f"http://h:1/a?X-Amz-Signature={HIDDEN}&page=2 with {HIDDEN}, {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://h/a#access_token=tok12&page=2", f"http://h/a#access_token={HIDDEN}&page=2"),
        ("Authorization: Bearer tok12, 401", f"Authorization: Bearer {HIDDEN}, 401"),
        ("{'authorization': 'Basic dTpw=='}", f"{{'authorization': 'Basic {HIDDEN}'}}"),
    ],
)
def test_a_secret_in_a_fragment_or_a_header_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.fixture
def failing() -> Iterator[str]:
    """Host and port of a server that answers everything with 500, and repeats what it was asked."""

    class Failing(BaseHTTPRequestHandler):
        def _fail(self) -> None:
            self.send_response(500)
            self.end_headers()
            self.wfile.write(f"{self.path} {self.headers}".encode())

        do_GET = do_POST = do_PUT = do_HEAD = _fail  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is ready to be registered."""
    return judged_run(drawn, tmp_path_factory.mktemp("redaction") / "store")


def command(*argv: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tasks", *argv],
        cwd=ROOT,
        env=os.environ | environment | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("server", ["dead", "failing"])
def test_a_step_that_cannot_reach_mlflow_tells_where_and_no_password(
    trained: Run, failing: str, server: str
) -> None:
    place = failing if server == "failing" else f"127.0.0.1:{free_port()}"
    uri = f"http://me:{quote(SECRET, '')}@{place}"
    config = trained.config.model_dump_json()
    code, said = command(
        "register", "--run", trained.uri, "--config", config, MLFLOW_TRACKING_URI=uri
    )
    page = trained.store.read(report(trained)).decode()
    stopped = trained.store.read("runs/test/register/stopped.json").decode()

    assert code == 75
    assert "Traceback" not in said
    assert place in said
    for text in (said, page, stopped, json.loads(stopped)["error"]):
        assert told(SECRET, text) == []


@pytest.mark.parametrize("server", ["dead", "failing"])
def test_a_command_that_cannot_reach_s3_tells_where_and_no_password(
    drawn: Path, failing: str, server: str
) -> None:
    place = failing if server == "failing" else f"127.0.0.1:{free_port()}"
    code, said = command(
        "run", "--store", "s3://bucket/prefix", "--images", str(drawn), "--until", "split",
        AWS_ENDPOINT_URL=f"http://me:{quote(SECRET, '')}@{place}",
        AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY=SECRET, AWS_MAX_ATTEMPTS="1",
    )  # fmt: skip

    assert code in (64, 75)
    assert "Traceback" not in said
    assert told(SECRET, said) == []


def test_a_bug_shows_its_traceback_without_the_password() -> None:
    code = (
        "import sys; from tasks.engine.quiet import show_bug; sys.excepthook = show_bug;"
        "raise ValueError('http://me:s3cr3t@host:1/ failed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f"ValueError: http://{HIDDEN}@host:1/ failed" in done.stderr
    assert "s3cr3t" not in done.stderr
