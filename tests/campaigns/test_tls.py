"""The compose stack as other machines reach it: by TLS, under a name of its own, in a browser."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, HttpCredentials

from demo.airflow_api import ENGINEER, RETRAINING
from tests.support.browser import MILLISECONDS, chromium, visitor
from tests.support.stack import TLS_PORTS, Stack, need_compose, tag_of_images

NAME = "derma.example"
EXPERIMENTS = "/ajax-api/2.0/mlflow/experiments/search"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started with --tls and a name."""
    need_compose()
    made = Stack(tmp_path_factory.mktemp("stack") / "settings", tag_of_images())
    try:
        made("up", "--tls", MELANOMA_HOST=NAME, AIRFLOW_URL=address(made, "AIRFLOW"))
        yield made
    finally:
        if (made.folder / "environment").exists():
            made("destroy")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """On another machine, whose name server knows the stack."""
    with chromium(f"--host-resolver-rules=MAP {NAME} 127.0.0.1") as opened:
        yield opened


def logged_in(browser: Browser, name: str, password: str) -> BrowserContext:
    """A browser with a login. Chromium knows no trial's own certificate, so it asks for none."""
    login = HttpCredentials(username=name, password=password)
    opened = browser.new_context(http_credentials=login, ignore_https_errors=True)
    opened.set_default_timeout(MILLISECONDS)
    return opened


def address(stack: Stack, service: str) -> str:
    return f"https://{NAME}:{stack.ports[f'{service}_TLS_PORT']}"


def connected(stack: Stack, port: str, name: str) -> subprocess.CompletedProcess[str]:
    """A client that trusts the stack's certificate, and expects a name in it."""
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name]
    argv += ["-CAfile", str(stack.folder / "secrets" / "tls_certificate")]
    argv += ["-verify_hostname", name, "-verify_return_error"]
    return subprocess.run(argv, input="", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("port", TLS_PORTS)
def test_the_certificate_is_the_name_s(stack: Stack, port: str) -> None:
    assert connected(stack, stack.ports[port], NAME).returncode == 0
    assert connected(stack, stack.ports[port], "other.example").returncode != 0


@pytest.mark.parametrize("port", TLS_PORTS)
def test_without_tls_there_is_no_answer(stack: Stack, port: str) -> None:
    answer = httpx.get(f"http://127.0.0.1:{stack.ports[port]}/", trust_env=False)
    assert answer.status_code == 400
    assert "HTTPS port" in answer.text


def test_only_the_proxy_listens_for_other_machines(stack: Stack) -> None:
    bound: dict[str, set[str]] = {}
    for each in stack.inspected():
        for bindings in (each["NetworkSettings"]["Ports"] or {}).values():
            for binding in bindings or []:
                service = each["Config"]["Labels"]["com.docker.compose.service"]
                bound.setdefault(service, set()).add(binding["HostIp"])
    others = {service for service, hosts in bound.items() if hosts != {"127.0.0.1"}}
    assert others == {"proxy"}
    assert {"app", "airflow-api", "mlflow"} < set(bound)


def test_airflow_takes_a_login_and_shows_the_retraining(stack: Stack, browser: Browser) -> None:
    users = stack.folder / "secrets" / "airflow_users"
    stack.airflow.wait_for_dag(RETRAINING)
    person = visitor(browser, address(stack, "AIRFLOW"), users, ENGINEER, ignore_https_errors=True)
    person.page.goto(f"{person.airflow}/dags/{RETRAINING}")
    person.page.get_by_role("button", name="Trigger Dag").wait_for()
    cookies = person.page.context.cookies()
    assert [cookie["name"] for cookie in cookies if not cookie.get("secure")] == []
    person.page.context.close()


def test_mlflow_answers_its_own_pages(stack: Stack, browser: Browser) -> None:
    """Its pages ask by POST, which MLflow refuses to pages of a name that it does not know."""
    _, login = stack.mlflow
    with logged_in(browser, *login) as opened:
        page = opened.new_page()
        refused: list[str] = []
        page.on("response", lambda got: refused.append(got.url) if got.status >= 400 else None)
        page.goto(f"{address(stack, 'MLFLOW')}/#/models")
        page.get_by_role("button", name="Create Model").first.wait_for()
        asked = """async (path) => (await fetch(path, {method: 'POST', body: '{"max_results": 1}',
            headers: {'Content-Type': 'application/json'}})).status"""
        assert page.evaluate(asked, EXPERIMENTS) == 200
        assert refused == []


def test_mlflow_refuses_pages_of_other_names(stack: Stack) -> None:
    _, login = stack.mlflow
    own = f"{NAME}:{stack.ports['MLFLOW_TLS_PORT']}"
    for headers, status in (
        ({"Host": own, "Origin": f"https://{own}"}, 200),
        ({"Host": own, "Origin": "https://other.example"}, 403),
        ({"Host": own, "Origin": f"https://{NAME}.other.example"}, 403),
        ({"Host": "other.example", "Origin": f"https://{own}"}, 403),
    ):
        answer = httpx.post(
            f"https://127.0.0.1:{stack.ports['MLFLOW_TLS_PORT']}{EXPERIMENTS}",
            json={"max_results": 1},
            headers=headers,
            auth=login,
            trust_env=False,
            verify=False,
        )
        assert answer.status_code == status, headers


def test_the_app_takes_its_own_forms(stack: Stack, browser: Browser) -> None:
    """And refuses those of another website."""
    name, password = (stack.folder / "secrets" / "app_users").read_text().strip().split(":")
    with logged_in(browser, name, password) as opened:
        page = opened.new_page()
        page.goto(address(stack, "APP"))
        assert "melanoma" in page.content().lower()
        asked = "async () => (await fetch('/predict', {method: 'POST'})).status"
        assert page.evaluate(asked) == 422  # it was read: no image is in it
    foreign = httpx.post(
        f"https://127.0.0.1:{stack.ports['APP_TLS_PORT']}/predict",
        headers={"Host": NAME, "Origin": "https://other.example"},
        auth=(name, password),
        trust_env=False,
        verify=False,
    )
    assert foreign.status_code == 403
