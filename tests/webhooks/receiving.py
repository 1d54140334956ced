"""Receivers of every kind on the loopback address, and a network that leads nowhere else."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

import httpcore2
from httpcore2 import SOCKET_OPTION, AnyIOBackend, AsyncNetworkBackend, AsyncNetworkStream

from saga.webhooks.ssrf import Address

PUBLIC = "93.184.216.34"
"""A public address; `Loopback` leads to this machine instead."""
PUBLIC_V6 = "2606:2800:220:1:248:1893:25c8:1946"
DEAD = "93.184.216.99"
"""A public address from which nothing comes back."""

NOBODY_TRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For where no certificate is looked at: to read whom the system trusts takes longer than many a test."""

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loopback(AsyncNetworkBackend):
    """Connects to this machine only, whatever is asked of it, and keeps what was asked."""

    def __init__(self) -> None:
        self.attempts: list[str] = []
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - its form
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        self.attempts.append(host)
        if host == DEAD:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await asyncio.Event().wait()
            raise httpcore2.ConnectTimeout
        if host in (PUBLIC, PUBLIC_V6):
            host = "127.0.0.1"
        if not ip_address(host).is_loopback:
            raise httpcore2.ConnectError("this would have left the machine")
        return await self._network.connect_tcp(host, port, timeout, local_address, socket_options)


class Names:
    """A resolver that knows these names, and counts how often it is asked; each time it may say something else."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._left = {name: list(answers) for name, answers in names.items()}
        self.asked = 0

    async def __call__(self, name: str) -> Sequence[Address]:
        self.asked += 1
        answers = self._left.get(name, [[]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(one) for one in answer]


@dataclass(slots=True)
class Receiver:
    """A server that is there."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set as soon as one of its connections has been closed by the other side."""


@asynccontextmanager
async def receiver(
    behaviour: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Receiver]:
    """A server that does this with every request: its head and body have been read."""
    here = Receiver(port)
    under_way: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                while not writer.is_closing():
                    here.requests.append(await request(reader))
                    await behaviour(reader, writer)
        finally:
            here.closed.set()
            writer.transport.abort()

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        # so that the loop closes them
        await asyncio.sleep(0)


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length:"))
    return head + await reader.readexactly(length)


def answers(text: bytes) -> Behaviour:
    """Answers with these very bytes, whatever they are."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return behaviour


def ok(body: bytes = b"", *lines: bytes, status: bytes = b"200 OK") -> Behaviour:
    """Answers properly."""
    head = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *lines, b"", b""]
    return answers(b"\r\n".join(head) + body)


def drips(beginning: bytes, drop: bytes, every: float = 0.02) -> Behaviour:
    """Says that, and then a little for ever."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(every)

    return behaviour


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Waits until the other side has enough."""
    await reader.read()
    writer.close()


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hangs up."""
    writer.close()
