"""What a step in a container can reach: the store, MLflow, a scratch; and nothing else."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.engine import CONTAINER_USER, NETWORK, give_to_containers
from tasks.engine.run import RUN_NAME
from tasks.pipeline import BESIDE, PIPELINE, Step, step_named
from tests.support.containers import IMAGE, execute

Probe = Callable[..., list[str]]


# What each may write of a store, beside its own folder and shared/. Said here once more: a row that
# may write more must be meant.
MORE = {
    "ingest": {"runs/probe"},  # raw.json
    "split": {"ledger/chain"},
    "evaluate": {"ledger/chain"},
    "register": {"runs/probe/evidence"},
}
SPEAKERS = (
    *("train", "evaluate", "register", "report", "promote", "rollback", "ask"),
    *("drift", "outcomes"),
)
ROWS = (*PIPELINE, *BESIDE)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
WRITE = (
    "import json, os, sys\n"
    "done = []\n"
    "for place in sys.argv[1].split(','):\n"
    "    try:\n"
    "        os.makedirs(place, exist_ok=True)\n"
    "        with open(place + '/tried', 'x'): done.append(place)\n"
    "        os.link(place + '/tried', place + '/linked')\n"
    "    except OSError: pass\n"
    "print(json.dumps(done))"
)


@each_row
def test_a_step_writes_to_what_its_row_says_and_reads_all(
    probe: Probe, store: Path, row: Step
) -> None:
    folders = [f"runs/probe/{name}" for name in (*(each.name for each in PIPELINE), "evidence")]
    others = ["", "raw", "raw/images", "external", "ledger", "shared", "runs", "runs/other"]
    others += ["shared/latest", "ledger/chain", "ledger/promotions", "ledger/monitoring"]
    others += ["monitoring", "monitoring/reference"]
    places = [*others, *folders, "runs/probe", "runs/other/train"]
    said = probe(WRITE, ",".join(f"{store}/{each}" for each in places), store=store, step=row.name)
    written = {os.path.relpath(each, store) for each in json.loads(said[-1])}

    own = {"report": {"runs/probe"}, "promote": {"ledger/promotions"}}
    own["rollback"] = own["propose"] = own["promote"]
    whole_runs = {each for each in places if each.startswith("runs")}
    own["drift"] = {"ledger/monitoring", "monitoring", "monitoring/reference"}
    own["outcomes"] = own["drift"]
    ledgers = {each for each in places if each.startswith("ledger")}
    own["ask"] = {"shared", *ledgers, *whole_runs}
    if "shared" in own.get(row.name, {"shared"}):  # there if another step made it
        written.discard("shared/latest")
    mine = own.get(row.name, {f"runs/probe/{row.name}", "shared"})
    assert written == mine | MORE.get(row.name, set())
    for path in store.rglob("linked"):
        assert path.stat().st_uid == CONTAINER_USER
    assert {path.stat().st_uid for path in store.rglob("*")} == {CONTAINER_USER}
    images = "import glob, sys; print(len(glob.glob(sys.argv[1], recursive=True)))"
    assert int(probe(images, f"{store}/raw/**/*.jpg", store=store, step=row.name)[-1]) > 0


@pytest.mark.parametrize("spools", [False, True])
def test_outside_of_the_store_a_step_writes_to_its_scratch_only(
    probe: Probe, store: Path, spools: bool
) -> None:
    code = (
        "import json, os\n"
        "open_to = [base for base, folders, _ in os.walk('/') if os.access(base, os.W_OK)\n"
        "           and not base.startswith(('/proc', '/sys'))]\n"
        "print(json.dumps(open_to))"
    )
    places = json.loads(probe(code, store=store, spools=spools)[-1])

    disk = {"/var/tmp"} if spools else set()
    assert set(places) == {"/tmp", "/dev/shm", "/dev/mqueue"} | disk


def test_a_file_of_the_run_that_is_there_already_is_not_the_steps_to_change(
    probe: Probe, store: Path
) -> None:
    """The report may write its page, and not what ingest noted of raw/."""
    run = store / "runs" / "probe"
    run.mkdir(parents=True)
    (run / "raw.json").write_text("[]")
    (run / "report.html").write_text("an earlier one")
    give_to_containers(store)
    code = (
        "import os, sys\n"
        "for name in ('raw.json', 'report.html'):\n"
        "    with open(sys.argv[1] + '/new', 'w') as file: file.write('new')\n"
        "    try: os.replace(sys.argv[1] + '/new', sys.argv[1] + '/' + name); print(name)\n"
        "    except OSError as error: print(error.strerror)"
    )

    said = probe(code, str(run), store=store, step="report")
    assert said == ["Device or resource busy", "report.html"]
    assert (run / "raw.json").read_text() == "[]"


def test_a_store_that_the_worker_cannot_prepare_is_refused_with_what_to_do(
    container: Any, exceptions: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places import mounts

    def refuse(path: Path, **settings: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    seen = mounts.places(store, "probe", step_named("split"))
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(exceptions.AirflowFailException, match=r"Permission denied[^$]*chown"):
        mounts.made(seen)


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


def test_a_step_is_nobody_and_can_become_nobody_else(probe: Probe) -> None:
    code = "print(*[line.strip() for line in open('/proc/self/status')], sep='\\n')"
    status = dict(line.split(":", 1) for line in probe(code) if ":" in line)

    assert status["Uid"].split() == [str(CONTAINER_USER)] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"


@each_row
def test_a_step_sees_no_secret_and_of_mlflow_only_if_it_speaks_with_it(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Step
) -> None:
    for name in (
        *("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_X"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TOKEN"),
    ):
        monkeypatch.setenv(name, "must-not-be-seen")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://seen")
    (tmp_path / "login").write_text("[mlflow]\nmlflow_tracking_username = keeper\n")
    monkeypatch.setenv("MELANOMA_MLFLOW_CREDENTIALS", str(tmp_path / "login"))
    code = (
        "import json, os; home = os.path.expanduser('~/.mlflow/credentials')\n"
        "print(json.dumps([dict(os.environ), os.path.exists(home)]))"
    )
    seen, knows = json.loads(probe(code, step=row.name)[-1])

    speaks = row.mlflow
    assert speaks == (row.name in SPEAKERS)
    assert knows == speaks
    assert "must-not-be-seen" not in seen.values()
    assert seen.keys() - {"HOSTNAME", "LC_CTYPE"} == {
        *("PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "NO_COLOR"),
        *("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "GX_ANALYTICS_ENABLED"),
        *("IMAGE_DIGEST", "MELANOMA_PERSON", *(["MLFLOW_TRACKING_URI"] if speaks else [])),
    }


@pytest.mark.parametrize("place", ["connection", "file"])
def test_each_step_may_have_credentials_of_its_own(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    for step in ("ingest", "split"):
        fields = {"conn_type": "generic", "login": f"key-of-{step}", "password": "secret"}
        monkeypatch.setenv(f"AIRFLOW_CONN_STORE_{step.upper()}", json.dumps(fields))
        file = tmp_path / f"{step}.aws"
        keys = f"aws_access_key_id = key-of-{step}\naws_secret_access_key = secret"
        file.write_text(f"[default]\n{keys}\n")
        os.chown(file, CONTAINER_USER, CONTAINER_USER)
    if place == "connection":
        monkeypatch.setenv("MELANOMA_STORE_CONNECTION", "store_{step}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "{step}.aws"))
    code = "import boto3; print(boto3.Session().get_credentials().access_key)"

    for step in ("ingest", "split"):
        assert probe(code, store="s3://bucket/prefix", step=step) == [f"key-of-{step}"]


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


# The line to type ---------------------------------------------------------------------------------


def test_the_line_that_airflow_shows_does_the_step_again_when_it_is_typed(
    container: Any, gateway: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places.docker import task_of

    monkeypatch.setenv("MELANOMA_NETWORK", NETWORK)
    config = '{"packed_size": 48, "image_size": 32}'
    task = task_of("ingest", "--run", f"{store}/runs/probe", "--config", config)
    execute(task)
    task.render_template_fields({"task": task})
    shown = {name: getattr(task, name) for name in task.template_fields}
    typed = subprocess.run(
        ["sh", "-c", shown["command_line"]], capture_output=True, text=True, check=False
    )

    assert typed.returncode == 0, typed.stderr
    assert "ingest was committed before" in typed.stderr
    assert shown.keys() == {"command_line"}
    # And it holds the same locks.
    for lock in ("--read-only", "--cap-drop ALL", f"src={store},dst={store},readonly"):
        assert lock in shown["command_line"]


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

    from dags.argv import CONFIG, MACROS, RUN
    from dags.places.docker import task_of

    with DAG("any", user_defined_macros=MACROS) as dag:
        task_of("ingest", *RUN, *CONFIG)

    def render(run_id: str, params: dict[str, Any]) -> list[str]:
        task: Any = dag.get_task("ingest")
        context: Any = {"run_id": run_id, "dag_run": SimpleNamespace(conf=params)}
        argv: list[str] = task.render_template(
            task.command, {**context, **MACROS}, dag.get_template_env()
        )
        return argv

    return render


text = st.text(st.characters(exclude_categories=["Cs"]))
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
