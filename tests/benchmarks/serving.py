"""Measure the web app under load, beside MLflow's own server of the same model in the same run.

    python -m tests.benchmarks.serving STORE IMAGES [--seconds 60] [--rate 20]

STORE holds a champion; IMAGES is a folder of distinct images. The load generator runs on the same
machine and sends each image in turn, at times that do not wait for answers. What is measured is the
complete answer: the file is decoded, squeezed, seen in eight rotations and reflections by the
network, and calibrated. MLflow's server is given pixels that are decoded already, as JSON, which is
what it accepts.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from tasks.engine.storage import open_store
from tasks.intake.images import Decoded, Refused, decode
from tasks.registry.versions import MODEL, tracking_uri
from tasks.serving.predict import champion_of
from tests.support.servers import free_port

Array = np.ndarray[Any, Any]
Ask = Callable[[httpx.AsyncClient, Any], Awaitable[httpx.Response]]
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("images", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20)
    given = parser.parse_args()
    model = champion_of(open_store(given.store))
    read = (path.read_bytes() for path in sorted(given.images.rglob("*.jpg"))[:2000])
    files = [data for data in read if isinstance(decoded(data, model.side), Decoded)]
    print(
        f"Version {model.facts.version}, recipe {model.facts.recipe}, packed {model.side} px; "
        f"{len(files)} images; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n"
    )
    print("| server | first answer, s | memory, MB | p50, ms | p99, ms | errors | answers |")
    print("|---|---|---|---|---|---|---|")
    began = time.perf_counter()
    with app(given.store) as (address, process):
        first = first_answer(began, lambda: sent(address, files[0]))
        told("tasks serve", first, process, asyncio.run(load(files, given, upload(address))))
        alone, together = batched(address, files[:BATCH])
    pixels = [decoded_as_json(data, model.side) for data in files[:400]]
    began = time.perf_counter()
    with mlflow_server(given.store, model.facts.version) as (address, process):
        first = first_answer(began, lambda: posted(address, pixels[0]))
        told("mlflow models serve", first, process, asyncio.run(load(pixels, given, post(address))))
    print(
        f"\nA batch of {BATCH} takes {together:.2f} s; {BATCH} single requests, one after the "
        f"other, {alone:.2f} s: {alone / together:.1f} times as long."
    )


def told(name: str, first: float, process: psutil.Process, found: tuple[Array, int]) -> None:
    seconds, errors = found
    p50, p99 = 1000 * np.percentile(seconds, [50, 99])
    megabytes = sum(each.memory_info().rss for each in family(process)) / 1e6
    print(
        f"| `{name}` | {first:.1f} | {megabytes:.0f} | {p50:.0f} | {p99:.0f} | {errors} | "
        f"{len(seconds)} |",
        flush=True,
    )


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


# The load -----------------------------------------------------------------------------------------


async def load(items: list[Any], given: argparse.Namespace, ask: Ask) -> tuple[Array, int]:
    """Seconds of each answer, and the number of errors, at a steady rate."""
    seconds, errors = list[float](), 0
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=200)) as client:

        async def one(item: Any) -> None:
            nonlocal errors
            began = time.perf_counter()
            try:
                answer = await ask(client, item)
                errors += answer.status_code != 200
            except httpx.HTTPError:
                errors += 1
            seconds.append(time.perf_counter() - began)

        started, running = time.perf_counter(), list[asyncio.Task[None]]()
        for number, item in zip(range(int(given.seconds * given.rate)), cycle(items), strict=False):
            await asyncio.sleep(max(0, started + number / given.rate - time.perf_counter()))
            running.append(asyncio.create_task(one(item)))
        await asyncio.gather(*running)
    return np.array(seconds), errors


def upload(address: str) -> Ask:
    async def ask(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
        return await client.post(f"{address}/predict", files=form(data))

    return ask


def post(address: str) -> Ask:
    async def ask(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
        kind = {"Content-Type": "application/json"}
        return await client.post(f"{address}/invocations", content=body, headers=kind)

    return ask


def form(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", ("lesion.jpg", data)) for data in files]


def batched(address: str, files: list[bytes]) -> tuple[float, float]:
    """Seconds of single requests one after the other, and of one batch, of the same files."""
    with httpx.Client(timeout=120) as client:
        began = time.perf_counter()
        for data in files:
            client.post(f"{address}/predict", files=form(data)).raise_for_status()
        alone = time.perf_counter() - began
        began = time.perf_counter()
        client.post(f"{address}/predict/batch", files=form(*files)).raise_for_status()
        return alone, time.perf_counter() - began


# The servers --------------------------------------------------------------------------------------


@contextmanager
def app(store: str) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    argv = [sys.executable, "-m", "tasks", "serve", "--store", store, "--port", str(port)]
    with running([*argv, "--each-minute", "1000000"], dict(os.environ)) as process:
        yield f"http://127.0.0.1:{port}", process


@contextmanager
def mlflow_server(store: str, version: int) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    argv = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    argv += ["--model-uri", f"models:/{MODEL}/{version}", "--port", str(port)]
    uri = tracking_uri(open_store(store))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it starts ``uvicorn`` by name
    with running(argv, os.environ | {"MLFLOW_TRACKING_URI": uri, "PATH": path}) as process:
        yield f"http://127.0.0.1:{port}", process


@contextmanager
def running(argv: list[str], environment: dict[str, str]) -> Iterator[psutil.Process]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            for each in family(psutil.Process(process.pid)):
                each.terminate()


def first_answer(began: float, ask: Callable[[], httpx.Response]) -> float:
    """Seconds from the start of the process to its first answer."""
    while time.perf_counter() - began < 180:
        try:
            if ask().status_code == 200:
                return time.perf_counter() - began
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit("The server gave no answer within 180 s.")


def sent(address: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{address}/predict", files=form(data), timeout=60)


def posted(address: str, body: bytes) -> httpx.Response:
    kind = {"Content-Type": "application/json"}
    return httpx.post(f"{address}/invocations", content=body, headers=kind, timeout=60)


def decoded(data: bytes, side: int) -> Decoded | Refused:
    return decode(data, packed_px=side, maximum_megapixels=64)


def decoded_as_json(data: bytes, side: int) -> bytes:
    """What MLflow's server accepts: the packed pixels, as text."""
    found = decoded(data, side)
    assert isinstance(found, Decoded)
    return json.dumps({"inputs": {"rgb_0_to_255": [found.pixels.tolist()]}}).encode()


if __name__ == "__main__":
    main()
