"""A command in a container on a Docker engine: Airflow's DockerOperator, with the locks on.

What DockerOperator leaves open and a step needs closed: a root file system that cannot be written,
no capabilities, no swap, a limit of cores rather than a share, the removal of what a dead worker
left running, and a word about memory when it was memory.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.providers.docker.hooks.docker import DockerHook
from airflow.providers.docker.operators.docker import DockerOperator, fetch_logs
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import DeviceRequest, LogConfig, Mount

from dags import credentials
from dags.runners import SECONDS_TO_END, judge

# What a container is for, and whose it is. A retry and `make stop` find what was left by these.
WORK = "melanoma-retraining.work"
OWNER = "melanoma-retraining.airflow"

# The only variables of a worker that its containers see. None holds a secret.
PASSED_ON = (
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "MLFLOW_TRACKING_URI",
)
# What a registry says that it will say again.
LASTING = "(?i)manifest unknown|unauthorized|no basic auth credentials"
SCRATCH_MB = 1024  # of memory, for temporary files; a registered model is packed there
# On the engine's disk, and gone with the container. Everybody may write to this folder of the
# images, and a new volume takes that over from it.
SPOOL = "/var/tmp"


class Container(DockerOperator):
    """Runs ``python -m tasks`` with an argv, without a shell; its output becomes the task's log.

    Exit codes mean what they mean for `dags.runners.Process`. The container can write to the store,
    to a scratch of SCRATCH_MB in memory, and, if it spools, to the engine's disk as far as that
    goes. It runs as the owner of the store's directory or of the file with the credentials.

    Args:
        memory_mb: Most memory, in MiB; there is no swap beyond it.
        cores: Most processor cores; all that the engine has, if those are fewer.
        spools: Whether its temporary files may need the room of a disk.
        gpus: How many GPUs, ``all``, or empty for none.
        part: The part that a mapped task does, for the templates of its command.
        registry: Id of the Airflow connection with which to log in where an image must be pulled;
            empty to pull without.
    """

    template_fields: Sequence[str] = ("command",)
    template_ext: Sequence[str] = ()  # an argument that ends in ".sh" is no file to read

    def __init__(
        self,
        *,
        memory_mb: int,
        cores: int,
        spools: bool = False,
        gpus: str = "",
        part: str = "",
        registry: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(auto_remove="force", mount_tmp_dir=False, **settings)
        self.memory_mb, self.cores, self.spools, self.gpus = memory_mb, cores, spools, gpus
        self.part, self.registry = part, registry

    def execute(self, context: Context) -> None:
        try:
            exit_code, last_line = self._run_to_its_end()
        except APIError:
            raise  # the engine does answer
        except OSError as error:
            raise AirflowException(
                f"The Docker engine at {self.docker_url} does not answer: {error}. Without it, "
                "nobody knows what became of the step; a retry finds out."
            ) from error
        judge(exit_code, last_line)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"run": self._run_address}

    def _run_to_its_end(self) -> tuple[int, str]:
        """The exit code, and the last line of the output."""
        digest = self._digest_of_image()
        self._remove_what_was_left()
        name = ""
        try:
            with credentials.mounts(*self._needs()) as secrets:
                self.container = self._create(digest, secrets)
                name = self.container["Id"]
                try:
                    self.cli.start(name)
                except APIError as error:
                    raise self._not_started(error) from error
            self.log.info("Container %s of image %s", name[:12], digest)
            # From the engine's log, not attached: of a short container that would miss lines.
            lines = fetch_logs(self.cli.logs(name, stream=True, follow=True), self.log)
            exit_code = int(self.cli.wait(name)["StatusCode"])
            if exit_code and self.cli.inspect_container(name)["State"]["OOMKilled"]:
                raise AirflowException(self._out_of_memory())
            # A shell counts a signal from 128 up, a process of ours from 0 down.
            return (128 - exit_code if exit_code > 128 else exit_code), lines[-1] if lines else ""
        finally:
            if name:
                self._remove(name)

    def on_kill(self) -> None:
        """End the container in an orderly way. Airflow calls this when it stops a task."""
        if self.container is not None:
            name = self.container["Id"]
            self.log.info("Airflow stops this task: ending container %s.", name[:12])
            with suppress(OSError):
                self.cli.stop(name, timeout=SECONDS_TO_END)
            self._remove(name)

    # The container -------------------------------------------------------------------------------

    def _create(self, digest: str, secrets: list[Mount]) -> Any:
        user, mounts, environment = self._place()
        if self.spools:
            mounts.append(Mount(SPOOL, None, type="volume"))
            environment["TMPDIR"] = SPOOL
        return self.cli.create_container(
            image=self.image,
            command=self.command,
            entrypoint=self.entrypoint,
            user=user,
            environment=environment | {"IMAGE_DIGEST": digest},
            labels={WORK: self._work, OWNER: os.environ.get("AIRFLOW_HOME", "")},
            host_config=self.cli.create_host_config(
                mounts=[*mounts, *secrets],
                network_mode=self.network_mode,
                read_only=True,
                tmpfs={"/tmp": f"size={SCRATCH_MB}m,mode=1777,nosuid,nodev,noexec"},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=f"{self.memory_mb}m",
                memswap_limit=f"{self.memory_mb}m",
                nano_cpus=int(1e9 * min(self.cores, self.cli.info()["NCPU"])),
                pids_limit=1024,
                device_requests=self._gpu_request(),
                log_config=LogConfig(config={"max-size": "50m", "max-file": "2"}),
            ),
        )

    def _place(self) -> tuple[str | None, list[Mount], dict[str, str]]:
        """The user, what is mounted, and the environment, all from where the store is."""
        environment = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        store = self._run_address.rpartition("/runs/")[0].removeprefix("file://")
        if not store.startswith("s3://"):
            # What was delivered is never written: it is mounted once more, read-only.
            parts = [(store, False), (f"{store}/raw", True)]
            mounts = [
                Mount(part, part, type="bind", read_only=locked)
                for part, locked in parts
                if Path(part).is_dir()
            ]
            return _owner(store), mounts, environment
        file = credentials.secret_file(credentials.STORE)
        if file or os.environ.get(credentials.STORE.connection):
            environment["AWS_SHARED_CREDENTIALS_FILE"] = credentials.STORE.path
        # What comes from a connection, the user of the image can read.
        return _owner(file) if file else None, [], environment

    def _needs(self) -> list[credentials.Kind]:
        """Which credentials this container needs: a store in a directory has none."""
        on_s3 = self._run_address.startswith("s3://")
        return [*([credentials.STORE] if on_s3 else []), credentials.MLFLOW]

    def _gpu_request(self) -> list[DeviceRequest]:
        if not self.gpus:
            return []
        count = -1 if self.gpus == "all" else int(self.gpus)
        return [DeviceRequest(count=count, capabilities=[["gpu"]])]

    def _remove_what_was_left(self) -> None:
        """A worker that died left its container running: the work is begun anew, by one only."""
        found = self.cli.containers(all=True, filters={"label": f"{WORK}={self._work}"})
        for left in found:
            self.log.warning("Removing container %s of an earlier attempt.", left["Id"][:12])
            self._remove(left["Id"])

    def _remove(self, name: str) -> None:
        # Gone, being removed by another, or an engine that is down (all OSError of the client):
        # none may hide what happened.
        with suppress(OSError):
            self.cli.remove_container(name, force=True, v=True)

    # The image -----------------------------------------------------------------------------------

    def _digest_of_image(self) -> str:
        """The digest under which the image can be pulled, or its id if it was built here.

        Raises:
            AirflowFailException: There is no such image, here or where its name points.
            AirflowException: Its registry did not answer.
        """
        try:
            found = self.cli.inspect_image(self.image)
        except ImageNotFound:
            self._pull()
            found = self.cli.inspect_image(self.image)
        return str(next(iter(found["RepoDigests"] or ()), found["Id"]))

    def _pull(self) -> None:
        self.log.info("Pulling image %s", self.image)
        problem = (
            f"The image {self.image} is not on the Docker engine and could not be pulled.\n"
            "  Received: {}\n"
            "  Do:       `make images` builds it; MELANOMA_IMAGES says where else it lies, and\n"
            "            MELANOMA_REGISTRY_CONNECTION how to log in there"
        )
        try:
            for line in self._logged_in().pull(self.image, stream=True, decode=True):
                if "error" in line:
                    raise AirflowException(problem.format(line["error"]))
        except APIError as error:
            said = problem.format(error.explanation)
            # Access denied is a NotFound too; an unknown tag, and a wrong login or none, are its
            # own fault to the engine.
            if isinstance(error, NotFound) or re.search(LASTING, said):
                raise AirflowFailException(said) from error
            raise AirflowException(said) from error

    def _logged_in(self) -> Any:
        """The engine's API, logged in at the registry; only where there is something to pull, so
        that a registry that is down stops no step whose image is here."""
        if not self.registry:
            return self.cli
        return DockerHook(docker_conn_id=self.registry, base_url=self.docker_url).api_client

    # Words ---------------------------------------------------------------------------------------

    @property
    def _run_address(self) -> str:
        argv = list(self.command or ())
        return str(argv[argv.index("--run") + 1])

    @property
    def _work(self) -> str:
        # Parts of one step run side by side; none may take another's container for its own.
        command = next(iter(self.command or ()))
        return " ".join(filter(None, (command, self.part, self._run_address)))

    def _out_of_memory(self) -> str:
        return (
            f"The container needed more memory than its limit of {self.memory_mb} MiB and was "
            f"killed. Raise memory_mb of {self.task_id} in tasks/pipeline.py if it should have it; "
            "a smaller batch_size or packed_size needs less."
        )

    def _not_started(self, error: APIError) -> AirflowFailException:
        return AirflowFailException(
            f"The Docker engine cannot start a container of {self.image}.\n"
            f"  Received: {error.explanation}\n"
            "  Do:       check the image, MELANOMA_NETWORK and MELANOMA_GPUS"
        )


def _owner(path: str) -> str:
    """User and group, as numbers, of a file or directory.

    Raises:
        AirflowFailException: There is none, or it is the administrator's: no step runs as root.
    """
    expected = "a directory or file of an ordinary user, on the machine of the Docker engine"
    try:
        status = Path(path).stat()
    except OSError as error:
        received, do = str(error), "correct MELANOMA_STORE or AWS_SHARED_CREDENTIALS_FILE"
    else:
        if status.st_uid:
            return f"{status.st_uid}:{status.st_gid}"
        received, do = f"{path} belongs to root", f"chown -R 65532:65532 {path}"
    raise AirflowFailException(
        "A container needs a user to run as, and takes the owner of what it works on.\n"
        f"  Expected: {expected}\n  Received: {received}\n  Do:       {do}"
    )
