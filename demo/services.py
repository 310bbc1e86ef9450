"""Start services that outlive this process, find them again, and end them with all descendants.

Each service gets its own session. All descendants keep the number of the session, even after the
service has died, so the number finds the processes to end. A process that left the session is found
by the demo's mark in its environment.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tasks.errors import BadInput, Momentary

SECONDS_TO_START = 120
SECONDS_TO_END = 6  # Airflow's scheduler would wait for its tasks; what is left then is killed


@dataclass(frozen=True)
class Service:
    """One process.

    Attributes:
        name: Name of the service, its log and its entry under ``run/``.
        argv: The command to run.
        page: Address that answers 200 when the service is ready; None without a port.
        secrets: What its environment holds, and that of no other service.
    """

    name: str
    argv: tuple[str, ...]
    page: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Started:
    """A started service, as ``run/<name>.json`` holds it.

    Attributes:
        pid: Number of the process, its session and its process group.
        since: Start in seconds since the epoch, because the pid may belong to another process now.
        page: See `Service`.
        log: Path of its output.
    """

    name: str
    pid: int
    since: float
    page: str | None
    log: str

    @property
    def alive(self) -> bool:
        return _same_process(self.pid, self.since)


def start(service: Service, home: Path, environment: Mapping[str, str]) -> Started:
    """Start a service. Its output goes to ``logs/<name>.log`` under `home`."""
    log = home / "logs" / f"{service.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    (home / "run").mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            service.argv,
            cwd=home,
            env={**environment, **service.secrets},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    since = psutil.Process(process.pid).create_time()
    started = Started(service.name, process.pid, since, service.page, str(log))
    _entry(home, service.name).write_text(json.dumps(started.__dict__))
    return started


def recorded(home: Path) -> dict[str, Started]:
    """The services that were started in this home, alive or not."""
    found = {}
    for file in sorted((home / "run").glob("*.json")):
        try:
            found[file.stem] = Started(**json.loads(file.read_text()))
        except (TypeError, ValueError):
            continue  # an incomplete entry, left by a kill: its process is found by the mark
    return found


def wait_until_ready(started: Started) -> None:
    """Wait until a service answers.

    Raises:
        Momentary: The service died or did not answer in time; holds the last lines of its log.
    """
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if not started.alive:
            raise Momentary(f"{started.name} ended while it was starting.", log=_tail(started.log))
        if started.page is None or _answers(started.page):
            return
        time.sleep(0.2)
    raise Momentary(
        f"{started.name} did not answer within {SECONDS_TO_START} s at {started.page}.",
        log=_tail(started.log),
    )


def processes_of(home: Path, mark: str) -> list[psutil.Process]:
    """Every living process of a demo, except this one.

    Args:
        home: Folder of the demo.
        mark: Environment variable that holds `home` in each of its processes.
    """
    sessions = {
        started.pid
        for started in recorded(home).values()
        # The number of a dead leader is not reused while its session lives.
        if started.alive or not psutil.pid_exists(started.pid)
    }
    found = [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _belongs(process, sessions, mark, str(home))
    ]
    return sorted(found, key=lambda process: process.pid)


def is_step(process: psutil.Process) -> bool:
    """Whether a process is a ``python -m tasks``, and not the web app."""
    try:
        command = process.cmdline()[1:4]
        return bool(command[:2] == ["-m", "tasks"] and command[2:] != ["serve"])
    except psutil.Error:
        return False


def end(home: Path, mark: str) -> int:
    """End every process of a demo; returns how many there were.

    Raises:
        BadInput: Some processes could not be ended, because they belong to another user.
    """
    ended: set[int] = set()
    for _ in range(3):  # a process may start another one while it is being ended
        living = processes_of(home, mark)
        if not living:
            break
        ended |= {process.pid for process in living}
        _end_all(living)
    left = processes_of(home, mark)
    if left:
        raise BadInput(
            "Some processes of the demo could not be ended.",
            expected="processes of this user",
            received=", ".join(str(process.pid) for process in left),
            do="end them as the user who started them",
        )
    for name in recorded(home):
        _entry(home, name).unlink(missing_ok=True)
    return len(ended)


def _end_all(living: Iterable[psutil.Process]) -> None:
    for process in living:
        _signal(process, signal.SIGTERM)
    _, left = psutil.wait_procs(living, timeout=SECONDS_TO_END)
    for process in left:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=SECONDS_TO_END)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)  # psutil checks that the pid is still the same process


def _belongs(process: psutil.Process, sessions: set[int], mark: str, home: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if os.getsid(process.pid) in sessions:
            return True
        return bool(process.environ().get(mark) == home)
    except (psutil.Error, OSError):
        return False


def _same_process(pid: int, since: float) -> bool:
    try:
        process = psutil.Process(pid)
        same: bool = abs(process.create_time() - since) < 1
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _answers(page: str) -> bool:
    try:
        return httpx.get(page, trust_env=False, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _tail(log: str, lines: int = 20) -> str:
    text = Path(log).read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(["Its last lines:", *(f"  {line}" for line in text), f"All of it: {log}"])


def _entry(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"
