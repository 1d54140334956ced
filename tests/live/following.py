"""A client that follows an order by Server-Sent Events, over a socket of its own, and sees every byte."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


def long_history(number: int, size: int) -> str:
    """A history of one entry, which takes that many bytes: more than the kernel keeps for a client, if need be."""
    entry = {
        "step": "ValidateInventory",
        "status": "Ignored",
        "message": "x" * size,
        "timestamp": "2026-01-15T09:30:00.000000Z",
        "attempt": number,
        "eventId": None,
    }
    return json.dumps([entry])


@dataclass(frozen=True)
class Said:
    """What stands between two empty lines."""

    event: str | None = None
    id: str | None = None
    data: Any = None
    retry: int | None = None
    comment: bool = False


class Stream:
    """An answer that goes on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._text = ""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.retry: int | None = None
        """What the first thing said is about, where it went well."""

    async def open(self) -> None:
        """Read until the answer begins."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        if self.status == 200:
            first = await self.said()
            assert first is not None
            assert first.data is None
            self.retry = first.retry

    async def body(self) -> bytes:
        """Where it did not go well: what it says instead."""
        return await self.reader.readexactly(int(self.headers.get("content-length", 0)))

    async def said(self) -> Said | None:
        """What is said next; None at a proper end.

        Raises:
            asyncio.IncompleteReadError: it was cut.
        """
        while "\n\n" not in self._text:
            size = int(await self._line(), 16)
            if size == 0:
                await self._line()
                assert not self._text
                return None
            self._text += (await self.reader.readexactly(size + 2))[:-2].decode()
        block, _, self._text = self._text.partition("\n\n")
        fields: dict[str, Any] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.removeprefix(" ") if name else True
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        if "retry" in fields:
            fields["retry"] = int(fields["retry"])
        return Said(**fields)

    async def event(self) -> Said:
        """The next event; lines that keep the connection alive are passed over."""
        async with asyncio.timeout(30):
            while (said := await self.said()) and said.comment:
                pass
        assert said is not None, "the stream has ended"
        return said

    async def rest(self) -> list[Said]:
        """All events until its proper end."""
        events = []
        async with asyncio.timeout(30):
            while said := await self.said():
                events += [] if said.comment else [said]
        return events

    async def _line(self) -> bytes:
        return (await self.reader.readuntil(b"\r\n"))[:-2]


@asynccontextmanager
async def connected(url: str, request: str, receive_buffer: int | None = None) -> AsyncIterator[Stream]:
    """A connection on which this was asked; nothing has been read yet.

    Args:
        url: of the service.
        request: the first line and the headers.
        receive_buffer: bytes that the kernel takes for a client that does not read.
    """
    place = urlsplit(url)
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, (place.hostname, place.port))
    # what is not asked for shall stay in the kernel
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024 if receive_buffer else 2**16)
    head, *headers = request.split("\n")
    writer.write("\r\n".join([f"{head} HTTP/1.1", f"Host: {place.netloc}", *headers, "", ""]).encode())
    try:
        yield Stream(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def following(url: str, order_id: str, last: str | None = None) -> AsyncIterator[Stream]:
    """A client that follows this order, as long as the block lasts.

    Args:
        url: of the service.
        order_id: which.
        last: the id of the last event that it has.
    """
    headers = f"\nLast-Event-ID: {last}" if last is not None else ""
    async with connected(url, f"GET /api/orders/{order_id}/events{headers}") as stream:
        async with asyncio.timeout(30):
            await stream.open()
        yield stream
