"""Run a compiled pipeline by kfp's own local runner, each task a container; kfp's Python runs this.

    python kubeflow_runner.py PIPELINE ARGUMENTS RUNNER ROOT

ARGUMENTS are the parameters of the pipeline, RUNNER the arguments of `DockerRunner`, both JSON;
ROOT is the folder for outputs. kfp's word for how it ended is printed last, and is not to be
believed: its runner takes a container that it can no longer find for one that did well.
"""

import json
import sys

from kfp import components, local


def main(pipeline: str, arguments: str, runner: str, root: str) -> None:
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
