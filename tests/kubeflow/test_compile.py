"""The table of steps as a pipeline of Kubeflow: the laws of the compiled file."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.config import Retraining
from tasks.errors import BadInput
from tasks.kubeflow.inputs import OVER
from tasks.kubeflow.pipeline import COMMAND, HOME, INPUTS, REPORT
from tasks.pipeline import PIPELINE, Step
from tasks.records.record import Record
from tests.support.kubeflow import CLUSTER, DIGEST, GOLDEN, command, compiled, kfp_python
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

each_row = pytest.mark.parametrize("row", PIPELINE, ids=lambda row: row.name)
JUDGED = [row.name for row in PIPELINE if "gate" in row.needs]


class Compiled:
    """A compiled pipeline, as a tree: the pipeline, and what of it is Kubernetes' own."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spec, self.platform = yaml.safe_load_all(text)

    def containers_of(self, row: Step) -> dict[str, Any]:
        """Of the tasks of a row, by the name of their executor."""
        executors = self.spec["deploymentSpec"]["executors"]
        return {
            name: each["container"]
            for name, each in executors.items()
            if each["container"]["args"][0] == row.name
        }

    def on_kubernetes(self, executor: str) -> Any:
        return self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][executor]

    def tasks(self) -> Iterator[tuple[str, Any]]:
        """All tasks of all graphs, also of loops and branches."""
        for graph in (self.spec["root"], *self.spec["components"].values()):
            yield from graph.get("dag", {}).get("tasks", {}).items()

    def of_containers(self) -> Iterator[tuple[str, Any]]:
        for name, task in self.tasks():
            if "dag" not in self.spec["components"][task["componentRef"]["name"]]:
                yield name, task


@pytest.fixture(scope="module")
def pipeline(on_gpus: Path) -> Compiled:
    return Compiled(on_gpus.read_text())


@pytest.fixture(scope="module")
def on_cpus(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    few = {"MELANOMA_IMAGES": CLUSTER["MELANOMA_IMAGES"], "MELANOMA_STORE": "s3://bucket/store/"}
    return Compiled(compiled(tmp_path_factory.mktemp("kubeflow") / "pipeline.yaml", **few))


def test_the_compiled_pipeline_is_the_one_that_was_looked_at(pipeline: Compiled) -> None:
    """Of the golden file alone, the home of the images reads HOME: no file of this repository may
    name such a place."""
    text = pipeline.text.replace(f"mountPath: {HOME}/", "mountPath: HOME/")
    if text == GOLDEN.read_text():
        return
    fresh = ROOT / "build" / "kubeflow" / "golden.yaml"
    fresh.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_text(text)
    pytest.fail(
        f"The pipeline has changed. Look at `diff {GOLDEN} {fresh}`; if it is meant to be so, "
        f"`cp {fresh} {GOLDEN}`.",
        pytrace=False,
    )


def test_kfp_reads_it_back_as_a_pipeline_for_each_field_of_the_configuration(on_gpus: Path) -> None:
    code = (
        "import json, sys; from kfp import components; from google.protobuf import json_format\n"
        "read = components.load_component_from_file(sys.argv[1])\n"
        "print(json.dumps({name: [each.type, each.optional, each.default] "
        "for name, each in read.component_spec.inputs.items()}))"
    )
    argv = [str(kfp_python()), "-c", code, str(on_gpus)]
    read = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)

    kinds = {"integer": "Integer", "number": "Float", "string": "String"}
    kinds |= {"array": "List", "object": "Dict"}
    fields = Retraining.model_json_schema()["properties"]
    assert {name: read.pop(name) for name in fields} == {
        name: [kinds[field["type"]], True, None] for name, field in fields.items()
    }
    assert sorted(read) == ["run_prefix", "store"]
    assert read["store"][1] is False  # nobody runs it without a store


def test_kfp_refuses_a_pipeline_that_is_no_longer_one(on_gpus: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(on_gpus.read_text().replace("componentRef:", "componentReference:", 1))
    code = (
        "import sys; from kfp import components; components.load_component_from_file(sys.argv[1])"
    )
    argv = [str(kfp_python()), "-c", code]

    assert subprocess.run([*argv, str(on_gpus)], check=False).returncode == 0
    refused = subprocess.run([*argv, str(broken)], check=False, capture_output=True)
    assert refused.returncode != 0


@each_row
def test_each_row_is_one_task_and_one_of_its_parts_with_what_its_row_says(
    pipeline: Compiled, row: Step
) -> None:
    containers = pipeline.containers_of(row)
    own = row.name.replace("_", "-")
    expected = [f"exec-{own}"]
    expected += [f"exec-{own}-part"] if row.division else []
    expected += [f"exec-{own}-refusal"] if row.name in JUDGED else []

    assert sorted(containers) == sorted(expected)
    for name, container in containers.items():
        asked = container["resources"]
        gpu = row.machine == "gpu"
        image = "train-gpu" if gpu else row.image
        assert container["image"] == f"registry.example/melanoma/{image}@{DIGEST}"
        assert container["command"] == COMMAND
        assert asked["resourceMemoryLimit"] == f"{row.memory_mb}Mi"
        assert asked["resourceMemoryRequest"] == asked["resourceMemoryLimit"]
        assert asked["resourceCpuLimit"] == str(row.cpus)
        assert (asked.get("accelerator", {}).get("resourceCount") == "2") == gpu
        beside = pipeline.on_kubernetes(name)
        assert beside["activeDeadlineSeconds"] == str(int(row.hours * 3600))
        disks = [each["sizeLimit"] for each in beside.get("emptyDirMounts", [])]
        assert disks == (["20Gi"] if row.spools else [])
        secrets = [each["secretName"] for each in beside["secretAsVolume"]]
        assert ("melanoma-mlflow" in secrets) == row.mlflow
        labels = beside["podMetadata"]["labels"]
        assert (labels.get("melanoma-retraining/mlflow") == "true") == row.mlflow
        assert ("tolerations" in beside) == gpu
        pool = {"gpu": "gpu", "large": "large"}.get(row.machine)
        assert beside.get("nodeSelector", {}).get("labels", {}).get("pool") == pool


def test_no_other_container_is_in_it(pipeline: Compiled) -> None:
    known = {row.name for row in PIPELINE} | {REPORT.name, f"kubeflow-{INPUTS.name}"}
    executors = pipeline.spec["deploymentSpec"]["executors"].values()

    assert {each["container"]["args"][0] for each in executors} == known


@each_row
def test_a_step_waits_for_what_it_needs_and_for_its_parts(pipeline: Compiled, row: Step) -> None:
    tasks = dict(pipeline.tasks())
    own = row.name.replace("_", "-")
    if row.name in JUDGED:
        for branch in ("== 'pass'", "!= 'pass'"):
            said = [
                task["triggerPolicy"]["condition"]
                for task in tasks.values()
                if branch in task.get("triggerPolicy", {}).get("condition", "")
            ]
            assert said == [f"inputs.parameter_values['pipelinechannel--gate-outcome'] {branch}"]
        return
    waits = tasks[own].get("dependentTasks", [])
    loops = [name for name, task in tasks.items() if "parameterIterator" in task]

    assert {need.replace("_", "-") for need in row.needs} <= set(waits)
    assert bool(set(waits) & set(loops)) == bool(row.division)


def test_parts_are_found_when_it_runs(pipeline: Compiled) -> None:
    loops = [task for _, task in pipeline.tasks() if "parameterIterator" in task]
    items = Counter(each["parameterIterator"]["items"]["inputParameter"] for each in loops)

    assert items == Counter(
        f"pipelinechannel--inputs-names_of_{row.division.over}" for row in PIPELINE if row.division
    )
    assert len(OVER) == 2


def test_only_a_step_that_can_tell_so_may_halt(pipeline: Compiled) -> None:
    """Any other would end red with 99, and be tried again."""
    for row in PIPELINE:
        telling = all("--outcome" in each["args"] for each in pipeline.containers_of(row).values())
        halts = row.gives.reason_to_stop is not Record.reason_to_stop
        assert telling or not halts, row.name
    assert PIPELINE[-1].gives.reason_to_stop is not Record.reason_to_stop


def test_kubeflow_keeps_no_result_of_its_own(pipeline: Compiled) -> None:
    cached = {name: task["cachingOptions"] for name, task in pipeline.of_containers()}

    assert len(cached) == len(PIPELINE) + 3 + len(JUDGED) + 2
    assert set(map(str, cached.values())) == {"{}"}


def test_each_task_is_tried_again_after_a_while_and_not_for_ever(pipeline: Compiled) -> None:
    for _, task in pipeline.of_containers():
        assert task["retryPolicy"]["maxRetryCount"] == 2
        assert task["retryPolicy"]["backoffDuration"] == "15s"


def test_the_report_is_written_whatever_happened(pipeline: Compiled) -> None:
    report = pipeline.spec["root"]["dag"]["tasks"]["report"]

    assert report["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert [name for name in report["dependentTasks"] if name.startswith("exit-handler")]


def test_no_secret_stands_in_it_but_the_names_of_secrets_do(pipeline: Compiled) -> None:
    assert "s3cret" not in pipeline.text
    assert "AWS_SECRET_ACCESS_KEY" not in pipeline.text
    for name in ("melanoma-store", "melanoma-mlflow", "melanoma-signing", "registry"):
        assert f"secretName: {name}" in pipeline.text


def test_without_gpus_and_labels_nothing_asks_for_them(on_cpus: Compiled) -> None:
    for word in ("accelerator", "nvidia", "train-gpu", "nodeSelector", "melanoma-signing"):
        assert word not in on_cpus.text
    store = on_cpus.spec["root"]["inputDefinitions"]["parameters"]["store"]
    assert store["defaultValue"] == "s3://bucket/store"


def test_an_image_by_tag_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    tagged = {"MELANOMA_IMAGES": "registry.example/melanoma/{image}:latest"}
    argv = ("kubeflow", "--output", str(tmp_path / "pipeline.yaml"))

    refused = command(*argv, python=kfp_python(), **tagged)
    assert refused.returncode == BadInput.exit_code
    assert "a name without a digest" in refused.stderr
    assert "MELANOMA_IMAGES_BY_TAG=yes" in refused.stderr
    tagged["MELANOMA_IMAGES_BY_TAG"] = "yes"
    allowed = command(*argv, python=kfp_python(), **tagged)
    assert allowed.returncode == 0, allowed.stderr
    assert "can change what runs" in allowed.stdout


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "MELANOMA_IMAGE_DATA"),
        ({**CLUSTER, "MELANOMA_NODES": '{"huge": {}}'}, "MELANOMA_NODES"),
        ({**CLUSTER, "MELANOMA_NODES": "[]"}, "MELANOMA_NODES"),
        ({**CLUSTER, "MELANOMA_NODES": '{"gpu": {"pool": 1}}'}, "MELANOMA_NODES"),
    ],
)
def test_a_cluster_that_cannot_be_read_is_refused(
    variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    argv = ("kubeflow", "--output", str(tmp_path / "pipeline.yaml"))
    refused = command(*argv, python=sys.executable, **variables)

    assert refused.returncode == BadInput.exit_code
    assert told in refused.stderr


@pytest.mark.parametrize("place", ["x.txt", "x", "folder.yaml", "file/x.yaml", "x" * 300 + ".yaml"])
def test_a_place_that_cannot_hold_the_pipeline_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    argv = ("kubeflow", "--output", str(tmp_path / place))
    refused = command(*argv, python=kfp_python(), **CLUSTER)

    assert refused.returncode == BadInput.exit_code
    assert "--output" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("gpus", ["99999999999999999999", "100", "-1", "all"])
def test_a_number_of_gpus_that_no_node_has_is_refused(gpus: str, tmp_path: Path) -> None:
    argv = ("kubeflow", "--output", str(tmp_path / "pipeline.yaml"), "--gpus", gpus)
    refused = command(*argv, python=kfp_python(), **CLUSTER)

    assert refused.returncode == BadInput.exit_code
    assert "--gpus" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_where_kfp_is_missing_the_command_says_what_to_run(tmp_path: Path) -> None:
    argv = ("kubeflow", "--output", str(tmp_path / "pipeline.yaml"))
    refused = command(*argv, python=sys.executable, **CLUSTER)

    assert refused.returncode == BadInput.exit_code
    assert "make kubeflow" in refused.stderr
    assert not (tmp_path / "pipeline.yaml").exists()
