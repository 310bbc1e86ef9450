"""The commands about Kubeflow: kubeflow compiles the pipeline, kubeflow-inputs runs in it."""

import os
from pathlib import Path
from typing import Annotated

import typer

PANEL = "Beside the pipeline"


def kubeflow_command(
    output: Annotated[Path, typer.Option(help="The file to write, YAML.")],
    gpus: Annotated[
        int | None,
        typer.Option(
            min=0, max=99, show_default="0", help="GPUs of each training, in the image train-gpu."
        ),
    ] = None,
) -> None:
    """Compile the table of steps into a pipeline of Kubeflow.

    Images, secrets and nodes come from the environment; see docs/kubeflow.md.
    """
    from tasks.kubeflow.cluster import cluster_of
    from tasks.kubeflow.pipeline import compile_pipeline
    from tasks.places import tags_are_taken

    compile_pipeline(cluster_of(os.environ, gpus=gpus), output)
    print(f"{output}: upload the file to Kubeflow Pipelines.")
    if tags_are_taken(os.environ):
        print("Images are named by tags: whoever pushes to the registry can change what runs.")


def kubeflow_inputs_command(
    executor_input: Annotated[str, typer.Argument(help="What Kubeflow gave the task, as JSON.")],
) -> None:
    """Check the configuration of a run of Kubeflow, and name the parts of its steps."""
    from tasks.kubeflow.inputs import write_outputs

    write_outputs(executor_input)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("kubeflow", rich_help_panel=PANEL)(kubeflow_command)
    # Only a pipeline of Kubeflow calls it.
    app.command("kubeflow-inputs", hidden=True)(kubeflow_inputs_command)
