"""Requests that end when the service does: uvicorn waits for every one of them, however long its client takes."""

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.access.careful import Careful
from handlers.hanging_up import let_hang_up
from handlers.problems import RETRY_AFTER_SECONDS, ProblemError, answer

END_WITHIN = 4.0
"""Seconds that open requests have, once the service has been told to stop."""


class Endable:
    """An ASGI application whose open requests can be ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[asyncio.Task[object]] = set()
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, for as long as the service may."""
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs each request as a task"
        started = False
        let_hang_up(scope, send)

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self._open.add(task)
        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not self._ending or started or scope["type"] != "http":
                raise
            task.uncancel()
            await Careful(answer(_STOPPING))(scope, receive, send)
        finally:
            self._open.discard(task)

    def end(self) -> None:
        """Give what is open a few seconds more; then end it."""
        asyncio.get_running_loop().call_later(END_WITHIN, self._end)

    def _end(self) -> None:
        self._ending = True
        for task in self._open:
            task.cancel()


_STOPPING = ProblemError(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "stopping",
    "The service is stopping; nothing is known of this request's outcome. Send it again.",
    {"Retry-After": str(RETRY_AFTER_SECONDS), "Connection": "close"},
)
