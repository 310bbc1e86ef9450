"""Run a command in a container on a Docker engine, by a hardened DockerOperator of Airflow.

In addition to DockerOperator it provides: a read-only root file system, no capabilities, no swap, a
limit of cores instead of a share, the removal of containers that a dead worker left running, and a
clear message when memory ran out.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.providers.docker.operators.docker import DockerOperator
from airflow.sdk import Context, XComArg
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from docker.errors import APIError
from docker.types import DeviceRequest, LogConfig, Mount

from dags import credentials, signing
from dags.command_line import command_line
from dags.exit_codes import of_a_shell, raise_for
from dags.levels import lines_of, relay
from dags.person import told_of, variable
from dags.places import images, mounts
from dags.places.mapping import SECONDS_TO_END, Operator, one_or_mapped
from tasks.errors import BadInput
from tasks.pipeline import row_of
from tasks.places import MEMORY, limited

# Labels of a container: its task and its owner. A retry and `make stop` find containers by them.
WORK = "melanoma-retraining.work"
OWNER = "melanoma-retraining.airflow"

SCRATCH_MB = 1024  # of memory, for temporary files; a registered model is packed there
SCRATCH = f"size={SCRATCH_MB}m,mode=1777,nosuid,nodev,noexec"
PROCESSES = 1024
DEVICES = "device="  # as Docker's client writes it
# On the engine's disk, and gone with the container. Everybody may write to this folder of the
# images, and a new volume takes that over from it.
SPOOL = "/var/tmp"


def task_of(command: str, *options: str, parts: XComArg | None = None, **settings: Any) -> Operator:
    """A task that runs ``python -m tasks COMMAND OPTIONS`` in a container on a Docker engine.

    Takes the same as `dags.places.process.task_of`. The environment of Airflow's processes may hold

    - DOCKER_HOST: the engine; without it, the one of this machine
    - MELANOMA_IMAGES: name of the images, with ``{image}`` where ``data``, ``train`` or
      ``train-gpu`` goes
    - MELANOMA_REGISTRY_CONNECTION: id of an Airflow connection (host, login, password) to log in
      with where they must be pulled
    - MELANOMA_NETWORK: the engine's network from which the store and MLflow can be reached
    - MELANOMA_GPUS: which GPUs a step gets whose machine is ``gpu``: ``all``, a number, or the ids
      of devices of this worker, ``device=0,1``; its image is ``train-gpu`` then. Of its parts one
      runs at a time, unless devices are named: then each worker has its own, and must run one task
      of the queue ``gpu`` at a time.
    - MELANOMA_MEMORY_MB: other limits of memory, see `tasks.places`
    - where credentials come from: see `dags.credentials`; where keys: see `dags.signing`
    """
    row = limited(row_of(command), os.environ)
    name = os.environ.get("MELANOMA_IMAGES") or "melanoma-retraining/{image}:latest"
    gpus = _gpus() if row.machine == "gpu" else ""
    settings |= {
        "image": name.replace("{image}", "train-gpu" if gpus else row.image),
        "command": [command, *options],
        "step": row.name,
        "memory_mb": row.memory_mb,
        "cores": row.cpus,
        "spools": row.spools,
        "gpus": gpus,
        # The engine gives each container the same GPUs, and JAX takes most of their memory. The
        # scheduler reads this, so its processes need a MELANOMA_GPUS of the workers' kind.
        "max_active_tis_per_dag": 1
        if gpus and not gpus.startswith(DEVICES)
        else settings.get("max_active_tis_per_dag"),
        "registry": os.environ.get("MELANOMA_REGISTRY_CONNECTION", ""),
        "network_mode": os.environ.get("MELANOMA_NETWORK") or "bridge",
    }
    return one_or_mapped(Container, command, "command", parts, settings)


class Container(DockerOperator):
    """Runs ``python -m tasks`` with an argv, without a shell; its output becomes the task's log.

    `dags.exit_codes` translates exit codes. The container can write only to the keys of the store
    that the row of its step allows, to SCRATCH_MB of memory for temporary files and, if it spools,
    to the engine's disk. It runs as the owner of the store's directory or of the file with the
    credentials.

    Args:
        step: Name of the row in `tasks.pipeline` with the keys that the container may write, and
            whether it talks to MLflow. Without a row it may do neither.
        memory_mb: Most memory, in MiB, without swap.
        cores: Most processor cores; all cores of an engine that has fewer.
        spools: Whether temporary files may need a disk.
        gpus: Number of GPUs, ``all``, ids of devices as ``device=0,1``, or empty for none.
        part: The part that a mapped task does, for the templates of its command.
        registry: Id of the Airflow connection to log in with for pulling an image; empty to pull
            without login.

    Attributes:
        command_line: Line that repeats the task by hand, once the templates are rendered.
    """

    # What Airflow shows. What runs is the command, without a shell.
    template_fields: Sequence[str] = ("command_line",)
    template_ext: Sequence[str] = ()  # an argument that ends in ".sh" is no file to read

    def __init__(
        self,
        *,
        memory_mb: int,
        cores: int,
        step: str = "",
        spools: bool = False,
        gpus: str = "",
        part: str = "",
        registry: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(auto_remove="force", mount_tmp_dir=False, **settings)
        self.memory_mb, self.cores, self.spools, self.gpus = memory_mb, cores, spools, gpus
        self.part, self.registry, self.command_line = part, registry, ""
        self.person: dict[str, str] = {}
        self.row = row_of(step) if step else None

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Any, jinja_env: Any, seen_oids: Any
    ) -> None:
        super()._do_render_template_fields(parent, ("command",), context, jinja_env, seen_oids)
        with suppress(AirflowFailException):  # without a store, `execute` raises the error
            self.command_line = self._by_hand()

    def execute(self, context: Context) -> None:
        self.person = variable(context)
        try:
            exit_code, last_line = self._run_to_its_end()
        except APIError:
            raise  # the engine does answer
        except OSError as error:
            raise AirflowException(
                f"The Docker engine at {self.docker_url} does not answer: {error}. Without the "
                "engine, the state of the step is not known; a retry finds out."
            ) from error
        raise_for(exit_code, last_line)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"run": self._run_address}

    def _run_to_its_end(self) -> tuple[int, str]:
        """The exit code, and the last line of the output."""
        digest = images.digest_of(
            self.image, self.cli, engine=self.docker_url, registry=self.registry
        )
        self._remove_what_was_left()
        name = ""
        try:
            with (
                credentials.mounts(self._step, *self._needs()) as secrets,
                signing.for_a_container(self._step) as keys,
            ):
                self.container = self._create(digest, secrets, keys)
                name = self.container["Id"]
                try:
                    self.cli.start(name)
                except APIError as error:
                    raise self._not_started(error) from error
            self.log.info("Container %s of image %s", name[:12], digest)
            # Read the engine's log: attaching to a short container would miss lines.
            last_line = relay(lines_of(self.cli.logs(name, stream=True, follow=True)), self.log)
            exit_code = int(self.cli.wait(name)["StatusCode"])
            if exit_code and self.cli.inspect_container(name)["State"]["OOMKilled"]:
                raise AirflowException(self._out_of_memory())
            return of_a_shell(exit_code), last_line
        except AirflowTaskTimeout:
            self.on_kill()  # so that a training keeps a checkpoint; what follows is a kill
            raise
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

    def _create(self, digest: str, secrets: list[Mount], keys: dict[str, str]) -> Any:
        user, seen, environment = self._place()
        own = mounts.made(seen) if seen else []
        for name, file in keys.items():
            place = environment[name] = signing.PLACES[name]
            own.append(Mount(place, file, type="bind", read_only=True))
        if self.spools:
            own.append(Mount(SPOOL, None, type="volume"))
        return self.cli.create_container(
            image=self.image,
            command=self.command,
            entrypoint=self.entrypoint,
            user=user,
            environment=environment | self.person | {"IMAGE_DIGEST": digest},
            labels={WORK: self._work, OWNER: os.environ.get("AIRFLOW_HOME", "")},
            host_config=self.cli.create_host_config(
                mounts=[*own, *secrets],
                network_mode=self.network_mode,
                read_only=True,
                tmpfs={"/tmp": SCRATCH},
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=f"{self.memory_mb}m",
                memswap_limit=f"{self.memory_mb}m",
                nano_cpus=int(1e9 * min(self.cores, self.cli.info()["NCPU"])),
                pids_limit=PROCESSES,
                device_requests=self._gpu_request(),
                log_config=LogConfig(config={"max-size": "50m", "max-file": "2"}),
            ),
        )

    def _place(self) -> tuple[str | None, dict[Path, bool], dict[str, str]]:
        """The user, the mounts of a store in a directory, and the environment."""
        environment = told_of(self.row)
        if self.spools:
            environment["TMPDIR"] = SPOOL
        store, _, run = self._run_address.removeprefix("file://").rpartition("/runs/")
        if not store.startswith("s3://"):
            return _owner(store), mounts.places(Path(store), run, self.row), environment
        file = credentials.secret_file(credentials.STORE, self._step)
        if file or credentials.connection_of(credentials.STORE, self._step):
            environment["AWS_SHARED_CREDENTIALS_FILE"] = credentials.STORE.path
        # The user of the image can read credentials from a connection.
        return _owner(file) if file else None, {}, environment

    def _needs(self) -> list[credentials.Kind]:
        """The kinds of credentials that this container needs; a store in a directory needs none."""
        kinds = [credentials.STORE] if self._run_address.startswith("s3://") else []
        return [*kinds, *([credentials.MLFLOW] if self.row and self.row.mlflow else [])]

    def _by_hand(self) -> str:
        """The same container as a line for a shell. Credentials that Airflow takes from a
        connection must be in the environment of the person who types the line."""
        user, seen, environment = self._place()
        binds = [(str(path), str(path), not writable) for path, writable in seen.items()]
        secret: list[str] = []
        for name, place in signing.PLACES.items():
            if given := os.environ.get(name):
                binds.append((given, place, True))
                environment[name] = place
        for kind in self._needs():
            if file := credentials.secret_file(kind, self._step):
                binds.append((file, kind.path, True))
            elif credentials.connection_of(kind, self._step):
                environment.pop("AWS_SHARED_CREDENTIALS_FILE", None)
                secret += kind.variables
        argv = [
            *("docker", "run", "--rm", "--read-only", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--tmpfs", f"/tmp:{SCRATCH}"),
            *("--memory", f"{self.memory_mb}m", "--memory-swap", f"{self.memory_mb}m"),
            *("--pids-limit", str(PROCESSES), "--network", str(self.network_mode)),
            *(("--user", user) if user else ()),
            # The client reads a list with commas: quotes keep the ids together.
            *(("--gpus", f'"{self.gpus}"' if "," in self.gpus else self.gpus) if self.gpus else ()),
        ]
        for source, target, locked in binds:
            end = ",readonly" if locked else ""
            argv += ["--mount", f"type=bind,src={source},dst={target}{end}"]
        argv += ["--mount", f"type=volume,dst={SPOOL}"] if self.spools else []
        inherited = [name for name in environment if os.environ.get(name) == environment[name]]
        for name in (*environment, *secret):
            # Without a value, the client takes that of the line's own environment.
            own = name in inherited or name in secret
            argv += ["--env", name if own else f"{name}={environment[name]}"]
        argv += [self.image, *(self.command or ())]
        return command_line(argv, ("DOCKER_HOST", *inherited), secret)

    def _gpu_request(self) -> list[DeviceRequest]:
        if not self.gpus:
            return []
        if self.gpus.startswith(DEVICES):
            ids = self.gpus.removeprefix(DEVICES).split(",")
            return [DeviceRequest(device_ids=ids, capabilities=[["gpu"]])]
        count = -1 if self.gpus == "all" else int(self.gpus)
        return [DeviceRequest(count=count, capabilities=[["gpu"]])]

    def _remove_what_was_left(self) -> None:
        """Remove the container of a worker that died, so that only one container does the work."""
        found = self.cli.containers(all=True, filters={"label": f"{WORK}={self._work}"})
        for left in found:
            self.log.warning("Removing container %s of an earlier attempt.", left["Id"][:12])
            self._remove(left["Id"])

    def _remove(self, name: str) -> None:
        # The container may be gone or being removed, or the engine down (all OSError of the
        # client). Such an error must not hide the original one.
        with suppress(OSError):
            self.cli.remove_container(name, force=True, v=True)

    # Words ---------------------------------------------------------------------------------------

    @property
    def _run_address(self) -> str:
        argv = list(self.command or ())
        if "--run" in argv:
            return str(argv[argv.index("--run") + 1])
        return f"{argv[argv.index('--store') + 1]}/runs/none"  # a command about no run

    @property
    def _step(self) -> str:
        return self.row.name if self.row else ""

    @property
    def _work(self) -> str:
        # Parts of one step run side by side; a part must not take another's container for its own.
        command = next(iter(self.command or ()))
        return " ".join(filter(None, (command, self.part, self._run_address)))

    def _out_of_memory(self) -> str:
        return (
            f"The container needed more memory than its limit of {self.memory_mb} MiB and was "
            f"killed. Raise the limit of {self.task_id} by {MEMORY} if it should have it; a "
            "smaller batch_size or packed_size needs less."
        )

    def _not_started(self, error: APIError) -> AirflowFailException:
        return AirflowFailException(
            f"The Docker engine cannot start a container of {self.image}.\n"
            f"  Received: {error.explanation}\n"
            "  Do:       check the image, MELANOMA_NETWORK and MELANOMA_GPUS"
        )


def _gpus() -> str:
    """What MELANOMA_GPUS says. Raises `BadInput` for what says nothing about GPUs."""
    said = os.environ.get("MELANOMA_GPUS", "")
    if said and not re.fullmatch(rf"all|[1-9][0-9]*|{DEVICES}[\w.:-]+(,[\w.:-]+)*", said):
        raise BadInput(
            "It is not known which GPUs a step gets.",
            expected="all, a number of GPUs, or ids of devices, such as device=0 or device=0,1",
            received=f"MELANOMA_GPUS={said}",
            do="correct it for Airflow's processes, and start them again",
        )
    return said


def _owner(path: str) -> str:
    """User and group, as numbers, of a file or directory.

    Raises:
        AirflowFailException: The path does not exist, or belongs to root: no step runs as root.
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
