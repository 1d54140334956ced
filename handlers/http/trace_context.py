"""Where an event comes from: the message or the request that is being handled, for its span in the saga's trace."""

import time
from collections.abc import Mapping
from contextvars import Token

from aio_pika import IncomingMessage
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from saga.telemetry.applied_events import ORIGIN, Origin
from saga.telemetry.spans import MESSAGING
from saga.telemetry.traceparent import HEADER, trace_id, valid

_HEADER = HEADER.encode()


def handling_message(message: IncomingMessage, queue: str) -> None:
    """What this task does from here on is done for this message."""

    def describe() -> tuple[str, Mapping[str, str]]:
        attributes = {
            **MESSAGING,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": f"{message.exchange}:{message.routing_key}:{queue}",
            "messaging.rabbitmq.destination.routing_key": message.routing_key or "",
        }
        return f"process {message.routing_key}", attributes

    _handling(
        Origin(
            is_message=True,
            began=time.time_ns(),
            traceparent=valid(message.headers.get(HEADER)),
            describe=describe,
        )
    )


def _handling(origin: Origin) -> Token[Origin | None]:
    """From here on this task is about that: what it brings to the engine, and what it says in the log."""
    if origin.traceparent:
        bind_contextvars(trace_id=trace_id(origin.traceparent))
    return ORIGIN.set(origin)


class Requests:
    """What a request brings to the engine is told with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the request, and go on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        before = _handling(_of_request(scope))
        try:
            await self._app(scope, receive, send)
        finally:
            ORIGIN.reset(before)


def _of_request(scope: Scope) -> Origin:
    def describe() -> tuple[str, Mapping[str, str]]:
        method, path = scope["method"], scope["path"]
        # known by the time that an endpoint has called the engine
        names = {value: f"{{{name}}}" for name, value in scope["path_params"].items()}
        route = "/".join(names.get(part, part) for part in path.split("/"))
        attributes = {
            "http.request.method": method,
            "http.route": route,
            "url.path": path,
            "url.scheme": scope["scheme"],
        }
        return f"{method} {route}", attributes

    header = next((value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER), None)
    return Origin(is_message=False, began=time.time_ns(), traceparent=valid(header), describe=describe)
