"""Strict JSON bodies over HTTP: what FastAPI hands to pydantic has been read by `handlers.strict_json`.

A body may be as large as its operation needs, and costs its caller by its size (`handlers.access.rate_limits`).
"""

from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from handlers.access.rate_limits import spend_bytes
from handlers.http.problems import ProblemError, refused
from handlers.strict_json import TooLargeError, decode_aside
from saga.errors import RefusedError

MAX_ORDER_BYTES = 256 * 1024
"""Of an order: 100 items with names of 200 characters, all of them escaped, need a little less."""
MAX_ACTION_BYTES = 64 * 1024
"""Of every other body."""


class StrictRoute(APIRoute):
    """A route whose body is JSON as the contract has it, or a problem: 400, 413, 415 or 429."""

    most: ClassVar[int] = MAX_ACTION_BYTES
    """Bytes of the largest body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, reading a strict request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request, self.most))

        return strict


class OrderRoute(StrictRoute):
    """A route whose body is an order."""

    most = MAX_ORDER_BYTES


class _StrictRequest(Request):
    def __init__(self, request: Request, most: int) -> None:
        super().__init__(request.scope, request.receive)
        self._most = most

    async def body(self) -> bytes:
        """The body; FastAPI asks for it only where an operation has one.

        Raises:
            ProblemError: not JSON by its content type, empty, too large, however it is announced, or more than its
                caller may send now.
        """
        if not hasattr(self, "_body"):
            self._require_json()
            self._body = await read_body(self, self._most)
            if not self._body:
                raise ProblemError(400, "unreadable", "The body is empty.")
            spend_bytes(self, len(self._body))
        return self._body

    async def json(self) -> Any:
        """The JSON value; numbers with a point are `Decimal`.

        Raises:
            ProblemError: it cannot be read.
        """
        try:
            return await decode_aside(await self.body())
        except RefusedError as error:
            raise refused(error) from error

    def _require_json(self) -> None:
        if content_type_of(self) != "application/json":
            raise ProblemError(415, "unsupported_media_type", "Send the body as Content-Type: application/json.")


def content_type_of(request: Request) -> str:
    """The content type without its parameters; what cannot be parsed counts as text/plain."""
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    return header.get_content_type()


async def read_body(request: Request, most: int) -> bytes:
    """The body, however it is announced.

    Raises:
        ProblemError: it has more bytes than that.
    """
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
        raise refused(TooLargeError(f"the body has {announced[:20]} bytes; at most {most} are taken"))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise refused(TooLargeError(f"the body is too large; at most {most} bytes are taken"))
    return bytes(body)
