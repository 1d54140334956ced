"""A client that follows an order over a WebSocket, over a socket of its own, and sees every frame (RFC 6455)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

from tests.live.following import Stream, connected

_HANDSHAKE = """\
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="""
_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""Key and answer are the example's of RFC 6455, section 1.3."""
_MASK = b"\x37\xfa\x21\x3d"


class Opcode(IntEnum):
    TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Frames:
    """An open WebSocket."""

    def __init__(self, stream: Stream) -> None:
        self._reader, self._writer = stream.reader, stream.writer

    def say(self, opcode: Opcode, payload: bytes) -> None:
        """Send a frame of less than 64 kB."""
        short = len(payload) < 126
        size = bytes([0x80 | len(payload)]) if short else b"\xfe" + len(payload).to_bytes(2, "big")
        masked = bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))
        self._writer.write(bytes([0x80 | opcode]) + size + _MASK + masked)

    async def heard(self) -> tuple[Opcode, bytes]:
        """The next frame."""
        async with asyncio.timeout(30):
            opcode, size = await self._reader.readexactly(2)
            if size >= 126:
                size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
            return Opcode(opcode & 0x0F), await self._reader.readexactly(size)

    async def saga(self) -> dict[str, Any]:
        """The saga that it hears next."""
        opcode, payload = await self.heard()
        assert opcode is Opcode.TEXT
        saga: dict[str, Any] = json.loads(payload)
        return saga

    async def closed(self) -> int:
        """With which code it is closed, properly."""
        opcode, payload = await self.heard()
        assert opcode is Opcode.CLOSE
        self.say(Opcode.CLOSE, payload)
        async with asyncio.timeout(30):
            assert await self._reader.read() == b""
        return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def asking(url: str, path: str, *headers: str, receive_buffer: int | None = None) -> AsyncIterator[Stream]:
    """A client that has asked for a WebSocket and read the head of the answer."""
    async with connected(url, "\n".join([f"GET {path}", _HANDSHAKE, *headers]), receive_buffer) as stream:
        async with asyncio.timeout(30):
            await stream.open()
        yield stream


@asynccontextmanager
async def framed(url: str, order_id: str, receive_buffer: int | None = None) -> AsyncIterator[Frames]:
    """A client that follows this order, as long as the block lasts."""
    async with asking(url, f"/api/orders/{order_id}/ws", receive_buffer=receive_buffer) as stream:
        assert stream.status == 101
        assert stream.headers["sec-websocket-accept"] == _ACCEPT
        yield Frames(stream)
