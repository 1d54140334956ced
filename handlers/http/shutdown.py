"""Requests that end when the service does: uvicorn waits for every one of them, however long its client takes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.access.security_headers import Careful
from handlers.http.hang_up import hang_up_of, let_hang_up
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError, answer

END_WITHIN = 4.0
"""Seconds that open requests have, once the service has been told to stop."""
GOODBYE_SECONDS = 1.0
"""How long a client has to take what it is told then."""


@dataclass(slots=True)
class _Request:
    """One that is open."""

    hang_up: Callable[[], None]
    """Cuts its connection."""
    answered: bool = False
    """Whether its answer has begun."""


class Endable:
    """An ASGI application whose open requests can be ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: dict[asyncio.Task[object], _Request] = {}
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, for as long as the service may."""
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs each request as a task"
        let_hang_up(scope, send)
        request = self._open[task] = _Request(hang_up_of(scope))

        async def sending(message: Message) -> None:
            request.answered = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not self._ending or scope["type"] != "http":
                raise
            task.uncancel()
            if not request.answered:
                await Careful(answer(_STOPPING))(scope, receive, send)
        finally:
            del self._open[task]

    def end(self) -> None:
        """Give what is open a few seconds more; then end it, whether its client reads or not."""
        asyncio.get_running_loop().call_later(END_WITHIN, self._end)

    def _end(self) -> None:
        self._ending = True
        for task, request in self._open.items():
            if request.answered:
                request.hang_up()
            task.cancel()
        asyncio.get_running_loop().call_later(GOODBYE_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        for request in self._open.values():
            request.hang_up()


_STOPPING = ProblemError(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "stopping",
    "The service is stopping; nothing is known of this request's outcome. Send it again.",
    {"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"},
)
