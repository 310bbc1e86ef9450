"""serve: the web app in one process, which follows the champion."""

import logging
import socket
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
    listener = _listener(settings)
    log.info("The app answers at http://%s:%d%s.", settings.host, settings.port, settings.root_path)
    uvicorn.Server(config).run(sockets=[listener])


def _listener(settings: Settings) -> socket.socket:
    """The address to answer at. Raises `Momentary` if another program has it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host.strip("[]"), settings.port), family=family)
    except OSError as error:
        raise Momentary(
            f"The app cannot listen at {settings.host}:{settings.port}: {error.strerror}. Give "
            "another --host or --port, or end the program that listens there."
        ) from error
