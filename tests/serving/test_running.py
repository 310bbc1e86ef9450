"""``python -m tasks serve`` as it runs: switches under load, and attacks by its own OpenAPI."""

import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tasks.engine.directory import DirectoryStore
from tests.serving.conftest import png, running, sent, switch
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

ASKERS = 3

Answers = list[dict[str, float]]
Array = np.ndarray[Any, Any]


def answers_of(address: str, files: list[bytes]) -> Answers:
    return [
        httpx.post(f"{address}/predict", timeout=30, **sent(file)).json()["probabilities"]
        for file in files
    ]


def test_while_the_champion_switches_no_answer_is_lost_and_none_mixes_two_versions(
    switchable: DirectoryStore, lesions: list[Array]
) -> None:
    files = [png(pixels) for pixels in lesions]
    seen, wrong = Counter[int](), list[str]()
    ended = threading.Event()

    def ask(address: str, expected: dict[int, Answers]) -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.is_set():
                for file, number in zip(files, range(len(files)), strict=True):
                    found = client.post(f"{address}/predict", **sent(file))
                    if found.status_code != 200:
                        wrong.append(found.text)
                        continue
                    answer = found.json()
                    version = answer["model"]["version"]
                    seen[version] += 1
                    then = expected[version][number]
                    if answer["probabilities"] != pytest.approx(then, abs=1e-5):
                        wrong.append(f"version {version}: {answer['probabilities']}")

    with running(switchable, "--every", "0.2") as address:
        expected = {1: answers_of(address, files)}
        switch(switchable, 2)
        wait_for(address, 2)
        expected[2] = answers_of(address, files)
        for one, other in zip(expected[1], expected[2], strict=True):
            assert one != pytest.approx(other, abs=1e-3)
        askers = [threading.Thread(target=ask, args=(address, expected)) for _ in range(ASKERS)]
        for each in askers:
            each.start()
        for version in (1, 2, 1):
            switch(switchable, version)
            wait_for(address, version)
        ended.set()
        for each in askers:
            each.join()

    assert wrong == []
    assert min(seen[1], seen[2]) > 20


def wait_for(address: str, version: int) -> None:
    for _ in range(300):
        champion = httpx.get(f"{address}/model").json()["champion"]
        if champion["version"] == version:
            return
    raise AssertionError(f"version {version} is not followed")


def test_no_request_breaks_what_the_api_says_of_itself(
    switchable: DirectoryStore, tmp_path: Path
) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    with running(switchable, "--feedback") as address:
        # Of bytes no schema can say whether they are an image, so valid requests may be refused.
        options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
        options += ["--max-examples", "25", "--seed", "1", "--suppress-health-check", "all"]
        found = subprocess.run(
            [program, "run", f"{address}/openapi.json", *options, "--no-color"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert re.search(r"(\d+) generated, \1 passed", found.stdout), found.stdout[-3000:]


def test_a_port_that_is_taken_is_told(switchable: DirectoryStore) -> None:
    with running(switchable) as address:
        port = address.rpartition(":")[2]
        argv = [sys.executable, "-m", "tasks", "serve", "--store", switchable.uri, "--port", port]
        found = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 75
    assert f"cannot listen at 127.0.0.1:{port}" in found.stderr


def test_a_store_that_is_no_store_is_told(tmp_path: Path) -> None:
    argv: list[Any] = [sys.executable, "-m", "tasks", "serve", "--store", "nowhere://x"]
    found = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 64
    assert "Expected:" in found.stderr
