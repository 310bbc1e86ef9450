"""One pod at a time for one task: attempts that died, orphans, kills, and an API that is away."""

import time

import pytest

from tests.support.fake_cluster import FakeCluster, NodePod, Refusal, until
from tests.support.pod_tasks import Airflow, Attempt


def only(cluster: FakeCluster) -> NodePod:
    return next(iter(cluster.pods.values()))


def well(pod: NodePod) -> None:
    """What a pod does that is done at once."""
    pod.runs()
    pod.ends(0)


def orphan(airflow: Airflow, *, begun: bool = True) -> NodePod:
    """The pod of an attempt whose worker died: it is in the cluster, and nobody follows it."""
    from kubernetes.client import ApiClient

    from tests.support import kubernetes_place

    made = kubernetes_place.task("split")._made({})
    airflow.cluster.create(ApiClient().sanitize_for_serialization(made))
    pod = only(airflow.cluster)
    if begun:
        pod.runs()
        pod.says("INFO of the first attempt")
    return pod


def test_a_pod_that_still_works_is_followed_and_no_second_one_is_made(airflow: Airflow) -> None:
    pod = orphan(airflow)
    attempt = Attempt(airflow)
    airflow.wait_for_a_log()
    pod.says("INFO of the second attempt")
    pod.ends(64)

    assert type(attempt.end()).__name__ == "AirflowFailException"
    assert airflow.said() == ["of the first attempt", "of the second attempt"]
    assert len(airflow.cluster.made) == airflow.cluster.peak == 1
    assert not airflow.cluster.pods


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0, "NoneType"), (64, "AirflowFailException"), (99, "AirflowSkipException")],
)
def test_a_pod_that_ended_meanwhile_with_an_answer_is_judged(
    airflow: Airflow, code: int, kind: str
) -> None:
    orphan(airflow).ends(code)

    assert type(airflow.run()).__name__ == kind
    assert airflow.said() == ["of the first attempt"]
    assert len(airflow.cluster.made) == 1
    assert not airflow.cluster.pods


def test_a_pod_that_ended_meanwhile_without_an_answer_is_told_and_done_again(
    airflow: Airflow,
) -> None:
    """This attempt is the retry that a fault of the moment asks for."""

    def play(pod: NodePod) -> None:
        if len(airflow.cluster.made) == 2:
            pod.runs()
            pod.says("INFO from the checkpoint")
            pod.ends(0)

    airflow.cluster.plays = play
    orphan(airflow).fails("Evicted", "The node was low on resource: memory.")

    assert airflow.run() is None
    assert airflow.said() == ["of the first attempt", "from the checkpoint"]
    assert any("low on resource" in text for text in airflow.said(level="warning"))
    assert (len(airflow.cluster.made), airflow.cluster.peak) == (2, 1)


def test_what_an_attempt_has_judged_is_not_judged_again(airflow: Airflow) -> None:
    """A person corrected the input and cleared the task, while the old pod could not be deleted."""
    from dags.places.kubernetes import JUDGED

    pod = orphan(airflow)
    pod.ends(64)
    pod.body["metadata"]["annotations"][JUDGED] = "yes"
    airflow.cluster.plays = well

    assert airflow.run() is None
    assert len(airflow.cluster.made) == 2


def test_a_pod_of_other_settings_is_ended_before_the_new_one_begins(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = orphan(airflow)
    monkeypatch.setenv("MELANOMA_PRIORITY_CLASS", "steps")
    airflow.cluster.plays = well
    attempt = Attempt(airflow)
    assert pod.told_to_end.wait(10)
    time.sleep(0.2)  # it keeps a checkpoint
    assert len(airflow.cluster.made) == 1
    pod.ends(75)

    assert attempt.end() is None
    assert (len(airflow.cluster.made), airflow.cluster.peak) == (2, 1)


def test_a_pod_that_is_being_deleted_is_waited_for(airflow: Airflow) -> None:
    pod = orphan(airflow)
    airflow.cluster.delete(pod.name, {})
    airflow.cluster.plays = well
    attempt = Attempt(airflow)
    airflow.wait_for_a_look()
    assert len(airflow.cluster.made) == 1
    pod.ends(75)

    assert attempt.end() is None
    assert (len(airflow.cluster.made), airflow.cluster.peak) == (2, 1)


def test_attempts_that_begin_together_make_one_pod(airflow: Airflow) -> None:
    """As where a scheduler takes a worker for dead that lives."""
    attempts = [Attempt(Airflow(airflow.cluster)) for _ in range(3)]
    until(lambda: airflow.cluster.pods)
    pod = only(airflow.cluster)
    pod.runs()
    time.sleep(0.5)
    pod.ends(64)
    kinds = {type(attempt.end()).__name__ for attempt in attempts}

    assert "AirflowFailException" in kinds
    assert kinds <= {"AirflowFailException", "AirflowException"}  # another took the pod away
    assert (len(airflow.cluster.made), airflow.cluster.peak) == (1, 1)


def test_stopping_a_task_ends_its_pod_in_an_orderly_way(airflow: Airflow) -> None:
    from dags.places import pods

    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO training")
        assert pod.told_to_end.wait(20)
        pod.says("INFO checkpoint kept")
        pod.ends(75)

    airflow.cluster.plays = play
    attempt = Attempt(airflow)
    airflow.wait_for_a_log()
    airflow.task.on_kill()

    assert type(attempt.end()).__name__ == "AirflowException"
    assert any("Airflow stops" in text for text in airflow.said())
    assert ("info", "checkpoint kept") in airflow.lines
    assert not airflow.cluster.pods
    assert pods.GRACE > 20


def test_stopping_a_task_without_a_pod_stops_nothing(airflow: Airflow) -> None:
    from tests.support import kubernetes_place

    kubernetes_place.task("split").on_kill()
    assert airflow.cluster.asked == []


def test_ending_one_pod_never_ends_another_of_its_name(airflow: Airflow) -> None:
    from dags.places.cluster import Cluster

    first = orphan(airflow)
    task = Airflow(airflow.cluster)
    airflow.cluster.plays = well
    first.ends(0)
    assert task.run() is None
    second = orphan(airflow)
    assert isinstance(task.task.cluster, Cluster)
    task.task.on_kill()  # late: its pod is long gone

    assert second.name == first.name
    assert not second.told_to_end.is_set()


# An API that is away -----------------------------------------------------------------------------


@pytest.mark.parametrize("down", ["refuses", "silent"])
def test_an_api_that_is_away_for_a_while_changes_no_result(airflow: Airflow, down: str) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO before")
        airflow.wait_for_a_log()
        airflow.cluster.down = down
        pod.says("INFO during")
        pod.ends(99)
        time.sleep(0.6)
        airflow.cluster.down = ""

    airflow.cluster.plays = play
    airflow.cluster.cuts = [40]

    assert type(airflow.run()).__name__ == "AirflowSkipException"
    assert airflow.said() == ["before", "during"]


def test_a_pod_outlives_an_api_that_is_away_for_long_and_the_next_attempt_follows_it(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places import cluster

    monkeypatch.setattr(cluster, "OUTAGE", 0.4)

    def play(pod: NodePod) -> None:
        pod.runs()
        airflow.wait_for_a_log()
        airflow.cluster.down = "refuses"
        pod.says("INFO during")

    airflow.cluster.plays = play
    airflow.cluster.cuts = [10]
    raised = airflow.run()
    assert type(raised).__name__ == "AirflowException"
    assert "a retry finds it" in str(raised)

    airflow.cluster.down = ""
    only(airflow.cluster).ends(0)
    assert airflow.run() is None
    assert len(airflow.cluster.made) == 1


def test_a_pod_that_was_made_though_nobody_heard_of_it_is_found(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO once")
        pod.ends(0)

    airflow.cluster.plays = play
    airflow.cluster.loses_answers = 1

    assert airflow.run() is None
    assert airflow.said() == ["once"]
    assert len(airflow.cluster.made) == 1


def test_a_token_that_was_replaced_is_read_anew(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        airflow.cluster.unauthorized = 1
        pod.ends(0)

    airflow.cluster.plays = play

    assert airflow.run() is None
    assert airflow.cluster.unauthorized == 0


def test_a_token_that_is_not_accepted_is_told(airflow: Airflow) -> None:
    airflow.cluster.refuses = Refusal(401, "Unauthorized", "Unauthorized")

    assert type(airflow.run()).__name__ == "AirflowFailException"


def test_a_right_that_airflow_lacks_is_told_in_the_clusters_words(airflow: Airflow) -> None:
    airflow.cluster.plays = well
    airflow.cluster.forbids = {("POST", False)}
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowFailException"
    assert "POST is forbidden for airflow" in str(raised)


@pytest.mark.parametrize("marks", [True, False])
def test_a_pod_that_airflow_may_not_remove_is_told_and_changes_no_result(
    airflow: Airflow, marks: bool
) -> None:
    from dags.places.kubernetes import JUDGED

    airflow.cluster.plays = well
    airflow.cluster.forbids = {("DELETE", False)} | (set() if marks else {("PATCH", False)})

    assert airflow.run() is None
    assert any("stays behind" in text for text in airflow.said(level="warning"))
    assert (JUDGED in only(airflow.cluster).body["metadata"]["annotations"]) == marks
