"""Who may ask, from where and how often."""

import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.directory import DirectoryStore
from tasks.errors import BadInput
from tasks.serving.follow import Follower
from tasks.serving.gatekeeping import HEADERS, Pace
from tasks.serving.serve import serve
from tasks.serving.settings import Settings, users_in
from tests.serving.conftest import client_of, png, sent
from tests.support.dicoms import photograph

FILE = png(photograph(1))
USERS = {"anna": "secret", "berta": "hidden"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """A store in which nothing was ever promoted."""
    return DirectoryStore(tmp_path_factory.mktemp("empty"))


def asked(store: DirectoryStore, settings: Settings, path: str = "/model", **options: Any) -> Any:
    """The answer of the app to one request."""
    client = {key: options.pop(key) for key in ("base_url", "client") if key in options}
    with client_of(store, settings, **client) as app:
        return app.get(path, **options)


# Login ------------------------------------------------------------------------------------------


def test_without_the_password_nobody_is_answered(empty: DirectoryStore) -> None:
    settings = Settings(users=USERS)
    assert asked(empty, settings, auth=("anna", "secret")).status_code == 200
    for wrong in (None, ("anna", "hidden"), ("anna", ""), ("carla", ""), ("", ""), ("", "secret")):
        refused = asked(empty, settings, auth=wrong)
        assert refused.status_code == 401, wrong
        assert refused.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("path", ["/model", "/metrics", "/openapi.json", "/nowhere"])
def test_nothing_but_health_and_readiness_is_told_without_a_login(
    empty: DirectoryStore, path: str
) -> None:
    settings = Settings(users=USERS)
    assert asked(empty, settings, path).status_code == 401
    assert asked(empty, settings, "/health").status_code == 200
    assert asked(empty, settings, "/ready").status_code == 200


@given(st.binary(max_size=40))
def test_no_header_that_a_program_makes_up_logs_in(data: bytes) -> None:
    from tasks.serving.gatekeeping import _basic

    name, password = _basic(f"Basic {base64.b64encode(data).decode()}")
    assert not Settings(users=USERS).knows(name, password)
    assert _basic(data.decode("latin-1")) == ("", "") or data[:5].lower() == b"basic"


def test_the_header_of_a_proxy_counts_only_from_the_proxy(empty: DirectoryStore) -> None:
    settings = Settings(person_header="X-Person", proxies=("10.0.0.1",), reviewers=("anna",))
    header = {"X-Person": "anna"}
    by_proxy = asked(empty, settings, headers=header, client=("10.0.0.1", 1))
    assert by_proxy.status_code == 200
    assert asked(empty, settings, headers=header, client=("10.0.0.2", 1)).status_code == 401
    assert asked(empty, settings, client=("10.0.0.1", 1)).status_code == 401
    twice = [("X-Person", "anna"), ("X-Person", "berta")]
    assert asked(empty, settings, headers=twice, client=("10.0.0.1", 1)).status_code == 401


def test_the_challenger_answers_reviewers_only(empty: DirectoryStore) -> None:
    settings = Settings(users=USERS, reviewers=("berta",))
    path = "/predict?standing=challenger"
    with client_of(empty, settings) as app:
        refused = app.post(path, auth=("anna", "secret"), **sent(FILE))
        assert (refused.status_code, refused.json()["detail"]["problem"]) == (
            403,
            "Only reviewers may ask the challenger.",
        )
        none = app.post(path, auth=("berta", "hidden"), **sent(FILE))
        assert none.json()["detail"]["problem"] == "No model waits for a decision."


@pytest.mark.parametrize(
    "settings",
    [
        Settings(host="0.0.0.0"),
        Settings(host="192.168.1.5"),
        Settings(host="clinic.example"),
        Settings(person_header="X-Person"),
        Settings(proxies=("10.0.0.1",)),
    ],
)
def test_without_a_login_the_app_answers_this_machine_only(
    empty: DirectoryStore, settings: Settings
) -> None:
    with pytest.raises(BadInput):
        serve(empty, settings)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(host="localhost"),
        Settings(host="::1"),
        Settings(host="0.0.0.0", users=USERS),
        Settings(host="0.0.0.0", person_header="X-Person", proxies=("10.0.0.1",)),
    ],
)
def test_with_a_login_or_on_loopback_it_may(settings: Settings) -> None:
    assert settings.checked() is settings


def test_the_file_of_users_is_read(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# of the clinic\nanna:se:cret\n\nberta:hidden\n")
    file.chmod(0o600)
    assert users_in(file) == {"anna": "se:cret", "berta": "hidden"}


@pytest.mark.parametrize("text", ["", "anna\n", "anna:\n", ":secret\n", "anna:a\nanna:b\n"])
def test_a_file_of_users_that_says_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(BadInput, match="file of users"):
        users_in(file)


def test_a_file_of_users_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("anna:secret\n")
    file.chmod(0o640)
    with pytest.raises(BadInput, match="file of users") as caught:
        users_in(file)
    assert "may read it" in caught.value.received
    with pytest.raises(BadInput):
        users_in(tmp_path / "none")


# Names and other websites -----------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.2"])
def test_the_app_does_not_answer_to_a_foreign_name(empty: DirectoryStore, host: str) -> None:
    """A website whose name is led to this machine could else read answers."""
    with client_of(empty) as app:
        assert app.get("/health", headers={"Host": host}).status_code == 421
        assert app.get("/health", headers={"Host": "localhost:8200"}).status_code == 200


def test_the_app_answers_to_the_names_that_it_is_given(empty: DirectoryStore) -> None:
    settings = Settings(hosts=("Derma.Clinic.example",))
    header = {"Host": "derma.clinic.example:443"}
    assert asked(empty, settings, headers=header).status_code == 200


def test_another_website_cannot_send_requests_in_the_name_of_who_is_logged_in(
    empty: DirectoryStore,
) -> None:
    with client_of(empty) as app:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
            assert app.get("/model", headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize(
    ("origin", "more", "passes"),
    [
        ("http://127.0.0.1:8200", {}, True),
        ("http://LOCALHOST", {}, True),
        ("https://evil.example", {}, False),
        ("https://evil.example", {"Sec-Fetch-Site": "same-origin"}, False),
        ("https://127.0.0.1.evil.example", {}, False),
        ("127.0.0.1", {}, False),
        ("null", {}, False),
        ("null", {"Sec-Fetch-Site": "same-origin"}, True),
        ("", {}, False),
    ],
)
def test_a_browser_that_names_the_origin_alone_is_protected_too(
    empty: DirectoryStore, origin: str, more: dict[str, str], passes: bool
) -> None:
    with client_of(empty) as app:
        found = app.post("/predict", headers={"Origin": origin, **more}, **sent(FILE))
        assert (found.status_code != 403) == passes
        # To read is no harm: the browser shows the answer to its own page alone.
        assert app.get("/health", headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize("path", ["/model", "/nowhere", "/health"])
def test_every_answer_forbids_what_the_page_does_not_need(empty: DirectoryStore, path: str) -> None:
    found = asked(empty, Settings(), path)
    for name, value in HEADERS.items():
        assert found.headers[name] == value


def test_under_a_sub_path_the_app_answers_alike(empty: DirectoryStore) -> None:
    with client_of(empty, Settings(root_path="/melanoma", users=USERS)) as app:
        assert app.get("/health").status_code == 200
        assert app.get("/openapi.json", auth=("anna", "secret")).json()["servers"] == [
            {"url": "/melanoma"}
        ]


# Pace and size ----------------------------------------------------------------------------------


def test_who_asks_too_often_waits(empty: DirectoryStore) -> None:
    with client_of(empty, Settings(each_minute=3, users=USERS)) as app:
        anna, berta = ("anna", "secret"), ("berta", "hidden")
        assert [app.get("/model", auth=anna).status_code for _ in range(3)] == [200] * 3
        refused = app.get("/model", auth=anna)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 21
        assert app.get("/model", auth=berta).status_code == 200
        assert app.get("/health").status_code == 200


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 20))
def test_in_no_minute_more_pass_than_a_full_bucket_and_a_minutes_filling(
    pauses: list[float], each_minute: int
) -> None:
    now = 0.0
    pace = Pace(each_minute, clock=lambda: now)
    passed = []
    for pause in pauses:
        now += pause
        wait = pace.wait("somebody")
        if wait == 0:
            passed.append(now)
        else:
            assert 0 < wait <= 60 / each_minute
    for start in passed:
        within = sum(start <= each < start + 60 for each in passed)
        assert within <= 2 * each_minute


def test_passwords_cannot_be_guessed_at_speed(empty: DirectoryStore) -> None:
    with client_of(empty, Settings(guesses_each_minute=3, users=USERS)) as app:
        wrong = [app.get("/model", auth=("anna", str(n))).status_code for n in range(5)]
        assert wrong == [401, 401, 401, 429, 429]
        assert app.get("/model", auth=("anna", "secret")).status_code == 200
        assert [app.get("/model").status_code for _ in range(5)] == [401] * 5


def test_askers_are_forgotten_before_they_fill_the_memory() -> None:
    pace = Pace(2, clock=lambda: 0.0, most=5)
    for number in range(50):
        pace.wait(str(number))
    assert len(pace._left) == 5


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(
    empty: DirectoryStore,
) -> None:
    settings = Settings(file_bytes=1000, request_bytes=1000)
    with client_of(empty, settings) as app:
        announced = app.post("/predict", **sent(b"x" * 200_000))
        assert announced.status_code == 413

        def parts() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
            for _ in range(200):
                yield b"x" * 1000

        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        found = app.post("/predict", content=parts(), headers=kind)
        assert (found.status_code, found.json()["detail"]["problem"]) == (
            413,
            "The request is too large.",
        )


# What reaches the disk --------------------------------------------------------------------------


def test_no_file_that_is_sent_reaches_the_disk(
    empty: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled = list[Any]()
    original = tempfile.SpooledTemporaryFile.rollover

    def told(file: Any) -> None:
        rolled.append(file)
        original(file)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", told)
    before = set(os.listdir(tempfile.gettempdir()))
    large = png(photograph(1, 1400, 1400))
    assert len(large) > 2**21  # more than a form keeps in memory by default
    with client_of(empty) as app:
        app.post("/predict", **sent(large, name="../../etc/passwd"))
        app.post("/predict/batch", **sent(large))
    assert rolled == []
    assert not any("passwd" in name for name in set(os.listdir(tempfile.gettempdir())) - before)


def test_follower_and_app_end_together(empty: DirectoryStore) -> None:
    follower = Follower(empty, seconds=0.01)
    from tasks.serving.api import app_of

    with TestClient(app_of(follower, Settings()), base_url="http://127.0.0.1"):
        assert follower._thread
        assert follower._thread.is_alive()
    assert not follower._thread.is_alive()
