"""Steps get the keys that they sign with as files; no environment, argv or page holds a key."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.engine.keygen import keygen
from tasks.engine.signing import KEY, PASSPHRASE, PUBLIC, keys_here
from tests.support.keys import Pair, pair_in, use

pytestmark = pytest.mark.usefixtures("airflow_home")


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Importing Airflow writes a configuration file into AIRFLOW_HOME.
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return pair_in(tmp_path / "keys")


def connected(patch: pytest.MonkeyPatch, name: str, **extra: str) -> None:
    """The connection `name`, with this extra, named for each step."""
    patch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "generic", "extra": extra}))
    patch.setenv("MELANOMA_SIGNING_CONNECTION", "sign_{step}")


def done(argv: list[str], step: str = "ingest") -> None:
    from dags.places.process import Process

    task: Any = Process(task_id="step", argv=[*argv, "--run", "s/runs/a"], step=step)
    type(task).execute.__wrapped__(task, {})


def test_a_process_signs_with_the_key_of_its_steps_connection(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(monkeypatch, "SIGN_INGEST", private_key=pair.private.read_text())
    left = tmp_path / "left"
    code = (
        "import os; from tasks.engine.signing import *; keys = keys_here(); path = os.environ[KEY];"
        "assert os.stat(path).st_mode & 0o777 == 0o600;"
        "assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700;"
        f"open({str(left)!r}, 'w').write(keys.fingerprint + ' ' + path)"
    )
    done([sys.executable, "-c", code])
    fingerprint, path = left.read_text().split()
    assert fingerprint == pair.fingerprint
    assert not Path(path).parent.exists()
    assert KEY not in os.environ


def test_a_process_uses_files_where_they_are(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, pair.private, pair.public)
    code = f"import os; assert os.environ[{KEY!r}] == {str(pair.private)!r}"
    done([sys.executable, "-c", code])
    code = f"import os; assert {KEY!r} not in os.environ"
    use(monkeypatch)
    done([sys.executable, "-c", code])


@pytest.mark.parametrize("extra", [{}, {"private_key": ""}, {"other": "x"}, None])
def test_a_connection_without_a_key_fails_the_task_at_once(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, str] | None
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    connected(monkeypatch, "SIGN_INGEST", **(extra or {}))
    if extra is None:
        monkeypatch.delenv("AIRFLOW_CONN_SIGN_INGEST")
    with pytest.raises(AirflowFailException, match="cannot be given the key"):
        done([sys.executable, "-c", "pass"])


@pytest.mark.parametrize("by", ["file", "connection"])
def test_a_container_gets_copies_that_another_user_can_read_in_a_locked_folder(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    from dags import signing

    secret = tmp_path / "secret"
    secret.write_text("horse")
    private, _, fingerprint = keygen(tmp_path / "locked", b"horse")
    if by == "file":
        use(monkeypatch, private, pair.public)
        monkeypatch.setenv(PASSPHRASE, str(secret))
    else:
        extra = {"private_key": private.read_text(), "private_key_passphrase": "horse"}
        connected(monkeypatch, "SIGN_TRAIN", **extra)
        monkeypatch.setenv(PUBLIC, str(pair.public))
    with signing.for_a_container("train") as files:
        assert files.keys() == signing.PLACES.keys() == {KEY, PASSPHRASE, PUBLIC}
        modes = {Path(file).stat().st_mode & 0o777 for file in files.values()}
        (folder,) = {Path(file).parent for file in files.values()}
        assert (modes, folder.stat().st_mode & 0o777) == ({0o444}, 0o700)
        # As in the container, where the engine mounts them under `SECRETS`.
        monkeypatch.setattr("tasks.engine.signing.SECRETS", folder)
        for name, file in files.items():
            monkeypatch.setenv(name, file)
        assert keys_here().fingerprint == fingerprint
        assert {each for each, _ in keys_here().public} == {fingerprint, pair.fingerprint}
    assert not folder.exists()


def test_without_keys_a_container_gets_none() -> None:
    from dags import signing

    with signing.for_a_container("train") as files:
        assert files == {}


def test_the_page_of_a_container_shows_paths_and_no_key(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places.docker import task_of

    store = tmp_path / "store"
    store.mkdir()
    os.chown(store, 1000, 1000)
    use(monkeypatch, pair.private)
    task: Any = task_of("ingest", "--run", f"{store}/runs/a")
    task.render_template_fields({})
    assert f"src={pair.private},dst=/run/secrets/signing-key.pem,readonly" in task.command_line
    assert f"--env {KEY}=/run/secrets/signing-key.pem" in task.command_line
    assert "PRIVATE" not in repr(vars(task))


def test_who_writes_an_answer_down_signs_it_with_the_key_of_the_connection(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.decision import WRITER
    from dags.store import logged_in

    connected(monkeypatch, "SIGN_PROMOTE", private_key=pair.private.read_text())
    with logged_in(str(tmp_path), WRITER):
        assert keys_here().fingerprint == pair.fingerprint
    assert not keys_here().on
    with logged_in(str(tmp_path)):  # who only reads verifies by public keys
        assert not keys_here().on
