"""MLflow's database beside a store: there whole, or not at all, whoever is killed or in a hurry."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.__main__ import main
from tasks.engine.directory import DirectoryStore
from tasks.engine.run import Run
from tasks.engine.storage import open_store
from tasks.registry.versions import DATABASE, EXPERIMENT, experiment_id, mlflow_client
from tests.support.deliveries import judged_run
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

# A share of the time that one undisturbed making takes here: a fast machine is killed sooner.
STEP = float(os.environ.get("STEP", "0.1"))  # a campaign looks more closely

# A parent that has imported MLflow forks a child for each attempt: the import takes seconds.
CHILD = """
import os, signal, sys, time
from pathlib import Path
from tasks.registry.versions import experiment_id, mlflow_client, mlflow_module
from tests.support.paths import ROOT
from tasks.engine.storage import open_store

mlflow_module("mlflow.store.tracking.sqlalchemy_store")
mlflow_module("mlflow.store.model_registry.sqlalchemy_store")
mlflow_module("mlflow")

def use(folder):
    store = open_store(folder)
    with mlflow_client(store) as client:
        experiment_id(client, store)
        client.search_model_versions("name = 'any'")

def bare(folder):
    store = mlflow_module("mlflow.store.tracking.sqlalchemy_store").SqlAlchemyStore
    Path(folder).mkdir(parents=True, exist_ok=True)
    store(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")

def child(work, folder, seconds=None):
    pid = os.fork()
    if not pid:
        try:
            work(folder)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def python(code: str, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + code, *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60 / STEP,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_kill_at_any_moment_of_its_making_leaves_a_store_that_works(tmp_path: Path) -> None:
    """At each tenth of the time that a making takes, until one ends before it is killed."""
    said = python(
        f"""
folder, number = sys.argv[1], 0
begun = time.monotonic()
assert ended(child(use, f"{{folder}}/undisturbed")) == 0
step = (time.monotonic() - begun) * {STEP}
while True:
    place = f"{{folder}}/{{number}}"
    killed = ended(child(use, place, number * step))
    after = ended(child(use, place))
    print(number, killed, after, flush=True)
    if killed == 0 or after:
        break
    number += 1
""",
        str(tmp_path),
    )
    attempts = [tuple(map(int, line.split())) for line in said.splitlines()]

    assert len(attempts) > 5  # its making takes longer than a few kills
    assert {after for _, _, after in attempts} == {0}
    assert {killed for _, killed, _ in attempts[:-1]} == {-signal.SIGKILL}


def test_two_that_make_it_at_once_use_one(tmp_path: Path) -> None:
    said = python(
        """
pids = [child(use, sys.argv[1]) for _ in range(3)]
print([ended(pid) for pid in pids])
""",
        str(tmp_path),
    )
    assert said.splitlines()[-1] == "[0, 0, 0]"
    with mlflow_client(open_store(str(tmp_path))) as client:
        names = [each.name for each in client.search_experiments()]
    assert sorted(names) == sorted(["Default", EXPERIMENT])
    assert [path.name for path in tmp_path.iterdir() if "mlflow.db" in path.name] == [DATABASE]


def test_a_half_made_one_of_an_earlier_version_is_made_anew_and_kept_aside(tmp_path: Path) -> None:
    said = python(
        """
begun = time.monotonic()
assert ended(child(bare, f"{sys.argv[1]}/undisturbed")) == 0
step = (time.monotonic() - begun) / 10
for number in range(2, 9):
    place = f"{sys.argv[1]}/{number}"
    killed = ended(child(bare, place, number * step))
    print(number, killed, ended(child(use, place)), flush=True)
""",
        str(tmp_path),
    )
    attempts = [tuple(map(int, line.split())) for line in said.splitlines()]

    assert {after for _, _, after in attempts} == {0}
    assert any(killed for _, killed, _ in attempts)
    assert list(tmp_path.glob("*/mlflow.db.unfinished-*"))


def make(path: Path) -> DirectoryStore:
    store = open_store(str(path))
    assert isinstance(store, DirectoryStore)
    with mlflow_client(store) as client:
        client.create_run(experiment_id(client, store))
    return store


def test_one_that_holds_something_is_never_thrown_away(tmp_path: Path) -> None:
    store = make(tmp_path)
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("DROP TABLE alembic_version")
    assert main(["promote", "--run", f"{store.uri}/runs/a"]) == 64
    with pytest.raises(Exception, match="unfinished, but holds rows"), mlflow_client(store):
        pass
    assert not list(tmp_path.glob("*.unfinished-*"))


# Faults of the moment, and others ----------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is ready to be registered."""
    return judged_run(drawn, tmp_path_factory.mktemp("database") / "store")


def test_a_file_that_is_no_database_is_told(
    trained: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path(trained.store.uri, DATABASE)
    kept = path.rename(tmp_path / DATABASE)
    path.write_bytes(b"SQLite, or so " * 1000)
    try:
        argv = ["register", "--run", trained.uri, "--config", trained.config.model_dump_json()]
        assert main(argv) == 64
        said = capfd.readouterr().err
        assert "Traceback" not in said
        assert "is damaged, or is not a database" in said
        assert path.read_bytes().startswith(b"SQLite, or so")  # nothing is thrown away
    finally:
        kept.replace(path)


def test_an_empty_file_is_made_a_database(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    make(tmp_path)
    assert (tmp_path / DATABASE).stat().st_size > 100_000


def test_a_locked_database_is_a_fault_of_the_moment(
    trained: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path(trained.store.uri, DATABASE)
    code = (
        "import sqlite3, sys, time; database = sqlite3.connect(sys.argv[1]);"
        "database.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(300)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        argv = ["register", "--run", trained.uri, "--config", trained.config.model_dump_json()]
        began = time.monotonic()
        assert main(argv) == 75
        assert time.monotonic() - began < 120
        said = capfd.readouterr().err
        assert "Traceback" not in said
        assert "locked" in said
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
