"""What a step in a container can reach: the store, MLflow, a scratch; and nothing else."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine import CONTAINER_USER
from tasks.run import RUN_NAME
from tests.containers.running import IMAGE

Probe = Callable[..., list[str]]


@pytest.mark.parametrize("spools", [False, True])
def test_a_step_writes_to_the_store_and_to_its_scratch_only(
    probe: Probe, store: Path, spools: bool
) -> None:
    code = (
        "import json, os\n"
        "open_to = [base for base, folders, _ in os.walk('/') if os.access(base, os.W_OK)\n"
        "           and not base.startswith(('/proc', '/sys'))]\n"
        "print(json.dumps(open_to))"
    )
    places = json.loads(probe(code, store=store, spools=spools)[-1])
    outside = [place for place in places if not place.startswith(str(store))]

    disk = {"/var/tmp"} if spools else set()
    assert set(outside) == {"/tmp", "/dev/shm", "/dev/mqueue"} | disk
    assert str(store) in places
    assert not [place for place in places if place.startswith(f"{store}/raw")]


def test_a_step_that_spools_has_a_disk_for_it_which_goes_with_the_step(
    probe: Probe, engine: Any
) -> None:
    code = (
        "import os, tempfile\n"
        "folder = tempfile.gettempdir()\n"
        "with tempfile.TemporaryFile() as file: file.write(bytes(2_000_000))\n"
        "kinds = {line.split()[1]: line.split()[2] for line in open('/proc/mounts')}\n"
        "print(folder, kinds.get(folder), os.access('/var/tmp', os.W_OK))"
    )

    def volumes() -> set[str]:
        return {each["Name"] for each in engine.volumes()["Volumes"] or ()}

    before = volumes()
    folder, kind, writable = probe(code, spools=True)[-1].split()
    assert (folder, writable) == ("/var/tmp", "True")
    assert kind not in ("None", "tmpfs")
    assert volumes() <= before
    assert probe(code)[-1] == "/tmp tmpfs False"


def test_what_was_delivered_cannot_be_changed(probe: Probe, store: Path) -> None:
    code = (
        "import glob, sys\n"
        f"for act in (lambda: open({str(store / 'raw' / 'new')!r}, 'w'),\n"
        f"            lambda: open(glob.glob({str(store / 'raw')!r} + '/**/*.jpg', recursive=True)"
        "[0], 'a')):\n"
        "    try: act()\n"
        "    except OSError as error: print(error.strerror)\n"
        f"open({str(store / 'new')!r}, 'w').write('the rest can')"
    )

    assert probe(code, store=store) == ["Read-only file system"] * 2
    assert (store / "new").stat().st_uid == CONTAINER_USER


def test_a_step_is_nobody_and_can_become_nobody_else(probe: Probe) -> None:
    code = "print(*[line.strip() for line in open('/proc/self/status')], sep='\\n')"
    status = dict(line.split(":", 1) for line in probe(code) if ":" in line)

    assert status["Uid"].split() == [str(CONTAINER_USER)] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


def test_a_step_sees_no_variable_of_airflow_nor_any_secret(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        *("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_X"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TOKEN"),
    ):
        monkeypatch.setenv(name, "must-not-be-seen")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://seen")
    seen = json.loads(probe("import json, os; print(json.dumps(dict(os.environ)))")[-1])

    assert "must-not-be-seen" not in seen.values()
    assert seen.keys() - {"HOSTNAME", "LC_CTYPE"} == {
        *("PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "NO_COLOR"),
        *("IMAGE_DIGEST", "MLFLOW_TRACKING_URI"),
    }


def test_credentials_come_as_a_file_that_only_the_step_reads(
    probe: Probe, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "aws"
    secret.write_text("[default]\naws_access_key_id = id\naws_secret_access_key = 7dJ2kq\n")
    secret.chmod(0o400)
    os.chown(secret, CONTAINER_USER, CONTAINER_USER)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secret))
    inspected: list[str] = []
    ended = threading.Event()

    def look() -> None:
        label = {"label": "melanoma-retraining.work"}
        while not inspected and not ended.wait(0.1):
            inspected.extend(
                json.dumps(engine.inspect_container(found["Id"]))
                for found in engine.containers(filters=label)
            )

    watcher = threading.Thread(target=look)
    watcher.start()
    code = (
        "import boto3, time; keys = boto3.Session().get_credentials();"
        "print(keys.secret_key == '7dJ' + '2kq'); time.sleep(2)"
    )
    said = probe(code, store="s3://bucket/prefix")
    ended.set()
    watcher.join()

    assert said == ["True"]
    assert inspected
    assert not [text for text in inspected if "7dJ2kq" in text]


def test_a_credentials_file_of_root_is_refused_with_what_to_do(
    probe: Probe, exceptions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").touch(0o600)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    with pytest.raises(exceptions.AirflowFailException, match=r"belongs to root[^$]*chown"):
        probe("", store="s3://bucket/prefix")


@pytest.fixture
def neighbour(engine: Any, images: None) -> Iterator[str]:
    """Address of a web server beyond the network of the steps: this machine reaches it."""
    made = engine.create_container(
        IMAGE, entrypoint=["python", "-m", "http.server", "-d", "/app", "8000"]
    )
    engine.start(made["Id"])
    address = engine.inspect_container(made["Id"])["NetworkSettings"]["IPAddress"]
    yield f"{address}:8000"
    engine.remove_container(made["Id"], force=True)


FETCH = (
    "import sys, urllib.request, urllib.error, time\n"
    "for _ in range(3):\n"
    "    try: print(urllib.request.urlopen('http://' + sys.argv[1], timeout=2).status); break\n"
    "    except OSError as error: time.sleep(0.3)\n"
    "else: print('unreachable')"
)


def test_a_step_reaches_this_machine_and_nothing_beyond(
    probe: Probe, reachable: Callable[[int], str], neighbour: str
) -> None:
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert probe(FETCH, reachable(server.server_port)) == ["200"]
    finally:
        server.shutdown()
        server.server_close()
    assert probe(FETCH, neighbour) == ["unreachable"]
    assert probe(FETCH, neighbour, network_mode="bridge") == ["200"]  # so it was the network


# The argv -----------------------------------------------------------------------------------------

NASTY = [
    *("$(touch trap)", "`touch trap`", "; touch trap", "| touch trap", "&& touch trap", "> trap"),
    *("'; touch trap #", '"; touch trap #', "\n touch trap\n", "\\", "'", '"', "", " ", "-", "--"),
    *("{{ 1 + 1 }}", "{% raw %}", "{{ conn.x }}", "$HOME", "~", "*", "é", "\U0001f9ea", "\x1b[31m"),
    *("['python', '-c', 'x']", "trap.sh", "trap.env", "\t", "%s", "\r\n", "--config={}"),
]


def test_hostile_arguments_reach_the_program_as_they_are(probe: Probe) -> None:
    said = probe("import sys, json; print(json.dumps(sys.argv[1:-2]))", *NASTY)

    assert json.loads(said[-1]) == NASTY


@pytest.fixture(scope="module")
def rendered(container: Any) -> Callable[[str, dict[str, Any]], list[str]]:
    """Renders a step's argv as Airflow does when a run was triggered with a form."""
    from airflow.sdk import DAG

    from dags.runners import CONFIG, MACROS, RUN, docker

    with DAG("any", user_defined_macros=MACROS) as dag:
        docker("ingest", *RUN, *CONFIG)

    def render(run_id: str, params: dict[str, Any]) -> list[str]:
        task = dag.get_task("ingest")
        context = {"run_id": run_id, "params": params}
        argv: list[str] = task.render_template(
            task.command, {**context, **MACROS}, dag.get_template_env()
        )
        return argv

    return render


text = st.text(st.characters(exclude_categories=("Cs",)))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(run_id=text.filter(bool), params=st.dictionaries(text, values, max_size=5))
def test_whatever_a_form_holds_is_one_json_argument(
    rendered: Callable[..., list[str]], run_id: str, params: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELANOMA_STORE", "s3://bucket/prefix")
        argv = rendered(run_id, params)

    assert [argv[0], argv[1], argv[3]] == ["ingest", "--run", "--config"]
    assert len(argv) == 5
    assert RUN_NAME.fullmatch(argv[2].removeprefix("s3://bucket/prefix/runs/"))
    assert json.loads(argv[4]) == params


@pytest.mark.parametrize("hostile", NASTY)
def test_no_hostile_text_of_a_form_becomes_code(
    rendered: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, hostile: str
) -> None:
    monkeypatch.setenv("MELANOMA_STORE", "store")
    argv = rendered(hostile or "empty", {hostile: hostile})

    assert json.loads(argv[4]) == {hostile: hostile}
    assert RUN_NAME.fullmatch(argv[2].removeprefix("store/runs/"))
