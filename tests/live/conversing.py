"""A WebSocket as an ASGI server gives it to the application: what comes of it can be seen, and when."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message

HOST = "localhost:5002"


class Socket:
    """One connection. It plays the server's part: `transport`, where a server has it, can be aborted."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        self._writable = asyncio.Event()
        self._writable.set()

    async def send(self, message: Message) -> None:
        await self._writable.wait()
        self._heard.put_nowait(message)

    async def receive(self) -> Message:
        return await self._said.get()

    def abort(self) -> None:
        self.aborted = True
        self.leave()

    def leave(self) -> None:
        """The client is gone."""
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def stop_reading(self) -> None:
        """The client takes no more, and all buffers are full."""
        self._writable.clear()

    def say(self, **what: str | bytes) -> None:
        """The client says something."""
        self._said.put_nowait({"type": "websocket.receive", **what})

    async def heard(self) -> Message:
        """What the client hears next."""
        async with asyncio.timeout(30):
            return await self._heard.get()

    async def saga(self) -> dict[str, Any]:
        """The saga that it hears next."""
        message = await self.heard()
        assert message["type"] == "websocket.send", message
        saga: dict[str, Any] = json.loads(message["text"])
        return saga

    async def closed(self) -> int:
        """With which code it is closed next."""
        message = await self.heard()
        assert message["type"] == "websocket.close", message
        code: int = message["code"]
        return code

    async def denied(self) -> dict[str, Any]:
        """The problem that it is denied with."""
        start, body = await self.heard(), await self.heard()
        assert start["type"] == "websocket.http.response.start", start
        assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
        problem: dict[str, Any] = json.loads(body["body"])
        assert problem["status"] == start["status"]
        return problem

    async def accepted(self) -> None:
        """It is let in."""
        message = await self.heard()
        assert message["type"] == "websocket.accept", message


@asynccontextmanager
async def conversing(app: ASGIApp, order_id: str, **headers: str) -> AsyncIterator[Socket]:
    """A client that follows this order, as long as the block lasts."""
    path = f"/api/orders/{order_id}/ws"
    scope = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in ({"host": HOST} | headers).items()],
        "http_version": "1.1", "scheme": "ws", "server": ("localhost", 5002), "client": ("127.0.0.1", 1),
        "subprotocols": [], "asgi": {"version": "3.0"}, "extensions": {"websocket.http.response": {}},
    }  # fmt: skip
    socket = Socket()
    serving = asyncio.ensure_future(app(scope, socket.receive, socket.send))
    try:
        yield socket
    finally:
        socket.leave()
        async with asyncio.timeout(30):
            await serving
