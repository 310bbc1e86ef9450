"""serve: the web app in one process, which follows the champion."""

import logging
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from tasks.engine.store import Store
from tasks.errors import Momentary
from tasks.registry.versions import tracking_uri
from tasks.serving.api import app_of
from tasks.serving.follow import Follower
from tasks.serving.settings import Settings

log = logging.getLogger(__name__)


def serve(
    store: Store,
    settings: Settings,
    add_page: Callable[[FastAPI, Follower, Settings], None] | None = None,
) -> None:
    """Answer until the process is told to end.

    Args:
        store: The store whose ledger of promotions names the champion.
        settings: The operator's choices.
        add_page: As for `tasks.serving.api.app_of`.

    Raises:
        BadInput: There is no MLflow; or the app would answer other machines without a login.
        Momentary: The address is taken.
    """
    settings.checked()
    tracking_uri(store)  # raise now, not at each look
    follower = Follower(store, settings.seconds, settings.prevalence)
    config = uvicorn.Config(
        app_of(follower, settings, add_page),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,  # addresses of people, and nothing that the metrics do not say
        server_header=False,
        proxy_headers=False,  # whose header is believed, `Settings` says
        limit_concurrency=256,
        timeout_keep_alive=30,
    )
    log.info("The app answers at http://%s:%d%s.", settings.host, settings.port, settings.root_path)
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise Momentary(
            f"The app could not listen at {settings.host}:{settings.port}. Another program may: "
            "give another --port."
        )
