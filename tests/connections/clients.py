"""A client of HTTP that says just what it is told to, byte by byte if need be."""

import asyncio
import json
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from handlers.access.security_headers import ALWAYS

LITTLE = 4096
"""Bytes that the kernel keeps for a client that does not read, or twice as many."""


class Client:
    """A client that says just what it is told to."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._began = asyncio.get_running_loop().time()

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._began

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> str:
        """First line and headers of an answer."""
        async with asyncio.timeout(20):
            return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def rest(self) -> bytes:
        """All that is said until the server hangs up."""
        async with asyncio.timeout(20):
            return await self._reader.read()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        first, *lines = (await self.head()).split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(first.split()[1]), headers, body

    async def refused(self) -> tuple[int, str]:
        """Status and kind of the problem that it is sent away with."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert {name.lower(): value for name, value in ALWAYS}.items() <= headers.items()
        await self.gone()
        problem = json.loads(body)
        assert problem["status"] == status
        return status, problem["type"].removeprefix("urn:order-service:")

    async def gone(self) -> None:
        """Return when the server has hung up."""
        async with asyncio.timeout(5):
            try:
                assert await self._reader.read() == b""
            except ConnectionError:
                return

    async def dribble(self, data: bytes, seconds: float = 0.1) -> None:
        """Say a byte now and then, for as long as anybody listens."""
        try:
            for byte in data * 100:
                await self.say(bytes([byte]))
                await asyncio.sleep(seconds)
        except ConnectionError:
            return


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    """A client as long as the block lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


class Deaf:
    """A client that takes nothing of what it is told, until it is asked to; the kernel keeps a little for it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._connection, data)

    def say_no_more(self) -> None:
        self._connection.shutdown(socket.SHUT_WR)

    async def take(self, size: int) -> bytes:
        """So much of it at most; nothing where that was all."""
        async with asyncio.timeout(20):
            return await asyncio.get_running_loop().sock_recv(self._connection, size)


@asynccontextmanager
async def deaf(port: int) -> AsyncIterator[Deaf]:
    """A client that takes nothing, as long as the block lasts."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        yield Deaf(connection)


@asynccontextmanager
async def dribbling(client: Client, data: bytes) -> AsyncIterator[None]:
    task = asyncio.create_task(client.dribble(data))
    yield
    task.cancel()
    await asyncio.wait([task])
