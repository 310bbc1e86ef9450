"""Each answer leaves a trace, without its image; no answer waits for the trace."""

import queue
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter

from tasks.engine.directory import DirectoryStore
from tasks.errors import Momentary
from tasks.evaluation import traces
from tasks.evaluation.traces import new_lesion, read
from tasks.serving import recording
from tasks.serving.answer import Answer, ModelFacts
from tasks.serving.answering import images_of
from tasks.serving.recording import Recorder
from tests.serving.conftest import client_of, png, sent
from tests.support.dicoms import photograph

NOW = datetime.now(UTC)
WHEN = (NOW - timedelta(hours=2), NOW + timedelta(hours=2))


def answer_of(version: int = 1) -> Answer:
    facts = ModelFacts(
        version=version, standing="champion", sha256="a" * 64, recipe="residual", trained="",
        images=1, run="first", synthetic=True, threshold=0.5, judged=(), predictive_value=None,
    )  # fmt: skip
    return Answer(
        decision="melanoma", probabilities={"melanoma": 0.75, "nevus": 0.25}, refused=(), images=1,
        model=facts, notice="",
    )  # fmt: skip


@pytest.fixture
def lost() -> Counter:
    return Counter("lost", "lost", registry=CollectorRegistry())


def count_of(counter: Counter) -> float:
    (metric,) = counter.collect()
    return next(each.value for each in metric.samples if each.name.endswith("_total"))


def decoded(number: int) -> Any:
    return [each.decoded for each in images_of(png(photograph(number)), 1, 64, 64)]


@pytest.mark.slow
def test_each_answer_of_the_app_leaves_a_trace(
    store: DirectoryStore, lesions: list[np.ndarray[Any, Any]]
) -> None:
    file = png(lesions[1])
    with client_of(store) as client:
        single = client.post("/predict", **sent(file, file)).json()
        client.post("/predict/batch", **sent(file, b"no image", file))
        page = client.post("/page/answer", **sent(file))
        client.post("/page/answer", data={"example": "a"})
        client.post("/predict", **sent(b"no image"))
        client.post("/predict?standing=challenger", **sent(file))
    assert page.status_code == 200
    found = read(store, *WHEN)

    # An image that cannot be read leaves none, nor does an example, nor the challenger.
    assert len(found) == 2 + 2 + 1
    assert found["lesion"].nunique() == 4
    assert set(found["version"]) == {1}
    assert set(zip(found["width"], found["height"], strict=True)) == {(180, 180)}
    assert set(found["decision"]) == {single["decision"]}
    expected = single["probabilities"]["melanoma"]
    assert found["melanoma_probability"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_no_answer_waits_for_its_trace_and_what_does_not_fit_is_counted(
    tmp_path: Any, lost: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        goes_on.wait(30)

    monkeypatch.setattr(recording, "write", hang)
    waiting: queue.Queue[Any] = queue.Queue(5)
    recorder = Recorder(DirectoryStore(tmp_path), lost, seconds=0.0, _given=waiting)
    recorder.start()
    recorder.keep(answer_of(), decoded(1), new_lesion())
    assert hangs.wait(30)
    began = time.monotonic()
    for _ in range(15):
        recorder.keep(answer_of(), decoded(1), new_lesion())
    assert time.monotonic() - began < 10
    assert not goes_on.is_set()
    assert count_of(lost) == 10
    goes_on.set()
    recorder.stop()


def test_a_store_that_does_not_answer_makes_traces_wait_and_loses_none(
    tmp_path: Any, lost: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failures = DirectoryStore(tmp_path), list[int]()

    def sometimes(to: Any, rows: Any) -> Any:
        if len(failures) < 3:
            failures.append(1)
            raise Momentary("the store is gone")
        return traces.write(to, rows)

    monkeypatch.setattr(recording, "write", sometimes)
    recorder = Recorder(store, lost, seconds=0.01)
    recorder.start()
    for version in (1, 2, 3):
        recorder.keep(answer_of(version), decoded(version), new_lesion())
    while len(failures) < 3:
        time.sleep(0.01)
    recorder.stop()
    assert sorted(read(store, *WHEN)["version"]) == [1, 2, 3]
    assert count_of(lost) == 0


def test_what_cannot_be_described_is_counted_and_the_next_is_kept(
    tmp_path: Any, lost: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)
    recorder = Recorder(store, lost, seconds=60)
    recorder.start()
    recorder.keep(answer_of(), [None], new_lesion())  # type: ignore[list-item]  # on purpose
    recorder.keep(answer_of(2), decoded(1), new_lesion())
    recorder.stop()
    assert count_of(lost) == 1
    assert list(read(store, *WHEN)["version"]) == [2]


def test_traces_hold_no_name() -> None:
    names = set(traces.Trace.model_fields)
    assert not names & {"file", "name", "image_id", "patient_id", "person", "address", "pixels"}
