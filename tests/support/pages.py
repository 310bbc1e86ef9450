"""Airflow's own login around the pages of runs, on a web server of their own.

Importing this imports Airflow's web server, which takes seconds; AIRFLOW_HOME must be set before.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from airflow import settings
from airflow.api_fastapi import app as airflow_app
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
from airflow.models import import_all_models
from airflow.models.base import Base
from fastapi import FastAPI

from dags.pages.app import pages
from dags.pages.links import PREFIX, RETRAINING
from tests.support.servers import free_port

# Both may read; the second one anything but the runs of the retraining.
READER, OUTSIDER = "reader", "outsider"


class ByDag(SimpleAuthManager):
    """Airflow's simple login, with a user who may read every DAG but one."""

    def is_authorized_dag(
        self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None
    ) -> bool:
        asked = (method, access_entity, details and details.id)
        if user.username == OUTSIDER and asked == ("GET", DagAccessEntity.RUN, RETRAINING):
            return False
        return bool(
            super().is_authorized_dag(
                method=method, user=user, access_entity=access_entity, details=details
            )
        )


# The part of Airflow's environment that this needs.
LOGIN = {
    "AIRFLOW__CORE__AUTH_MANAGER": f"{ByDag.__module__}.{ByDag.__qualname__}",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{READER}:VIEWER,{OUTSIDER}:VIEWER",
    "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-tests-" * 4,
}


@contextmanager
def served() -> Iterator[str]:
    """The pages as Airflow's web server mounts them; gives the address.

    LOGIN is in the environment. The store is that of MELANOMA_STORE at each request.
    """
    import_all_models()  # type: ignore[no-untyped-call]  # Airflow's
    Base.metadata.create_all(settings.engine)
    airflow_app.purge_cached_app()
    airflow_app.init_auth_manager()
    root = FastAPI()
    root.mount(PREFIX, pages())
    root.add_middleware(JWTRefreshMiddleware)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(root, port=port, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        airflow_app.purge_cached_app()


def token(user: str) -> str:
    """A login of a user, as Airflow gives it."""
    known = SimpleAuthManagerUser(username=user, role="VIEWER")
    return str(airflow_app.get_auth_manager().generate_jwt(known))


def get(
    address: str, path: str, user: str | None = READER, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """What a browser, in which a user has logged in, gets under a path; redirects are not followed.

    Args:
        path: The path below ``/melanoma/``; it is sent as it stands, with its dots.
        user: Who has logged in; None for nobody.
    """
    own = {"Cookie": f"_token={token(user)}"} if user else {}
    with httpx.Client(trust_env=False) as browser:
        return browser.get(
            address,
            headers={**own, **(headers or {})},
            extensions={"target": f"{PREFIX}/{path}".encode()},
        )
