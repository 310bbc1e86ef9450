"""Run a command as a pod of a Kubernetes cluster, by a hardened KubernetesPodOperator of Airflow.

In addition to KubernetesPodOperator it provides: a pod that keeps the rules of pod security
``restricted``, limits from the table of steps, a name by which the cluster lets only one pod do a
piece of work, exit codes judged by the container's state, a log without losses or doubled lines,
and clear errors for pods that never start.
"""

import json
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Context, XComArg
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import ApiClient, CoreV1Api
from kubernetes.client.exceptions import ApiException

from dags.levels import relay
from dags.person import variable
from dags.places import pod_states, pods
from dags.places.cluster import Cluster, message_of
from dags.places.mapping import Operator, one_or_mapped
from dags.places.pod_follow import Follower
from tasks.errors import BadInput
from tasks.pipeline import row_of
from tasks.places import MEMORY, limited, tags_are_taken

JUDGED = "melanoma-retraining/judged"  # annotation: an attempt has made of the pod what it says
LOOK = 2.0  # seconds between two looks at a pod that has not begun
EVENTS = 10.0  # seconds between two looks at its events
GONE_IN = 120.0  # seconds beyond its grace in which an ended pod must be gone


def task_of(command: str, *options: str, parts: XComArg | None = None, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` as a pod of a Kubernetes cluster.

    Takes the same as `dags.places.process.task_of`. The environment of Airflow's processes may hold

    - MELANOMA_STORE: ``s3://...``; a pod sees no directory of Airflow's machine
    - MELANOMA_KUBERNETES_CONNECTION: id of an Airflow connection to the cluster; without it, the
      cluster that Airflow runs in, or KUBECONFIG
    - MELANOMA_IMAGE_DATA, MELANOMA_IMAGE_TRAIN, MELANOMA_IMAGE_TRAIN_GPU: the images, with their
      digests; or MELANOMA_IMAGES with ``{image}``. MELANOMA_IMAGES_BY_TAG=yes takes tags
    - MELANOMA_IMAGE_PULL_SECRET: secret of the cluster to pull them with
    - MELANOMA_NAMESPACE (``melanoma``), MELANOMA_SERVICE_ACCOUNT (``melanoma-step``),
      MELANOMA_PRIORITY_CLASS
    - MELANOMA_NODES: JSON, labels of nodes by the kind of machine: ``{"gpu": {"pool": "gpu"}}``
    - MELANOMA_GPUS: how many GPUs a step gets whose machine is ``gpu``; MELANOMA_GPU_RESOURCE
      (``nvidia.com/gpu``) is what the cluster calls them
    - MELANOMA_SPOOL_LIMIT (``20Gi``): disk of a step that spools
    - MELANOMA_POD_START_MINUTES (20): how long a pod may take to start, its images included
    - MELANOMA_MEMORY_MB: other limits of memory, see `tasks.places`
    - the secrets of the cluster: see `dags.places.pod_secrets`

    Raises:
        BadInput: One of these is wrong.
    """
    row = limited(row_of(command), os.environ)
    pods.pod_of(row, [command, *options])  # so that a wrong setting shows before anything runs
    pods.start_seconds()
    settings |= {"arguments": [command, *options], "step": row.name}
    return one_or_mapped(Pod, command, "arguments", parts, settings)


class Pod(KubernetesPodOperator):
    """Runs ``python -m tasks`` with an argv as a pod; its output becomes the task's log.

    `dags.exit_codes` translates exit codes. The pod's name stands for one task of one DAG run. So
    an attempt finds the pod of a worker that died: it follows the pod if that still runs, and
    takes its exit code if that decides.

    Args:
        step: Name of the row in `tasks.pipeline`.
        part: The part that a mapped task does, for the templates of its argv.

    Attributes:
        command_line: Line that repeats the task by hand, once the templates are rendered.
    """

    # What Airflow shows. What runs is the argv, without a shell.
    template_fields: Sequence[str] = ("command_line",)
    template_fields_renderers: ClassVar[dict[str, str]] = {}

    def __init__(self, *, step: str, part: str = "", **settings: Any) -> None:
        super().__init__(
            kubernetes_conn_id=os.environ.get("MELANOMA_KUBERNETES_CONNECTION") or None,
            do_xcom_push=False,
            random_name_suffix=False,
            on_finish_action="delete_pod",
            **settings,
        )
        self.row = limited(row_of(step), os.environ)
        self.part, self.command_line = part, ""
        self._cluster: Cluster | None = None
        self._asked: Any = None  # the pod that this attempt wants, before it knows of one

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: Any
    ) -> None:
        super()._do_render_template_fields(parent, ("arguments",), context, jinja_env, seen_oids)
        with suppress(BadInput):  # `execute` raises the error
            self.command_line = self._by_hand(context)

    def execute(self, context: Context) -> None:
        try:
            self._check_store()
            made = self._made(context)
        except BadInput as error:
            raise AirflowFailException(str(error)) from error
        if tags_are_taken(os.environ):
            self.log.warning(
                "MELANOMA_IMAGES_BY_TAG: the image may be exchanged, and the record does not name "
                "it. This is for a trial."
            )
        try:
            pod, last_line = self._run_to_its_end(made)
        except ApiException as error:
            name = made.metadata.name
            raise pod_states.unfollowed(name, error.status, message_of(error)) from error
        pod_states.raise_for_end(pod, last_line, self._out_of_memory())
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"run": self._run_address}

    def _run_to_its_end(self, made: Any) -> tuple[Any, str]:
        """The pod when it is over, and the last line of its log."""
        self.pod = pod = self._created_or_found(made)
        if self._killed:  # meanwhile
            self.on_kill()
        follower = Follower(self.cluster, pod, self.log)
        if not pod_states.is_over(pod):
            pod = self._begun(pod)
        last_line = relay(follower.lines(), self.log)
        pod = follower.pod
        self._finish(pod)
        return pod, last_line

    def on_kill(self) -> None:
        """End the pod in an orderly way, so that a training keeps a checkpoint. Airflow calls this
        when it stops a task."""
        self._killed = True
        if self._asked is None:
            return
        name = self._asked.metadata.name
        self.log.info("Airflow stops this task: ending pod %s.", name)
        # Airflow calls from a signal's handler, in the midst of a question to the cluster: so
        # another client asks, which shares no lock with the first.
        known = self.client.api_client.configuration
        another = Cluster(lambda: CoreV1Api(ApiClient(known)), self.cluster.namespace)
        try:
            # The cluster may have made a pod, and its answer be on its way.
            pod = self.pod or another.read(name)
            if pod is not None and (pod is self.pod or self._has_our_spec(pod)):
                another.delete(pod, pods.GRACE)
        except (ApiException, AirflowException) as error:
            self.log.error(
                "The pod could not be ended: %s. End it by hand: kubectl delete pod %s", error, name
            )

    @property
    def cluster(self) -> Cluster:
        """The cluster, asked with the credentials of the connection."""
        if self._cluster is None:
            self._cluster = Cluster(self._new_client, pods.namespace())
        return self._cluster

    def _new_client(self) -> Any:
        for name in ("client", "hook"):
            self.__dict__.pop(name, None)  # so that a replaced token is read anew
        return self.client

    # One pod at a time ---------------------------------------------------------------------------

    def _created_or_found(self, made: Any) -> Any:
        """A pod for this work: new, or that of an earlier attempt whose worker died."""
        name, self._asked = made.metadata.name, made
        for _ in range(5):
            if self._killed:
                raise AirflowException("Airflow stopped this task before it had a pod.")
            try:
                pod = self.cluster.create(made)
            except ApiException as error:
                said = f"{message_of(error)} (for pod {name})"
                raise pod_states.refused(error.status, said) from error
            if pod is not None:
                self.log.info("Pod %s of image %s", name, made.spec.containers[0].image)
                return pod
            found = self.cluster.read(name)
            if found is not None and self._is_ours(found):
                return found
        raise AirflowException(f"Pods of the name {name} come and go; something else makes them.")

    def _has_our_spec(self, pod: Any) -> bool:
        """Whether a pod is as this attempt wants it."""
        ours = self._asked.metadata.annotations[pods.SPEC]
        return bool((pod.metadata.annotations or {}).get(pods.SPEC) == ours)

    def _is_ours(self, found: Any) -> bool:
        """Whether to go on with a pod that is there already; otherwise it is ended."""
        name, known = found.metadata.name, found.metadata.annotations or {}
        fresh = (
            self._has_our_spec(found) and JUDGED not in known and not pod_states.is_ending(found)
        )
        if fresh and not pod_states.is_over(found):
            self.log.warning("Pod %s of an earlier attempt still works; this one follows it.", name)
            return True
        if fresh and pod_states.decided(found):
            self.log.warning("Pod %s of an earlier attempt has ended; this one judges it.", name)
            return True
        if fresh:
            end = pod_states.terminated(found)
            how = pod_states.disruption(found) or f"exit code {end.exit_code if end else 'unknown'}"
            self.log.warning("Pod %s of an earlier attempt ended: %s. Its log:", name, how)
            relay(Follower(self.cluster, found, self.log).lines(), self.log)
        elif not pod_states.is_over(found):
            why = "still ends" if pod_states.is_ending(found) else "does other work"
            self.log.warning("Pod %s of an earlier attempt %s; this one waits for it.", name, why)
        self.cluster.delete(found, 0 if pod_states.is_over(found) else pods.GRACE)
        self._wait_until_gone(found)
        return False

    def _wait_until_gone(self, pod: Any) -> None:
        name, uid = pod.metadata.name, pod.metadata.uid
        deadline = time.monotonic() + pods.GRACE + GONE_IN
        while time.monotonic() < deadline:
            found = self.cluster.read(name)
            if found is None or found.metadata.uid != uid:
                return
            time.sleep(LOOK)
        raise AirflowException(
            f"Pod {name} of an earlier attempt does not end. Its node may be lost, and its work "
            "may go on there, so no second pod is started. If the node is known to be off: "
            f"kubectl delete pod {name} --namespace {self.cluster.namespace} --force"
        )

    def _begun(self, pod: Any) -> Any:
        """The pod as soon as its container runs.

        Raises:
            AirflowFailException: It never will.
            AirflowException: It did not in time.
        """
        name, said, told, since = pod.metadata.name, "", 0.0, time.monotonic()
        deadline = time.monotonic() + pods.start_seconds()
        events, asked = [], 0.0
        while True:
            found = self.cluster.read(name)
            if found is None or found.metadata.uid != pod.metadata.uid:
                raise AirflowException(f"Pod {name} was deleted before it began; a retry is due.")
            if pod_states.has_begun(found):
                return found
            if time.monotonic() > asked + EVENTS:
                events, asked = self.cluster.events_of(found), time.monotonic()
            waits = pod_states.waits_for(found, events)
            now = time.monotonic()
            # The text of one reason may change with each look, such as the id of a container.
            if waits.reason.partition(":")[0] != said.partition(":")[0] or (
                waits.reason != said and now > told + EVENTS
            ):
                told = now
                if waits.reason:
                    self.log.warning("The pod does not start yet. %s", waits.reason)
            said, since = waits.reason, since if waits.lasting else now
            if waits.lasting and now - since >= waits.patience:
                self._finish(found)
                raise AirflowFailException(self._never_starts(said))
            if time.monotonic() > deadline:
                self._finish(found)
                raise AirflowException(self._late(said))
            time.sleep(LOOK)

    def _finish(self, pod: Any) -> None:
        """Delete a pod that was judged; if that cannot be, mark it, so that no later attempt judges
        it again. What the cluster says to that changes no result."""
        grace = 0 if pod_states.is_over(pod) else pods.GRACE
        try:
            self.cluster.delete(pod, grace)
        except (ApiException, AirflowException) as error:
            self.log.warning("Pod %s stays behind: %s", pod.metadata.name, error)
            with suppress(ApiException, AirflowException):
                self.cluster.mark(pod, JUDGED)

    # The pod -------------------------------------------------------------------------------------

    def _made(self, context: Any, *, by_hand: bool = False) -> Any:
        """The pod to ask for, with a name and Airflow's labels."""
        command = [str(word) for word in self.arguments]
        person = {} if by_hand else variable(context)
        self.full_pod_spec = pods.pod_of(self.row, command, person)
        instance = context.get("ti") if context else None
        task = [str(getattr(instance, each, "")) for each in ("dag_id", "run_id", "map_index")]
        self.name = pods.name_of(self.row.whole, *task, *command)
        self.namespace = pods.namespace()
        made = self.build_pod_request_obj(context if instance else None, dry_run=True)
        # Airflow's operator has put its own arguments there, which Kubernetes would change.
        made.spec.containers[0].args = self.full_pod_spec.spec.containers[0].args
        as_json = ApiClient().sanitize_for_serialization
        made.metadata.annotations = {
            **(made.metadata.annotations or {}),
            pods.WORK: " ".join([*command[:1], self._run_address]),
            pods.SPEC: pods.fingerprint(made, as_json),
        }
        return made

    def _by_hand(self, context: Any) -> str:
        """A line for a shell. It names secrets of the cluster, and holds none."""
        made = ApiClient().sanitize_for_serialization(self._made(context, by_hand=True))
        override = {key: made[key] for key in ("apiVersion", "spec")}
        override["metadata"] = {"labels": pods.labels_of(self.row)}
        return shlex.join(
            [
                *("kubectl", "run", made["metadata"]["name"], "--attach", "--rm"),
                *("--namespace", pods.namespace(), "--restart", "Never"),
                *("--image", made["spec"]["containers"][0]["image"]),
                *("--overrides", json.dumps(override)),
            ]
        )

    def _check_store(self) -> None:
        if not self._run_address.startswith("s3://"):
            raise BadInput(
                "A pod cannot reach the store.",
                expected="MELANOMA_STORE=s3://bucket/prefix",
                received=f"MELANOMA_STORE={self._run_address.partition('/runs/')[0]}",
                do="use a store on S3; a pod sees no directory of Airflow's machine",
            )

    # Words ---------------------------------------------------------------------------------------

    @property
    def _run_address(self) -> str:
        argv = [str(word) for word in self.arguments]
        if "--run" in argv:
            return argv[argv.index("--run") + 1]
        return f"{argv[argv.index('--store') + 1]}/runs/none"  # a command about no run

    def _out_of_memory(self) -> str:
        return (
            f"The pod needed more memory than its limit of {self.row.memory_mb} MiB and was "
            f"killed. Raise the limit of {self.task_id} by {MEMORY} if it should have it; a "
            "smaller batch_size or packed_size needs less."
        )

    def _never_starts(self, said: str) -> str:
        return (
            "The pod of this step can never start.\n"
            f"  Expected: an image that the cluster can pull, and the secrets that the pod reads\n"
            f"  Received: {said}\n"
            "  Do:       check MELANOMA_IMAGE_..., MELANOMA_IMAGE_PULL_SECRET and the names of the "
            "secrets"
        )

    def _late(self, said: str) -> str:
        return (
            f"The pod did not start within {pods.start_seconds() / 60:g} minutes. "
            f"{said or 'The cluster gives no reason.'} A retry tries again; "
            "MELANOMA_POD_START_MINUTES says how long to wait."
        )
