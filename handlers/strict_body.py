"""The strict decoder at the HTTP door: what FastAPI hands to pydantic has been read by `handlers.strict_json`."""

from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from handlers.problems import ProblemError, refused
from handlers.strict_json import TooLargeError, decode
from models.messages import MAX_BODY_BYTES
from saga.errors import RefusedError


class StrictRoute(APIRoute):
    """A route whose body is JSON as the contract has it, or a problem: 400, 413 or 415."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, reading a strict request."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strict


class _StrictRequest(Request):
    async def body(self) -> bytes:
        """The body; FastAPI asks for it only where an operation has one.

        Raises:
            ProblemError: not JSON by its content type, empty, or over 1 MiB, however it is announced.
        """
        if not hasattr(self, "_body"):
            self._require_json()
            self._body = await read_body(self, MAX_BODY_BYTES)
            if not self._body:
                raise ProblemError(400, "unreadable", "The body is empty.")
        return self._body

    async def json(self) -> Any:
        """The JSON value; numbers with a point are `Decimal`.

        Raises:
            ProblemError: it cannot be read.
        """
        try:
            return decode(await self.body())
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
