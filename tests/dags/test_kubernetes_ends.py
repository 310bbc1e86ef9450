"""What Airflow makes of the end of a pod. The cluster's API is a server of ours, over real HTTP."""

import time
from typing import Any

import pytest

from tests.support.fake_cluster import NodePod, Refusal
from tests.support.pod_tasks import Airflow

OOM = "needed more memory than its limit of 2048 MiB"


def ending(code: int, *lines: str, reason: str = "", **status: Any) -> Any:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says(*lines)
        pod.ends(code, reason, **status)

    return play


def test_exit_code_0_is_success_and_the_pod_goes(airflow: Airflow) -> None:
    airflow.cluster.plays = ending(0, "INFO done")

    assert airflow.run() is None
    assert airflow.lines == [("info", "done")]
    assert not airflow.cluster.pods
    assert len(airflow.cluster.made) == 1


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (99, "AirflowSkipException", "the gate did not pass"),
        (64, "AirflowFailException", "no retry. Do: correct it"),
        (75, "AirflowException", "exit code 75"),
        (1, "AirflowException", "exit code 1"),
        (137, "AirflowException", "SIGKILL"),
        (143, "AirflowException", "SIGTERM"),
        (255, "AirflowException", "exit code 255"),
    ],
)
def test_an_exit_code_means_what_it_means_elsewhere(
    airflow: Airflow, code: int, kind: str, said: str
) -> None:
    line = {99: "the gate did not pass", 64: "  Do: correct it"}.get(code, "so")
    airflow.cluster.plays = ending(code, line)
    raised = airflow.run()

    assert type(raised).__name__ == kind
    assert said in str(raised)
    assert not airflow.cluster.pods


def test_a_pod_that_took_too_much_memory_says_how_much_it_had(airflow: Airflow) -> None:
    airflow.cluster.plays = ending(137, reason="OOMKilled")
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"  # a retry may fit
    assert OOM in str(raised)


def evicted(pod: NodePod) -> None:
    pod.runs()
    pod.says("INFO step 10")
    pod.fails("Evicted", "The node was low on resource: memory.")


def preempted(pod: NodePod) -> None:
    pod.runs()
    pod.condition("DisruptionTarget", "True", "PreemptionByScheduler", "for a pod of more priority")
    pod.ends(75)


def node_off(pod: NodePod) -> None:
    pod.runs()
    pod.fails("NodeShutdown", "Pod was terminated in response to imminent node shutdown.")


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (evicted, "low on resource"),
        (preempted, "PreemptionByScheduler"),
        (node_off, "NodeShutdown"),
    ],
)
def test_what_the_cluster_does_to_a_pod_is_a_fault_of_the_moment(
    airflow: Airflow, play: Any, said: str
) -> None:
    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"
    assert said in str(raised)
    assert "checkpoint" in str(raised)
    assert not airflow.cluster.pods


@pytest.mark.parametrize(("code", "kind"), [(64, "AirflowFailException"), (0, "NoneType")])
def test_a_step_that_decided_before_it_was_evicted_has_decided(
    airflow: Airflow, code: int, kind: str
) -> None:
    airflow.cluster.plays = ending(code, "so", phase="Failed", reason="Evicted")

    assert type(airflow.run()).__name__ == kind


def test_a_pod_that_vanished_is_tried_again(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.runs()
        pod.says("INFO step 10")
        airflow.wait_for_a_log()
        pod.vanishes()

    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"
    assert "was deleted by somebody" in str(raised)
    assert ("info", "step 10") in airflow.lines


def test_a_pod_of_a_lost_node_is_left_to_its_node(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second pod runs while the first may go on, on a node that nobody reaches."""
    from dags.places import kubernetes, pod_follow, pods

    monkeypatch.setattr(pod_follow, "LOST_AFTER", -60)
    monkeypatch.setattr(pods, "GRACE", 0)
    monkeypatch.setattr(kubernetes, "GONE_IN", 0.3)

    def play(pod: NodePod) -> None:
        pod.runs()
        airflow.wait_for_a_log()
        pod.lost = True
        airflow.cluster.delete(pod.name, {"gracePeriodSeconds": 30})
        with pod.cluster.changed:
            pod.log_is_whole = True

    airflow.cluster.plays = play
    lost, again = airflow.run(), airflow.run()

    assert "its node may be lost" in str(lost)
    assert "no second pod is started" in str(again)
    assert "--force" in str(again)
    assert {type(each).__name__ for each in (lost, again)} == {"AirflowException"}
    assert len(airflow.cluster.made) == 1


# Pods that never start ---------------------------------------------------------------------------


def waiting(reason: str, message: str, *events: tuple[str, str]) -> Any:
    def play(pod: NodePod) -> None:
        for event in events:
            pod.event(*event)
        pod.waits(reason, message)

    return play


PULL = 'Failed to pull image "registry.example/x": '


@pytest.mark.parametrize(
    "play",
    [
        waiting("InvalidImageName", 'couldn\'t parse image name "a b": invalid reference format'),
        waiting("ErrImagePull", "rpc error: code = NotFound desc = manifest unknown"),
        waiting("ErrImagePull", "pull access denied, repository does not exist"),
        waiting("ImagePullBackOff", "Back-off pulling image", ("Failed", f"{PULL}not found")),
        waiting(
            "ImagePullBackOff", "Back-off pulling image", ("Failed", f"{PULL}401 Unauthorized")
        ),
    ],
)
def test_an_image_that_there_is_not_fails_at_once(airflow: Airflow, play: Any) -> None:
    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowFailException"
    assert "can never start" in str(raised)
    assert "MELANOMA_IMAGE" in str(raised)
    assert airflow.seconds < 5
    assert not [pod for pod in airflow.cluster.pods.values() if not pod.told_to_end.is_set()]


def test_a_registry_that_is_down_for_a_moment_is_waited_for(airflow: Airflow) -> None:
    def play(pod: NodePod) -> None:
        pod.event("Failed", f"{PULL}dial tcp: lookup registry.example: no such host")
        pod.waits("ImagePullBackOff", "Back-off pulling image")
        airflow.wait_for_a_look()
        pod.runs()
        pod.ends(0)

    airflow.cluster.plays = play

    assert airflow.run() is None
    assert any("no such host" in text for _, text in airflow.lines)


def test_a_pod_that_does_not_start_in_time_is_tried_again_with_the_reason(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags.places import pods

    monkeypatch.setattr(pods, "start_seconds", lambda: 0.3)

    def play(pod: NodePod) -> None:
        said = "0/5 nodes are available: 5 Insufficient nvidia.com/gpu."
        pod.condition("PodScheduled", "False", "Unschedulable", said)

    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == "AirflowException"
    assert "Insufficient nvidia.com/gpu" in str(raised)
    assert "MELANOMA_POD_START_MINUTES" in str(raised)


@pytest.mark.parametrize("late", [False, True])
def test_a_secret_may_come_a_little_late_and_must_come(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    from dags.places import pod_states

    monkeypatch.setattr(pod_states, "PATIENCE", 60 if late else 0)

    def play(pod: NodePod) -> None:
        said = 'MountVolume.SetUp failed for volume "secrets" : secret "melanoma-store" not found'
        pod.event("FailedMount", said)
        pod.waits("ContainerCreating")
        airflow.wait_for_a_look()
        airflow.wait_for_a_look()
        pod.runs()
        pod.ends(0)

    airflow.cluster.plays = play
    raised = airflow.run()

    assert (type(raised).__name__ == "AirflowFailException") == (not late)
    assert any('"melanoma-store" not found' in text for _, text in airflow.lines)


@pytest.mark.parametrize("patience", [0.3, 60])
def test_a_reason_whose_text_changes_is_one_reason(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """Each try names another id of a container."""
    from dags.places import kubernetes, pod_states

    monkeypatch.setattr(pod_states, "PATIENCE", patience)
    monkeypatch.setattr(kubernetes, "EVENTS", 10.0)

    def play(pod: NodePod) -> None:
        for number in range(200):
            pod.waits("CreateContainerError", f'the name "base" is reserved for "{number:04x}"')
            time.sleep(0.01)
        pod.runs()
        pod.ends(0)

    airflow.cluster.plays = play
    raised = airflow.run()

    assert type(raised).__name__ == ("AirflowFailException" if patience < 1 else "NoneType")
    assert len(airflow.said(level="warning")) == 1
    assert airflow.seconds < 2 or patience > 1


def test_a_secret_that_came_late_is_forgotten_while_the_image_is_pulled(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events stay for an hour. An image for GPUs takes minutes."""
    from dags.places import pod_states

    monkeypatch.setattr(pod_states, "PATIENCE", 0.5)

    def play(pod: NodePod) -> None:
        pod.waits("ContainerCreating")
        pod.event("FailedMount", 'secret "melanoma-store" not found')
        airflow.wait_for_a_look()
        pod.event("Pulling", 'Pulling image "registry.example/train-gpu"', kind="Normal")
        time.sleep(1.5)
        pod.runs()
        pod.ends(0)

    airflow.cluster.plays = play

    assert airflow.run() is None


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"', "Fail"),
        (403, "error looking up service account melanoma/melanoma-step: not found", "Fail"),
        (403, 'pods "x" is forbidden: exceeded quota: gpus, requested: 1, used: 2', ""),
        (404, 'namespaces "melanoma" not found', "Fail"),
        (422, "Pod is invalid: spec.priorityClassName", "Fail"),
    ],
)
def test_a_pod_that_the_cluster_does_not_take_is_told_in_its_words(
    airflow: Airflow, status: int, message: str, kind: str
) -> None:
    airflow.cluster.refuses = Refusal(status, "Forbidden", message)
    raised = airflow.run()

    assert type(raised).__name__ == f"Airflow{kind}Exception"
    assert message in str(raised)
    assert not airflow.cluster.made
