"""The table of steps as a pipeline of Kubeflow. Nothing of a step stands here: image, memory,
cores, GPU, parts and the longest time come from its row.

Each task is a container with the one argv, ``python -m tasks STEP --run URI --config JSON [--part
NAME]``, without a shell. The graph of the pipeline:

- ``inputs`` checks the configuration, and names the parts (`tasks.kubeflow.inputs`);
- within an exit handler, whose task writes the report whatever happens, follow the steps. A step
  that divides follows a loop over its parts;
- what needs the verdict runs in one of two branches: one for a model that passed, one for all
  others, where the same command keeps the evidence of the refusal and ends well.

Kubeflow's cache is off: a step itself decides by its inputs, its code and its configuration what it
reuses, and Kubeflow knows none of these, for all of them lie in the store.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Optional

from tasks.config import Retraining, range_in_words, value_in_words
from tasks.errors import BadInput
from tasks.kubeflow.cluster import Cluster
from tasks.kubeflow.inputs import GIVEN, OVER, RUN, names_output
from tasks.pipeline import BESIDE, PIPELINE, Step
from tasks.places import gpu_resource, spool_limit
from tasks.records.record import Record
from tasks.records.verdict import Verdict

NAME = "melanoma-retraining"
COMMAND = ["python", "-m", "tasks"]
SUFFIXES = (".yaml", ".yml")  # that kfp takes for YAML
STORE, PREFIX = "store", "run_prefix"  # parameters of the pipeline beside the configuration
# Kubeflow cannot tell exit codes apart: it tries bad input again too.
RETRIES, FIRST_WAIT = 2, "15s"
CPU_REQUEST = "250m"
USER = 65532  # of the images
SPOOL = "/var/tmp"
STORE_MOUNT, SIGNING_MOUNT = "/run/secrets/melanoma-store", "/run/secrets/melanoma-signing"
HOME = "/tmp"  # of the images
MLFLOW_MOUNT = f"{HOME}/.mlflow"  # MLflow looks nowhere else
OUTCOME = "outcome"  # the output that says what came of a step
TYPES = {"integer": int, "number": float, "string": str, "array": list, "object": dict}
REPORT = next(row for row in BESIDE if row.name == "report")
INPUTS = Step(
    "inputs",
    "Checks the configuration, and names the parts.",
    module="kubeflow.inputs",
    needs=(),
    gives=Record,
)


def compile_pipeline(cluster: Cluster, output: Path) -> None:
    """Write the pipeline as YAML, whole or not at all.

    Raises:
        BadInput: kfp is not installed here, or the file cannot be written.
    """
    if output.suffix not in SUFFIXES:
        raise _no_file(output, "another ending")
    try:
        from kfp import compiler, dsl
    except ImportError as error:
        raise BadInput(
            "The compiler of Kubeflow's pipelines is not installed here.",
            expected="kfp, in the environment of its own that `make kubeflow` makes",
            received=str(error),
            do="run `make kubeflow`, or `.kubeflow/bin/python -m tasks kubeflow`",
        ) from error
    pipeline = dsl.pipeline(name=NAME, display_name="Melanoma retraining")(_body(cluster))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=output.parent, prefix=".compiling-") as folder:
            made = Path(folder, "pipeline.yaml")
            compiler.Compiler().compile(pipeline, str(made))
            made.replace(output)
    except OSError as error:
        raise _no_file(output, str(error.strerror)) from error


def _no_file(output: Path, why: str) -> BadInput:
    return BadInput(
        "The pipeline cannot be written there.",
        expected="--output, a file in a folder that you may write to, with .yaml at its end",
        received=f"{str(output)[:200]} ({why})",
        do="name another file",
    )


def _body(cluster: Cluster) -> Callable[..., None]:
    """The function that kfp calls to learn the pipeline, with a parameter for each field."""

    def body(*given: Any) -> None:
        _Graph(cluster, dict(zip(parameters, given, strict=True))).draw()

    parameters = [each.name for each in _parameters(cluster)]
    body.__signature__ = inspect.Signature(_parameters(cluster))  # type: ignore[attr-defined]
    body.__doc__ = _documentation()
    return body


def _parameters(cluster: Cluster) -> list[inspect.Parameter]:
    """Store and name come first; all fields are optional, and none has a default here."""
    required = {"default": cluster.store} if cluster.store else {}
    own = [_parameter(STORE, str, **required), _parameter(PREFIX, str, default="run-")]
    return [*own, *_fields()]


def _fields() -> list[inspect.Parameter]:
    fields = Retraining.model_json_schema()["properties"]
    return [
        _parameter(name, Optional[TYPES[field["type"]]], default=None)  # noqa: UP045 - kfp reads it
        for name, field in fields.items()
    ]


def _parameter(name: str, annotation: Any, **default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, annotation=annotation, **default)


def _documentation() -> str:
    """What kfp shows for the pipeline and for each parameter, in the form of a docstring."""
    lines = [
        "Retrains the classifier on all that was delivered; registers a model whose gate passed.",
        "",
        "Args:",
        f"    {STORE}: Address of the store, s3://bucket/prefix.",
        f"    {PREFIX}: Beginning of the run's name; the id of Kubeflow's run follows.",
    ]
    for name, field in Retraining.model_json_schema()["properties"].items():
        default = value_in_words(field["default"])
        lines.append(
            f"    {name}: {field['title']}. {field['description']} "
            f"Allowed: {range_in_words(field)}. Left out: the default of the store, "
            f"else {default}."
        )
    return "\n".join(lines)


class _Graph:
    """The tasks of the pipeline, while kfp listens.

    Args:
        cluster: The cluster.
        given: What kfp gives for each parameter of the pipeline, by name.
    """

    def __init__(self, cluster: Cluster, given: dict[str, Any]) -> None:
        from kfp import dsl

        self.cluster, self.given = cluster, given
        self.run = f"{given[STORE]}/runs/{given[PREFIX]}{dsl.PIPELINE_JOB_ID_PLACEHOLDER}"
        self.done: dict[str, Any] = {}

    def draw(self) -> None:
        from kfp import dsl

        fields = {name: self.given[name] for name in Retraining.model_fields}
        self.inputs = self._task(INPUTS, _inputs(self._image(INPUTS)), **fields)
        report = self._task(REPORT, _report(self._image(REPORT)))
        free = [row for row in PIPELINE if not _judged(row)]
        judged = [row for row in PIPELINE if _judged(row)]
        with dsl.ExitHandler(report, name="retraining"):
            for row in free:
                self._step(row)
            judge = next(row.name for row in PIPELINE if row.gives is Verdict)
            decision = self.done[judge].outputs[OUTCOME]
            with dsl.If(decision == "pass", name="passed"):
                for row in judged:
                    self._step(row)
            with dsl.If(decision != "pass", name="refused"):
                for row in judged:
                    self._step(row, name=f"{row.name}_refusal")

    def _step(self, row: Step, name: str = "") -> None:
        """The task of a step, and before it the loop over its parts."""
        from kfp import dsl

        after = [self.done[need] for need in row.needs if not _judged(row)]
        config = self.inputs.outputs[GIVEN]
        parts = []
        if row.division:
            names = self.inputs.outputs[names_output(row.division.over)]
            with dsl.ParallelFor(items=names, name=f"parts-of-{row.name}") as part:
                component = _one_step(row, self._image(row), part=True)
                task = self._task(row, component, config=config, part=part)
                parts.append(task.after(*after))
        component = _one_step(row, self._image(row), name=name)
        self.done[row.name] = self._task(row, component, config=config).after(*after, *parts)

    def _image(self, row: Step) -> str:
        return self.cluster.image_of(row)

    def _task(self, row: Step, component: Callable[..., Any], **inputs: Any) -> Any:
        """A task with the resources, secrets and labels of its row."""
        task = component(run=self.run, **inputs)
        task.set_caching_options(False)
        task.set_retry(RETRIES, backoff_duration=FIRST_WAIT, backoff_factor=2)
        memory = self.cluster.memory_of(row)
        task.set_memory_request(memory).set_memory_limit(memory)
        task.set_cpu_request(CPU_REQUEST).set_cpu_limit(str(row.cpus))
        for variable, value in self.cluster.environment_of(row).items():
            task.set_env_variable(variable, value)
        if self.cluster.on_gpu(row):
            task.set_accelerator_type(gpu_resource(self.cluster.environment))
            task.set_accelerator_limit(self.cluster.gpus)
        self._on_kubernetes(row, task)
        return task

    def _on_kubernetes(self, row: Step, task: Any) -> None:
        from kfp import kubernetes

        cluster = self.cluster
        kubernetes.use_secret_as_volume(task, cluster.store_secret(row), STORE_MOUNT)
        task.set_env_variable("AWS_SHARED_CREDENTIALS_FILE", f"{STORE_MOUNT}/credentials")
        if row.mlflow:
            kubernetes.use_secret_as_volume(task, cluster.mlflow_secret(row), MLFLOW_MOUNT)
        if signing := cluster.signing_secret(row):
            kubernetes.use_secret_as_volume(task, signing, SIGNING_MOUNT)
            task.set_env_variable("MELANOMA_SIGNING_KEY", f"{SIGNING_MOUNT}/signing-key.pem")
        if cluster.pull_secret:
            kubernetes.set_image_pull_secrets(task, [cluster.pull_secret])
        if row.spools:
            kubernetes.empty_dir_mount(
                task, "spool", SPOOL, size_limit=spool_limit(cluster.environment)
            )
            task.set_env_variable("TMPDIR", SPOOL)
        for label, value in cluster.nodes_of(row).items():
            kubernetes.add_node_selector(task, label, value)
        if cluster.on_gpu(row):
            kubernetes.add_toleration(
                task, gpu_resource(cluster.environment), "Exists", effect="NoSchedule"
            )
        kubernetes.set_timeout(task, int(row.hours * 3600))
        kubernetes.set_security_context(
            task, run_as_user=USER, run_as_group=USER, run_as_non_root=True
        )
        labels = {
            "app.kubernetes.io/part-of": NAME,
            "app.kubernetes.io/component": "step",
            "melanoma-retraining/step": row.name,
        } | ({"melanoma-retraining/mlflow": "true"} if row.mlflow else {})
        for label, value in labels.items():
            kubernetes.add_pod_label(task, label, value)


def _judged(row: Step) -> bool:
    """Whether a step needs the verdict, so that it depends on the model's having passed."""
    judges = {each.name for each in PIPELINE if each.gives is Verdict}
    return bool(judges & set(row.needs))


def _one_step(row: Step, image: str, *, part: bool = False, name: str = "") -> Callable[..., Any]:
    """The component of a step, or of one part of it. The step that judges, and those that need its
    verdict, say what came of it in the output `OUTCOME`."""
    from kfp import dsl

    telling = not part and (row.gives is Verdict or _judged(row))

    def component(*placeholders: Any) -> Any:
        held = dict(zip(inputs, placeholders, strict=True))
        options = [text for name, value in held.items() for text in (f"--{name}", value)]
        return dsl.ContainerSpec(image=image, command=COMMAND, args=[row.name, *options])

    inputs: dict[str, Any] = {RUN: str, "config": str}
    inputs |= {"part": str} if part else {}
    inputs |= {OUTCOME: dsl.OutputPath(str)} if telling else {}
    return _component(component, f"{row.name}_part" if part else name or row.name, row.does, inputs)


def _inputs(image: str) -> Callable[..., Any]:
    from kfp import dsl

    def component(*_: Any) -> Any:
        given = dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER
        return dsl.ContainerSpec(image=image, command=COMMAND, args=["kubeflow-inputs", given])

    outputs = {GIVEN: str, **{names_output(over): list for over in OVER}}
    signature: dict[str, Any] = {RUN: str}
    signature |= {each.name: each.annotation for each in _fields()}
    signature |= {name: dsl.OutputPath(kind) for name, kind in outputs.items()}
    optional = tuple(Retraining.model_fields)
    return _component(component, INPUTS.name, INPUTS.does, signature, optional)


def _report(image: str) -> Callable[..., Any]:
    from kfp import dsl

    def component(run: Any, _: Any) -> Any:
        return dsl.ContainerSpec(image=image, command=COMMAND, args=[REPORT.name, "--run", run])

    # With this input kfp's local runner knows the task of an exit handler.
    signature = {RUN: str, "status": dsl.PipelineTaskFinalStatus}
    return _component(component, REPORT.name, REPORT.does, signature)


def _component(
    function: Callable[..., Any],
    name: str,
    does: str,
    inputs: dict[str, Any],
    optional: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """A component of kfp, which reads a function's name, signature and docstring."""
    from kfp import dsl

    parameters = [
        _parameter(each, kind, **({"default": None} if each in optional else {}))
        for each, kind in inputs.items()
    ]
    parameters.sort(key=lambda each: each.default is None)
    function.__name__ = name
    function.__doc__ = does
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made: Callable[..., Any] = dsl.container_component(function)
    return made
