"""A TCP proxy that cuts, stalls and refuses: the network between the service and its servers, as a fault has it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from local.host import LOOPBACK, free_port

_CHUNK = 65_536


class Proxy:
    """Forwards connections on `port` to a server on this machine, until told otherwise. Use it with `proxied`.

    Args:
        target: the server's port on the loopback address.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.attempts = 0
        """Connections that somebody tried to open, those that were refused by `drop_new` included."""
        self.held = 0
        """Pieces of what somebody said that wait to be let through."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._dropping = False

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        return len(self._open) // 2

    async def listen(self) -> Self:
        """Accept connections (again)."""
        self._dropping = False
        if self._server is None:
            self._server = await asyncio.start_server(self._forward, LOOPBACK, self.port)
        return self

    async def refuse(self) -> None:
        """Be a server that is not there: what is open is cut, what is tried is refused by the kernel."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def drop_new(self) -> None:
        """Be a server that is not there, but count who tries: what is open is cut, what is tried is closed at once."""
        self._dropping = True
        self.cut()

    def cut(self) -> None:
        """Reset every connection that is open; new ones are served."""
        for writer in self._open:
            writer.transport.abort()

    def stall(self) -> None:
        """Be half open: connections stay, and new ones are taken, but not a byte passes in either direction."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything pass that was held."""
        self._flowing.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        if self._dropping:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        try:
            # a loop that ends cancels those that are still open
            with suppress(asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}
            for one in (writer, far_writer):
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # RuntimeError: what uvloop says of a connection that was aborted meanwhile
        with suppress(OSError, RuntimeError):
            while chunk := await reader.read(_CHUNK):
                self.held += 1
                try:
                    await self._flowing.wait()
                finally:
                    self.held -= 1
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """A proxy that works as long as the block."""
    proxy = await Proxy(target).listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()
