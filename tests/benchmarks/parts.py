"""Many images in parts, on an S3 server: time, memory and S3 requests of each, the same records.

    .venv/bin/python -m tests.benchmarks.parts 100000 --parts 1 4 [--workers 2] [--server ENDPOINT]

Puts generated JPEGs (as `tests.benchmarks.scale`) into a bucket of a real S3 server: a one-node
Ceph, started here, or the one that ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name. Each
number of parts gets a bucket of its own. ``ingest`` and ``validate`` run part by part, as many at
once as there are workers, each in a process of its own as Airflow's workers run them; then the
joining step. Says of each process its processor seconds, its peak memory and its requests by kind,
and at the end whether all numbers of parts gave the same records.
"""

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.pipeline import step_named
from tests.benchmarks.scale import generate
from tests.support.paths import ROOT
from tests.support.servers import S3Server, free_port, need_ceph

DIVIDED = ("ingest", "validate")
# Runs `python -m tasks` with a counter of the requests that really go out, retries included.
COUNTING = """
import atexit, collections, json, os, runpy, sys
from botocore.endpoint import Endpoint
counted, send = collections.Counter(), Endpoint._send
def counting(self, request):
    counted[request.method + " " + ("list" if "list-type" in request.url else "object")] += 1
    return send(self, request)
Endpoint._send = counting
atexit.register(lambda: open(os.environ["COUNTED"], "w").write(json.dumps(counted)))
sys.argv = ["tasks", *sys.argv[1:]]
runpy.run_module("tasks", run_name="__main__")
"""


@dataclass(frozen=True)
class Measured:
    """What one process took.

    Attributes:
        name: Step, and part if it is one.
        seconds: Wall seconds.
        cpu: Processor seconds of all threads.
        peak: Peak memory, MB.
        requests: S3 requests by kind.
    """

    name: str
    seconds: float
    cpu: float
    peak: float
    requests: Counter[str]


def measured(step: str, run: str, config: str, part: str, environment: dict[str, str]) -> Measured:
    """Run a step, or a part of one, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "requests.json")
        argv = [sys.executable, "-c", COUNTING, step, "--run", run, "--config", config]
        argv += ["--part", part] if part else []
        started = time.monotonic()
        process = subprocess.Popen(
            argv, cwd=ROOT, env=environment | {"COUNTED": str(told)}, stderr=subprocess.PIPE
        )
        assert process.stderr
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            sys.exit(said.decode())
        seconds = time.monotonic() - started
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        requests = Counter(json.loads(told.read_text()))
    return Measured(f"{step} {part}".strip(), seconds, cpu, peak, requests)


def run_in_parts(uri: str, parts: int, workers: int, environment: dict[str, str]) -> list[Measured]:
    """Do the divided steps of a run, and `split`, as an orchestrator does."""
    config = json.dumps({"packed_size": 64, "image_size": 64, "parts": parts})
    run, found = f"{uri}/runs/parts", []
    for step in (*DIVIDED, "split"):
        if parts > 1 and step in DIVIDED:
            names = [f"{number}-of-{parts}" for number in range(1, parts + 1)]
            with ThreadPoolExecutor(workers) as pool:
                begun = [
                    pool.submit(measured, step, run, config, name, environment) for name in names
                ]
                found += [each.result() for each in begun]
        found.append(measured(step, run, config, "", environment))
    return found


@contextmanager
def server(endpoint: str | None) -> Iterator[S3Server]:
    """The server that is named, or a one-node Ceph."""
    if endpoint:
        yield S3Server(
            endpoint, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        )
        return
    need_ceph()
    with tempfile.TemporaryDirectory() as folder:
        port, key, secret = free_port(), "benchmark", secrets.token_hex(16)
        told = {"S3_PORT": str(port), "MON_PORT": str(free_port())}
        ceph = subprocess.Popen(
            [ROOT / "tests/support/ceph_one_node.sh", f"{folder}/ceph"],
            env=os.environ | told | {"ACCESS_KEY": key, "SECRET_KEY": secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert ceph.stdin
        assert ceph.stdout
        assert ceph.stdout.readline() == "ready\n"
        try:
            yield S3Server(f"http://127.0.0.1:{port}", key, secret)
        finally:
            ceph.stdin.close()
            ceph.wait(60)


def upload(client: Any, bucket: str, folder: Path) -> None:
    """All files of a folder, in threads."""

    def put(path: Path) -> None:
        client.put_object(
            Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes()
        )

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(put, (path for path in folder.rglob("*") if path.is_file())))


def hashes(client: Any, bucket: str) -> dict[str, str]:
    """The content hash of each record of the run, without those of parts."""
    found = {}
    for name in (*DIVIDED, "split"):
        key, kind = f"runs/parts/{name}/record.json", step_named(name).gives
        data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        found[name] = kind.model_validate_json(data).content_hash
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--server")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with server(given.server) as s3, tempfile.TemporaryDirectory() as folder:
        environment = os.environ | s3.environment | {"AWS_DEFAULT_REGION": "us-east-1"}
        client, records = s3.client(), []
        generate(Path(folder), given.count)
        for parts in given.parts:
            bucket, started = s3.new_bucket(), time.monotonic()
            upload(client, bucket, Path(folder))
            print(f"{parts} parts: {given.count} uploaded in {time.monotonic() - started:.0f} s")
            for each in run_in_parts(f"s3://{bucket}", parts, given.workers, environment):
                requests = ", ".join(f"{kind} {n}" for kind, n in sorted(each.requests.items()))
                print(
                    f"{parts} | {each.name} | {each.seconds:.1f} s | {each.cpu:.1f} CPU s | "
                    f"{each.peak:.0f} MB | {requests}",
                    flush=True,
                )
            records.append(hashes(client, bucket))
    print("the same records:", all(each == records[0] for each in records), records[0])


if __name__ == "__main__":
    main()
