"""What goes wrong with containers, done for real, and what Airflow is told of it."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from demo.engine import CONTAINER_USER, NETWORK
from tests.support.containers import IMAGE, WORK, Execution, containers_of, eventually, execute
from tests.support.missing import need_root
from tests.support.servers import free_port

Probe = Callable[..., list[str]]
SMALL = (
    '{"image_size": 32, "packed_size": 48, "minimum_groups": 3, "recipes": ["baseline"], '
    '"policy": "smoke"}'
)


# Exit codes and memory ----------------------------------------------------------------------------


def test_exit_codes_pass_through_with_their_meaning(probe: Probe, exceptions: Any) -> None:
    with pytest.raises(exceptions.AirflowSkipException, match="the gate did not pass"):
        probe("print('the gate did not pass'); raise SystemExit(99)")
    with pytest.raises(exceptions.AirflowFailException, match="no retry"):
        probe("raise SystemExit(64)")
    for code in (75, 1):
        with pytest.raises(exceptions.AirflowException, match=f"exit code {code}") as raised:
            probe(f"raise SystemExit({code})")
        assert not isinstance(raised.value, exceptions.AirflowFailException)


def test_a_step_that_needs_more_memory_than_its_limit_is_told_the_limit(
    probe: Probe, exceptions: Any
) -> None:
    with pytest.raises(
        exceptions.AirflowException, match=r"limit of 96 MiB.*limit of probe by MELANOMA_MEMORY_MB"
    ):
        probe("data = bytearray(300_000_000); data[::4096] = bytes([1]) * 73243", memory_mb=96)
    assert probe("bytearray(10_000_000); print('fits')", memory_mb=96) == ["fits"]


def test_a_killed_container_is_not_said_to_be_out_of_memory(
    probe: Probe, engine: Any, exceptions: Any, tmp_path: Path
) -> None:
    code = "import time; print('ready', flush=True); time.sleep(60)"
    running = Execution(lambda: probe(code))
    (found,) = eventually(lambda: containers_of(engine, code, tmp_path / "empty"))
    eventually(lambda: engine.inspect_container(found)["State"]["Running"])
    engine.kill(found)
    raised = running.end()

    assert isinstance(raised, exceptions.AirflowException)
    assert not isinstance(raised, exceptions.AirflowFailException)
    assert "SIGKILL" in str(raised)
    assert "memory" not in str(raised)
    assert not containers_of(engine, code, tmp_path / "empty")


def test_a_full_scratch_is_an_error_of_the_step_and_not_of_the_machine(probe: Probe) -> None:
    code = (
        "import shutil, tempfile; free = shutil.disk_usage(tempfile.gettempdir()).total\n"
        "try:\n"
        "    with tempfile.TemporaryFile() as file:\n"
        "        for _ in range(free // 2**20 + 1): file.write(bytes(2**20))\n"
        "except OSError as error: print(error.strerror, free // 2**20)"
    )

    assert probe(code, memory_mb=2048) == ["No space left on device 1024"]


# Real steps ---------------------------------------------------------------------------------------


def step(container: Any, name: str, store: Path, run: str = "probe", config: str = SMALL) -> Any:
    from dags.places.docker import task_of

    argv = ["--run", f"{store}/runs/{run}", "--config", config]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MELANOMA_NETWORK", NETWORK)
        return task_of(name, *argv)


def test_a_step_gets_what_the_table_says(container: Any, store: Path) -> None:
    from tasks.pipeline import PIPELINE

    for row in PIPELINE:
        task = step(container, row.name, store)
        assert (task.memory_mb, task.cores, task.gpus) == (row.memory_mb, row.cpus, "")
        assert task.spools == row.spools
        assert task.image == f"melanoma-retraining/{row.image}:latest"


def test_only_a_step_for_a_gpu_asks_for_one(
    container: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_GPUS", "all")

    assert step(container, "ingest", store)._gpu_request() == []
    assert step(container, "evaluate", store).image == "melanoma-retraining/train:latest"
    task = step(container, "train", store)
    assert task.image == "melanoma-retraining/train-gpu:latest"
    (request,) = task._gpu_request()
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


def test_recipes_take_turns_on_a_gpu_and_none_waits_where_there_is_none(
    container: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import DAG, task

    from dags.places.docker import task_of

    @task
    def parts() -> list[str]:
        return []

    def mapped(name: str) -> Any:
        with DAG("probe", schedule=None):
            return task_of(name, "--run", "r", parts=parts())

    assert mapped("train").max_active_tis_per_dag is None
    monkeypatch.setenv("MELANOMA_GPUS", "1")
    assert mapped("train").max_active_tis_per_dag == 1
    assert mapped("ingest").max_active_tis_per_dag is None


def test_a_gpu_that_the_engine_has_not_is_named(
    container: Any, exceptions: Any, gateway: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELANOMA_GPUS", "1")
    monkeypatch.setenv("MELANOMA_IMAGES", IMAGE)  # any will do: it never starts
    with pytest.raises(exceptions.AirflowFailException, match=r"capabilities: \[\[gpu\]\]"):
        execute(step(container, "train", store))


def test_a_full_disk_of_the_store_is_bad_input(
    container: Any, exceptions: Any, gateway: str, delivery: Path, tmp_path: Path
) -> None:
    need_root("mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    kilobytes = 600 + int(subprocess.check_output(["du", "-sk", delivery]).split()[0])
    options = f"size={kilobytes}k,uid={CONTAINER_USER},gid={CONTAINER_USER}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    try:
        subprocess.run(["cp", "-a", f"{delivery}/raw", disk], check=True)
        with pytest.raises(exceptions.AirflowFailException, match="no retry"):
            execute(step(container, "ingest", disk))
        assert not list(disk.rglob("record.json"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_training_without_an_mlflow_server_says_which_address_is_missing(
    engine: Any, images: None
) -> None:
    code = (
        "from pathlib import Path; from tasks.errors import BadInput\n"
        "from tasks.registry.versions import tracking_uri\n"
        "from tasks.engine.directory import DirectoryStore\n"
        "try: tracking_uri(DirectoryStore(Path('store')))\n"
        "except BadInput as error: print(error.expected)"
    )
    train = IMAGE.replace("/data", "/train")
    run = engine.create_container(train, entrypoint=["python", "-c", code])
    try:
        engine.start(run["Id"])
        assert engine.wait(run["Id"])["StatusCode"] == 0
        assert b"MLFLOW_TRACKING_URI in the environment" in engine.logs(run["Id"])
    finally:
        engine.remove_container(run["Id"], force=True)


def test_a_stopped_task_ends_its_training_in_an_orderly_way(
    container: Any,
    engine: Any,
    mlflow: str,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    for name in ("ingest", "validate", "split", "check_balance", "oversample"):
        execute(step(container, name, store))
    config = SMALL.replace("}", ', "epochs": 500}')
    task = step(container, "train", store, config=config)
    running = Execution(lambda: execute(task))
    eventually(lambda: list(store.glob("runs/probe/train/progress.json")))
    began = time.monotonic()
    task.on_kill()  # what Airflow calls
    seconds = time.monotonic() - began
    raised = running.end()

    assert "exit code 75" in str(raised)
    assert seconds < 15  # it was not waited for until it was killed
    assert not containers_of(engine, "train", store)
    assert not list(store.glob("runs/probe/train/record.json"))
    assert not list(store.rglob(".partial*"))
    assert list(store.glob("runs/probe/train/**/*.npz"))  # a checkpoint

    told = store / "runs" / "probe" / "train" / "progress.json"
    reached = json.loads(told.read_text())["done"]
    told.unlink()
    again = step(container, "train", store, config=config)
    retry = Execution(lambda: execute(again))
    eventually(told.exists)
    assert json.loads(told.read_text())["done"] > reached  # it went on; begun anew it would say 1
    again.on_kill()
    assert "exit code 75" in str(retry.end())


# Several at once, and what was left ---------------------------------------------------------------


def test_two_runs_at_once_leave_each_other_alone(
    probe: Probe, engine: Any, store: Path, tmp_path: Path
) -> None:
    code = "import time; time.sleep(2); print('done')"
    both = [Execution(partial(probe, code, store=place)) for place in (store, tmp_path / "x")]
    (tmp_path / "x").mkdir()
    os.chown(tmp_path / "x", CONTAINER_USER, CONTAINER_USER)

    assert [each.end() for each in both] == [None, None]
    assert [each.said for each in both] == [["done"], ["done"]]


def test_a_retry_removes_the_container_that_a_dead_worker_left(
    probe: Probe, engine: Any, store: Path
) -> None:
    code = "print('done')"
    label = {WORK: f"{code} {store}/runs/probe"}
    left = engine.create_container(IMAGE, entrypoint=["sleep", "600"], labels=label)
    engine.start(left["Id"])

    assert probe(code, store=store) == ["done"]
    assert containers_of(engine, code, store) == []


def test_parts_of_a_step_that_run_side_by_side_leave_each_other_alone(
    probe: Probe, engine: Any, store: Path
) -> None:
    code = "import sys, time; time.sleep(3); print(sys.argv[1])"
    parts = ("1-of-2", "2-of-2")
    running = [Execution(partial(probe, code, part, part=part, store=store)) for part in parts]

    assert [each.end() for each in running] == [None, None]
    assert [each.said for each in running] == [["1-of-2"], ["2-of-2"]]


# Images -------------------------------------------------------------------------------------------


class _EmptyRegistry(BaseHTTPRequestHandler):
    """Speaks the registry's protocol and has nothing."""

    def do_GET(self) -> None:
        body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
        self.send_response(200 if self.path == "/v2/" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # http.server looks for this name

    def log_message(self, *words: Any) -> None:
        pass


def test_an_image_that_its_registry_does_not_have_is_not_tried_again(
    probe: Probe, exceptions: Any
) -> None:
    server = HTTPServer(("127.0.0.1", 0), _EmptyRegistry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(exceptions.AirflowFailException, match="make images"):
            probe("", image=f"127.0.0.1:{server.server_port}/none:latest")
    finally:
        server.shutdown()
        server.server_close()


def test_a_registry_that_does_not_answer_may_be_tried_again(probe: Probe, exceptions: Any) -> None:
    image = f"127.0.0.1:{free_port()}/none:latest"
    with pytest.raises(exceptions.AirflowException, match=image) as raised:
        probe("", image=image)
    assert not isinstance(raised.value, exceptions.AirflowFailException)
