"""An engine that stops in mid run."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.containers import Execution, eventually, execute
from tests.support.missing import need_root


class Engine:
    """A Docker engine of a test's own, which it may stop."""

    def __init__(self, folder: Path) -> None:
        # A socket's path may have no more than 108 characters.
        self.folder, self.name = folder, secrets.token_hex(4)
        self.address = f"unix:///run/melanoma-{self.name}.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options: dict[str, Any] = {
            "--data-root": self.folder / "data",
            "--exec-root": f"/run/melanoma-{self.name}",
            "--pidfile": self.folder / "pid",
            "--host": self.address,
            "--bridge": "none",
        }
        # As after a crash of the machine, whose /run is empty then.
        shutil.rmtree(options["--exec-root"], ignore_errors=True)
        (self.folder / "pid").unlink(missing_ok=True)
        argv = [str(part) for pair in options.items() for part in pair]
        # In namespaces of its own: its network and its mounts are not this machine's, and all that
        # it started ends with it.
        apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*apart, "dockerd", *argv, "--iptables=false", "--ip6tables=false"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self.answers, 30)

    def answers(self) -> bool:
        done = subprocess.run(["docker", "-H", self.address, "info"], capture_output=True)
        return done.returncode == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            (dockerd,) = psutil.Process(self.process.pid).children()
            dockerd.send_signal(number)
            self.process.wait(40)


@pytest.fixture(scope="module")
def other_engine(
    engine: Any, images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Another engine, with the base image and nothing else."""
    need_root("start a Docker engine")
    base = os.environ.get("BASE", "melanoma-base:bookworm")
    other = Engine(tmp_path_factory.mktemp("engine"))
    other.start()
    try:
        saved = subprocess.Popen(["docker", "save", base], stdout=subprocess.PIPE)
        loading = ["docker", "-H", other.address, "load"]
        subprocess.run(loading, stdin=saved.stdout, check=True, capture_output=True)
        saved.wait()
        yield other
    finally:
        other.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_stops_in_mid_run_is_a_failure_that_a_retry_mends(
    other_engine: Engine, container: Any, exceptions: Any, store: Path, number: signal.Signals
) -> None:
    def task(code: str) -> Any:
        return container.Container(
            task_id="probe",
            image=os.environ.get("BASE", "melanoma-base:bookworm"),
            entrypoint=["python3", "-c"],
            command=[code, "--run", f"{store}/runs/probe"],
            docker_url=other_engine.address,
            network_mode="none",
            step="ingest",
            memory_mb=256,
            cores=1,
        )

    begun = store / "runs" / "probe" / "ingest" / "begun"
    code = (
        "import os, sys, time\n"
        f"if os.path.exists({str(begun)!r}): sys.exit(print('again'))\n"
        f"open({str(begun)!r}, 'w'); time.sleep(600)"
    )
    running = Execution(lambda: execute(task(code)))
    eventually(begun.exists)
    other_engine.stop(number)
    raised = running.end()

    assert isinstance(raised, exceptions.AirflowException), raised
    assert not isinstance(raised, exceptions.AirflowFailException)

    with pytest.raises(exceptions.AirflowException, match=r"Docker"):
        execute(task(code))  # while it is down
    other_engine.start()
    assert execute(task(code)) == ["again"]
    listed = ["docker", "-H", other_engine.address, "ps", "-aq"]
    assert subprocess.check_output(listed) == b""
