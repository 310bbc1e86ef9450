"""The log of a pod in Airflow: whole, each line once, whatever happens to the connection."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import fake_cluster
from tests.support.fake_cluster import NodePod
from tests.support.pod_tasks import Airflow

COUNT = 300


def numbered(pod: NodePod) -> None:
    """Lines in bursts, as a step prints them; some in the same microsecond, and equal ones."""
    pod.runs()
    for number in range(COUNT):
        pod.says(f"line {number}", *(["again"] if number % 3 else ()))
    same = fake_cluster._now()
    with pod.cluster.changed:
        pod.entries += [(same, b"same\n")] * 3
    pod.ends(0)


def whole() -> list[str]:
    lines = [[f"line {number}", *(["again"] if number % 3 else ())] for number in range(COUNT)]
    return [line for each in lines for line in each] + ["same"] * 3


def warnings(airflow: Airflow) -> list[str]:
    return airflow.said(level="warning")


@pytest.mark.parametrize("seed", range(8))
def test_a_log_that_is_cut_anywhere_is_whole_and_nothing_stands_twice(
    airflow: Airflow, seed: int
) -> None:
    """In the middle of a line or of its time, roughly or in an orderly way."""
    draw = random.Random(seed)
    airflow.cluster.cuts = [draw.choice((1, -1)) * draw.randint(1, 25_000) for _ in range(8)]
    airflow.cluster.plays = numbered

    assert airflow.run() is None
    assert airflow.said() == whole()
    assert len(airflow.cluster.cuts) < 8  # it was cut


def test_a_log_that_is_never_cut_is_whole_and_nothing_is_said_of_cuts(airflow: Airflow) -> None:
    airflow.cluster.plays = numbered

    assert airflow.run() is None
    assert airflow.said() == whole()
    assert warnings(airflow) == []


def test_lines_that_come_while_the_connection_is_away_are_not_lost(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("before")
        airflow.wait_for_a_log()
        pod.cluster.log_faults = [500, 503, 0]
        pod.says("during")
        airflow.wait_for_a_look()
        pod.says("after")
        pod.ends(0)

    airflow.cluster.cuts = [30]
    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.said() == ["before", "during", "after"]
    assert any("The log was cut" in text for text in warnings(airflow))


def test_a_node_that_rotated_its_log_meanwhile_is_told(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("one", "two")
        airflow.wait_for_a_log()
        with pod.cluster.changed:
            pod.entries[:] = []  # the file began anew
        pod.says("nine", "ten")
        pod.ends(0)

    airflow.cluster.cuts = [70]
    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.said()[-2:] == ["nine", "ten"]
    assert any("may be missing" in text for text in warnings(airflow))


def test_a_node_whose_clock_is_wrong_loses_no_line(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines lie hours back or ahead, and so do those that are asked for again."""
    for hours in (-3, 3):
        now = datetime.now
        moved = timedelta(hours=hours)
        with monkeypatch.context() as patch:
            patch.setattr(fake_cluster, "_now", lambda moved=moved, now=now: now(UTC) + moved)
            airflow.cluster.cuts = [200, 900, 3000]
            airflow.cluster.plays = numbered
            assert airflow.run() is None
        assert airflow.said() == whole()


def test_a_line_of_ten_megabytes_arrives_whole(airflow: Airflow) -> None:
    long = "x" * 10_000_000

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says(long, "short")
        pod.ends(0)

    airflow.cluster.cuts = [3_000_000, 9_999_999]
    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.said() == [long, "short"]
    assert airflow.seconds < 10


def test_bytes_that_are_no_text_arrive_and_each_line_has_its_own_level(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says(b"INFO name \xff\xfe\r of an image", "ERROR it is wrong", "  Received: so")
        pod.says(b"WARNING last, without an end", ends=False)
        pod.ends(0)

    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.lines == [
        ("info", "name \\xff\\xfe\r of an image"),
        ("error", "it is wrong"),
        ("error", "  Received: so"),
        ("warning", "last, without an end"),
    ]


@pytest.mark.parametrize(("code", "kind"), [(0, "NoneType"), (64, "AirflowFailException")])
@pytest.mark.parametrize("status", [404, 500])
def test_the_exit_code_counts_where_no_log_can_be_read(
    airflow: Airflow, code: int, kind: str, status: int
) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO unread")
        pod.ends(code)

    airflow.cluster.log_faults = [status] * 50
    airflow.cluster.plays = play

    assert type(airflow.run()).__name__ == kind
    assert any("could not be read" in text for text in warnings(airflow))
    assert airflow.said() == []


NO_LOG = b"unable to retrieve container logs for containerd://abc"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_words_of_the_node_are_no_line_of_the_step(airflow: Airflow, end: bytes) -> None:
    """A node answers 200 with its own words; only lines of the log have a time before them."""

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO the gate did not pass")
        pod.ends(99)

    airflow.cluster.instead_of_logs = [NO_LOG + end] * 50
    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowSkipException"
    assert "unable to retrieve" not in str(raised)
    assert airflow.said() == []
    assert any("unable to retrieve container logs" in text for text in warnings(airflow))


def test_a_log_is_read_on_after_words_of_the_node(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO one", "INFO two")
        airflow.wait_for_a_log()
        pod.says("INFO three")
        pod.ends(0)

    airflow.cluster.instead_of_logs = [b"", NO_LOG, NO_LOG + b"\n", b""]
    airflow.cluster.cuts = [50]
    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.said() == ["one", "two", "three"]
    assert not any("may be missing" in text for text in warnings(airflow))


def test_a_silent_step_is_looked_after(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a node dies, a connection may stay open for ever and bring nothing."""
    from dags.places import cluster

    monkeypatch.setattr(cluster, "SILENCE", 0.2)

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO one")
        airflow.wait_for_a_log()
        for _ in range(3):
            airflow.wait_for_a_look()
        with pod.cluster.changed:
            pod.entries.append((datetime.now(UTC), b"INFO two\n"))
        pod.ends(0)

    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.said() == ["one", "two"]
    assert warnings(airflow) == []  # silence is no fault


def test_a_line_that_stood_in_two_pieces_is_one(airflow: Airflow) -> None:
    """The rest of a line that an orderly end cut off is no line."""

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO first", "INFO second and more")
        pod.ends(0)

    airflow.cluster.cuts = [-(31 + 11 + 31 + 9)]  # within "second"
    airflow.cluster.plays = play
    result: Any = airflow.run()

    assert result is None
    assert airflow.said() == ["first", "second and more"]
