"""Aliases and marks in MLflow, for people and for other programs. They follow the ledger."""

from typing import Any

from tasks.registry.champion import alias_of
from tasks.registry.versions import CHAMPION

PREVIOUS = "previous_champion"


def follow(client: Any, name: str, *, champion: int | None, previous: int | None) -> None:
    """Set or remove the aliases ``champion`` and ``previous_champion``.

    Args:
        client: MLflow's client.
        name: Name of the registered model.
        champion: The version in use; None for none.
        previous: The version that was in use before; None for none.
    """
    for alias, version in ((CHAMPION, champion), (PREVIOUS, previous)):
        held = alias_of(client, alias)
        if version is not None and held != version:
            client.set_registered_model_alias(name, alias, str(version))
        elif version is None and held is not None:
            client.delete_registered_model_alias(name, alias)


def mark(client: Any, name: str, version: int, status: str, why: str) -> None:
    """Set the tags ``status`` and ``status_reason`` of a version."""
    client.set_model_version_tag(name, str(version), "status", status)
    client.set_model_version_tag(name, str(version), "status_reason", why)
