"""The aliases of the models in use, and what MLflow shows of the standing of each version.

Aliases and tags follow decisions that are made and kept elsewhere. Both functions may be called
again with the same arguments: MLflow then holds what it held.
"""

from typing import Any, Literal

from tasks.registry.versions import CHAMPION, GONE, mlflow_module

PREVIOUS = "previous_champion"
STATUS, REASON = "status", "status_reason"  # tags of a version

Status = Literal["challenger", "champion", "previous champion", "rejected", "superseded"]


def follow(client: Any, name: str, *, champion: int | None, previous: int | None) -> None:
    """Let the aliases `CHAMPION` and `PREVIOUS` name exactly these versions.

    Args:
        client: MLflow's client.
        name: Name of the registered model.
        champion: Version of the model in use; None: no version has the alias afterwards.
        previous: Version of the model that was in use before; None likewise.

    Raises:
        BadInput: MLflow holds no such model or version.
        Momentary: MLflow failed.
    """
    wanted = {CHAMPION: champion, PREVIOUS: previous}
    found = _aliases(client, name, must_exist=any(wanted.values()))
    for alias, version in wanted.items():
        if version is None and alias in found:
            client.delete_registered_model_alias(name, alias)
        elif version is not None and found.get(alias) != version:
            client.set_registered_model_alias(name, alias, str(version))


def _aliases(client: Any, name: str, *, must_exist: bool) -> dict[str, int]:
    """The version of each alias of a registered model."""
    refusal = mlflow_module("mlflow.exceptions").MlflowException
    try:
        aliases = client.get_registered_model(name).aliases
    except refusal as error:
        if must_exist or error.error_code not in GONE:
            raise
        return {}  # a model that does not exist has no alias to remove
    return {str(alias): int(version) for alias, version in aliases.items()}


def mark(client: Any, name: str, version: int, status: Status, why: str) -> None:
    """Write the standing of a version, and its reason, into the version's tags.

    Args:
        client: MLflow's client.
        name: Name of the registered model.
        version: Number of the version.
        status: The standing of the version.
        why: The reason, in words, such as who decided it and when.

    Raises:
        BadInput: MLflow holds no such version.
        Momentary: MLflow failed.
    """
    # The reason first: who reads the status between the two calls finds no reason of another one.
    client.set_model_version_tag(name, str(version), REASON, why)
    client.set_model_version_tag(name, str(version), STATUS, status)
