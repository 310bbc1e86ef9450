"""A plugin of Airflow's API server: a run whose fields contradict each other is not created.

Airflow checks each field of the form alone. This check knows the rules over several fields. It sees
what the form and scripts send; the first task of a run checks the others too.
"""

import asyncio
import json
import re
from typing import Any

from airflow.plugins_manager import AirflowPlugin

# Every process of Airflow imports its plugins. What only the API server needs is imported where it
# is used.

TRIGGER = re.compile(r"/api/v2/dags/melanoma_retraining/dagRuns/?$")


class Refusal:
    """ASGI middleware: answers 400 with one sentence, or lets the request through as it came."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and TRIGGER.search(scope["path"]):
            await self._checked(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _checked(self, scope: Any, receive: Any, send: Any) -> None:
        from fastapi import Request
        from fastapi.responses import JSONResponse

        request = Request(scope, receive)
        if not await _has_logged_in(request):
            await self.app(scope, receive, send)
            return
        body = await request.body()
        if said := await asyncio.to_thread(contradiction, body):
            await JSONResponse({"detail": said}, 400)(scope, receive, send)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return unread.pop() if unread else await receive()

        await self.app(scope, again, send)


async def _has_logged_in(request: Any) -> bool:
    """Whether Airflow knows who asks. It answers everybody else itself."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.core_api.security import resolve_user_from_token
    from fastapi import HTTPException

    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.casefold() != "bearer":
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    try:
        await resolve_user_from_token(token)
    except HTTPException:
        return False
    return True


def contradiction(body: bytes) -> str:
    """Why the fields that a request gives do not fit each other or the store's defaults, in a
    sentence; empty if they do, or if somebody else must say so: Airflow, for a body that it does
    not understand, and the first task, where the store's defaults cannot be read."""
    from pydantic import ValidationError

    from dags.store import defaults_for_form
    from tasks.config import Retraining, mistakes_in
    from tasks.recipes import with_present_names

    try:
        given = json.loads(body).get("conf") or {}
        present = with_present_names(dict(given))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return str(error) if "former name" in str(error) else ""
    defaults, unknown = defaults_for_form()
    if unknown:
        return ""
    try:
        Retraining.model_validate_json(json.dumps(defaults.model_dump(mode="json") | present))
    except ValidationError as error:
        return mistakes_in(error)
    return ""


class Refusing(AirflowPlugin):
    name = "melanoma_refusal"
    # Airflow's own name and type; it changes nothing in the list.
    fastapi_root_middlewares = [  # noqa: RUF012  as Airflow declares it
        {"middleware": Refusal, "name": "contradicting fields"}
    ]
