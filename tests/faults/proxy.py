"""A TCP proxy that cuts, stalls and refuses: the network between the service and its servers, as a fault has it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from local.host import LOOPBACK, free_port

_CHUNK = 65_536
_CLOSED = (OSError, RuntimeError)
"""What is said of a connection that was aborted meanwhile; the latter by uvloop."""


@dataclass(eq=False, slots=True)
class _Link:
    """One connection through the proxy."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    doomed: bool = False
    """The server's next answer is never heard."""
    answers: int = 0
    """Pieces of what the server said."""
    mute: bool = False
    """Nothing is heard any more, in either direction."""

    def cut(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()


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
        self._open: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._dropping = False
        self._curt = 0
        self._last_words: bytes | None = None
        self._forbidden: bytes | None = None
        self.unheard = 0
        """Answers that `cut_after` swallowed."""

    @property
    def connections(self) -> int:
        """How many connections go through it now."""
        return len(self._open)

    async def listen(self) -> Self:
        """Accept connections (again)."""
        self._dropping, self._curt = False, 0
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

    def hang_up(self, at: int) -> None:
        """Be a server that hangs up in the very packet of answer number `at`; what is open is cut. Until `listen`."""
        self._curt = at
        self.cut()

    def cut(self) -> None:
        """Reset every connection that is open; new ones are served."""
        for link in self._open:
            link.cut()

    def stall(self) -> None:
        """Be half open: connections stay, and new ones are taken, but not a byte passes in either direction."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything pass that was held."""
        self._flowing.set()

    def mute_open(self) -> None:
        """Let every connection that is open now stay open and say nothing any more; new ones are served."""
        for link in self._open:
            link.mute = True

    def cut_after(self, words: bytes) -> None:
        """Cut the connection by which a client says this next: the server hears it, the client never hears back."""
        self._last_words = words

    def cut_before(self, words: bytes) -> None:
        """Cut the connection by which a client says this next: the server never hears it."""
        self._forbidden = words

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
        link = _Link(writer, far_writer)
        self._open.add(link)
        try:
            # a side that was reset resets the other; a loop that ends cancels those that are still open
            with suppress(asyncio.CancelledError, *_CLOSED):
                await asyncio.gather(self._there(link, reader), self._back(link, far_reader))
        finally:
            self._open.discard(link)
            link.cut()

    async def _let_through(self) -> None:
        self.held += 1
        try:
            await self._flowing.wait()
        finally:
            self.held -= 1

    async def _there(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._let_through()
            if link.mute:
                continue
            if self._forbidden and self._forbidden in chunk:
                self._forbidden = None
                link.cut()
                return
            if self._last_words and self._last_words in chunk:
                self._last_words, link.doomed = None, True
            link.far.write(chunk)
            await link.far.drain()
        if not link.mute:
            link.far.write_eof()

    async def _back(self, link: _Link, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._let_through()
            if link.mute:
                continue
            if link.doomed:
                self.unheard += 1
                link.cut()
                return
            link.answers += 1
            if link.answers == self._curt:
                # the kernel holds the last words back until the end follows
                link.near.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                link.near.write(chunk)
                break
            link.near.write(chunk)
            await link.near.drain()
        if not link.mute:
            link.near.write_eof()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """A proxy that works as long as the block."""
    proxy = await Proxy(target).listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()
