"""What the cluster refuses once a pod may be there: no pod goes on that nobody follows or names."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fake_cluster import NodePod, Refusal, until
from tests.support.pod_tasks import Airflow, Attempt

CONFLICT = Refusal(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "steps"')


def well(pod: NodePod) -> None:
    pod.runs()
    pod.ends(0)


def until_it_is_told_to_end(pod: NodePod) -> None:
    pod.runs()
    assert pod.told_to_end.wait(60)
    pod.ends(75)


def loses_an_answer(airflow: Airflow, then: Callable[[], None]) -> None:
    """The cluster makes the next pod without that the one who asked hears of it, and goes on as
    `then` says."""
    create = airflow.cluster.create

    def made(body: dict[str, Any]) -> dict[str, Any]:
        then()
        airflow.cluster.create = create  # type: ignore[method-assign]
        return create(body)

    airflow.cluster.loses_answers = 1
    airflow.cluster.create = made  # type: ignore[method-assign]


def only(airflow: Airflow) -> NodePod:
    (pod,) = airflow.cluster.pods.values()
    return pod


def asked(airflow: Airflow, method: str) -> int:
    return sum(found == method for found, _ in airflow.cluster.asked)


@pytest.mark.parametrize("refusal", ["403", "401"])
def test_a_refusal_while_the_pod_runs_is_tried_again_and_names_the_pod(
    airflow: Airflow, refusal: str
) -> None:
    """A role that was changed, or a token that ran out: a person mends it while the pod works."""

    def play(pod: NodePod) -> None:
        pod.runs()
        airflow.wait_for_a_log()
        if refusal == "401":
            airflow.cluster.unauthorized = 1_000
        else:
            airflow.cluster.forbids = {("GET", False)}
        pod.says("INFO one")

    airflow.cluster.plays = play
    airflow.cluster.cuts = [10]
    first, again = airflow.run(), airflow.run()
    pod = only(airflow)

    assert type(first).__name__ == "AirflowException"
    assert f"HTTP {refusal}" in str(first)
    assert pod.name in str(first)
    assert "a retry finds it" in str(first)
    assert not pod.told_to_end.is_set()
    # Nobody may look at the pod: the next attempt cannot find out that there is one with a 401.
    assert type(again).__name__ == (
        "AirflowException" if refusal == "403" else "AirflowFailException"
    )
    assert refusal == "401" or pod.name in str(again)

    airflow.cluster.forbids, airflow.cluster.unauthorized = set(), 0
    pod.ends(0)
    assert airflow.run() is None
    assert len(airflow.cluster.made) == 1


def test_a_refusal_after_an_answer_that_was_lost_leaves_no_pod_alone(airflow: Airflow) -> None:
    def forbid() -> None:
        airflow.cluster.forbids = {("POST", False)}

    airflow.cluster.plays = NodePod.runs
    loses_an_answer(airflow, forbid)
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"
    assert only(airflow).name in str(raised)
    airflow.cluster.forbids = set()
    only(airflow).ends(0)
    assert airflow.run() is None
    assert len(airflow.cluster.made) == 1


# Stopped while the pod is being made -------------------------------------------------------------


def test_a_pod_that_nobody_heard_of_ends_when_its_task_is_stopped(airflow: Airflow) -> None:
    def go_down() -> None:
        airflow.cluster.down = "refuses"

    airflow.cluster.plays = until_it_is_told_to_end
    loses_an_answer(airflow, go_down)
    attempt = Attempt(airflow)
    until(lambda: airflow.cluster.made)
    assert airflow.task.pod is None
    airflow.cluster.down = ""
    airflow.task.on_kill()

    assert airflow.cluster.made[0].told_to_end.wait(5)
    assert type(attempt.end()).__name__ == "AirflowException"


def test_a_pod_that_is_made_after_its_task_was_stopped_ends(airflow: Airflow) -> None:
    airflow.cluster.plays = until_it_is_told_to_end
    airflow.cluster.refuses = Refusal(503, "ServiceUnavailable", "the API is being restarted")
    attempt = Attempt(airflow)
    until(lambda: asked(airflow, "POST"))
    airflow.task.on_kill()
    airflow.cluster.refuses = None

    assert type(attempt.end()).__name__ == "AirflowException"
    assert all(pod.told_to_end.is_set() for pod in airflow.cluster.made)


def test_stopping_a_task_ends_no_pod_of_other_settings(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.client import ApiClient

    from tests.support import kubernetes_place

    old = kubernetes_place.task("split")._made({})
    airflow.cluster.create(ApiClient().sanitize_for_serialization(old))
    monkeypatch.setenv("MELANOMA_PRIORITY_CLASS", "steps")
    task = kubernetes_place.task("split")
    task._asked = task._made({})
    task.on_kill()

    assert asked(airflow, "GET") == 1
    assert not only(airflow).told_to_end.is_set()


# Answers of the moment ---------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [CONFLICT, Refusal(408, "Timeout", "slow")])
def test_an_answer_of_the_moment_is_asked_again_after_a_pause(
    airflow: Airflow, refusal: Refusal
) -> None:
    airflow.cluster.plays = well
    airflow.cluster.refuses, airflow.cluster.refusals = refusal, 6
    begun = time.monotonic()

    assert airflow.run() is None
    assert asked(airflow, "POST") == 7
    assert time.monotonic() - begun > 0.02 * (1 + 2 + 4 + 8 + 16 + 32)


def test_a_conflict_that_does_not_end_is_told_and_tried_again(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places import cluster

    monkeypatch.setattr(cluster, "OUTAGE", 0.3)
    airflow.cluster.refuses = CONFLICT
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"
    assert "resourcequotas" in str(raised)
    assert "come and go" not in str(raised)


@pytest.mark.parametrize("status", [0, 408, 425, 429, 500, 502, 503, 504, 524])
def test_a_status_is_of_the_moment(airflow: Airflow, status: int) -> None:
    from dags.places.pod_states import of_the_moment

    assert of_the_moment(status, "SSLError: EOF occurred in violation of protocol")


@pytest.mark.parametrize("status", [0, 400, 401, 403, 404, 413, 422, 501])
def test_a_status_is_lasting(airflow: Airflow, status: int) -> None:
    from dags.places.pod_states import of_the_moment

    assert not of_the_moment(status, "SSLError: CERTIFICATE_VERIFY_FAILED")
