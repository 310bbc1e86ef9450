"""Find the digest of a container's image, and pull the image if the engine lacks it."""

import logging
import re
from typing import Any

from airflow.providers.docker.hooks.docker import DockerHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from docker.errors import APIError, ImageNotFound, NotFound

log = logging.getLogger(__name__)

# Answers of a registry that a retry would not change.
LASTING = "(?i)manifest unknown|unauthorized|no basic auth credentials"


def digest_of(image: str, client: Any, *, engine: str | list[str], registry: str) -> str:
    """The digest under which an image can be pulled, or its id if it was built here.

    Args:
        image: Name of the image.
        client: The engine's API.
        engine: Address of the engine, or several to try.
        registry: Id of the Airflow connection to log in with; empty to pull without.

    Raises:
        AirflowFailException: There is no such image, here or in the registry of its name.
        AirflowException: The registry did not answer.
    """
    try:
        found = client.inspect_image(image)
    except ImageNotFound:
        # Log in only to pull: a registry that is down must not stop a step whose image is here.
        hook = DockerHook(docker_conn_id=registry, base_url=engine) if registry else None
        _pull(image, client, hook)
        found = client.inspect_image(image)
    return str(next(iter(found["RepoDigests"] or ()), found["Id"]))


def _pull(image: str, client: Any, hook: DockerHook | None) -> None:
    log.info("Pulling image %s", image)
    problem = (
        f"The image {image} is not on the Docker engine and could not be pulled.\n"
        "  Received: {}\n"
        "  Do:       `make images` builds it; MELANOMA_IMAGES says where else it lies, and\n"
        "            MELANOMA_REGISTRY_CONNECTION how to log in there"
    )
    try:
        logged_in = hook.api_client if hook else client
        for line in logged_in.pull(image, stream=True, decode=True):
            if "error" in line:
                raise AirflowException(problem.format(line["error"]))
    except APIError as error:
        said = problem.format(error.explanation)
        # Access denied is a NotFound too; an unknown tag, and a wrong login or none, are its
        # own fault to the engine.
        if isinstance(error, NotFound) or re.search(LASTING, said):
            raise AirflowFailException(said) from error
        raise AirflowException(said) from error
