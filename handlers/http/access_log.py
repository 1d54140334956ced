"""One line for each request: method, route, status, seconds.

Never the path or its query, which clients type: a customer's id stands there, or what somebody pasted by mistake. Nor
their address. Of what stands in a path only an order's id is told, if it is one.
"""

import logging
import time

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import Words

log = get_logger(__name__)

_PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds, by machines: told at the level of DEBUG only."""


class AccessLog:
    """The HTTP API, with a line for every request that it has answered.

    Args:
        app: answers.
        api: has the routes that are told.
    """

    def __init__(self, app: ASGIApp, api: FastAPI) -> None:
        self._app = app
        self._routes = {one.endpoint: Words(one.path) for one in iter_route_contexts(api.routes) if one.path}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it, then tell it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            # the router has written into the scope what it found
            route = self._routes.get(scope.get("endpoint"))
            order_id = scope.get("path_params", {}).get("order_id")
            # an error that passes here is told by the server, in a line of its own
            bind_contextvars(method=scope["method"], route=route, order_id=order_id)
            level = logging.DEBUG if route in _PROBES else logging.INFO
            log.log(level, "request", http_status=status, seconds=round(time.perf_counter() - began, 6))
