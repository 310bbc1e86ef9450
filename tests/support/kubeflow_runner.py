"""Run a compiled pipeline by kfp's own local runner, each task a container; kfp's Python runs this.

    python kubeflow_runner.py PIPELINE ARGUMENTS RUNNER ROOT

ARGUMENTS are the parameters of the pipeline, RUNNER the arguments of `DockerRunner`, both JSON;
ROOT is the folder for outputs. kfp's word for how it ended is printed last, and is not to be
believed: its runner takes a container that it can no longer find for one that did well, and skips
both branches of a condition that it cannot read.
"""

import json
import sys
from typing import Any

from kfp import components, local
from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator


def find_outputs_of_tasks() -> None:
    """Let a condition name the output of a task. kfp 2.17.3 looks among the inputs of the graph
    only, unless the output is called ``Output``."""
    known = ConditionEvaluator._resolve_pipeline_channel

    def found(channel: str, store: Any) -> Any:
        task, _, output = channel.removeprefix("pipelinechannel--").rpartition("-")
        try:
            return store.get_task_output(task, output)
        except (KeyError, ValueError):
            return known(channel, store)

    ConditionEvaluator._resolve_pipeline_channel = staticmethod(found)


def main(pipeline: str, arguments: str, runner: str, root: str) -> None:
    find_outputs_of_tasks()
    settings = json.loads(runner)
    # The images have an entrypoint; a cluster runs the command of the pipeline in its place.
    settings["entrypoint"] = [""]
    local.init(runner=local.DockerRunner(**settings), pipeline_root=root, raise_on_error=True)
    try:
        components.load_component_from_file(pipeline)(**json.loads(arguments))
    except RuntimeError as error:
        print(f"kfp: {error}")
        sys.exit(1)
    print("kfp: done")


if __name__ == "__main__":
    main(*sys.argv[1:])
