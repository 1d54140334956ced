"""A customer's system: it verifies webhooks with the reference library, and answers or misbehaves."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from standardwebhooks import Webhook

ANSWERS = {
    "ok": "204 No Content\r\n",
    "500": "500 Internal Server Error\r\n",
    "410": "410 Gone\r\n",
    "429": "429 Too Many Requests\r\nRetry-After: 7200\r\n",
    "302": "302 Found\r\nLocation: /elsewhere\r\n",
}


@dataclass(frozen=True)
class Got:
    """A webhook that came, and was what it said it was."""

    path: str
    id: str
    headers: dict[str, str]
    body: Any
    raw: bytes


class Receiver:
    """One server, many endpoints: each path has its secrets and its behaviour.

    Behaviours: those of `ANSWERS`, `close` (hangs up without an answer), `hang` (says nothing), `drip` (never ends its
    answer), `slow` (answers well after a while).
    """

    def __init__(self) -> None:
        self.port = 0
        self.got: list[Got] = []
        self.forged: list[str] = []
        """What could not be verified, and why."""
        self.behaviour: dict[str, str] = defaultdict(lambda: "ok")
        self.secrets: dict[str, list[str]] = {}
        self.open: dict[str, int] = defaultdict(int)
        self.most_open: dict[str, int] = defaultdict(int)
        """Requests at the same time."""
        self.connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._came = asyncio.Condition()
        self.release = asyncio.Event()
        """Ends what hangs."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        """What came there."""
        return [one for one in self.got if one.path == path]

    async def until(self, condition: Callable[[], object], seconds: float = 10) -> None:
        """Return as soon as that holds; looked at whenever something comes."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(lambda: bool(condition()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take the requests of one connection."""
        task = asyncio.current_task()
        assert task
        self.connections[task] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._take(reader, writer):
                pass
        writer.close()
        del self.connections[task]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        path = first.split()[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        self.open[path] += 1
        self.most_open[path] = max(self.most_open[path], self.open[path])
        try:
            await self._note(path, headers, raw)
            return await self._answer(self.behaviour[path], writer)
        finally:
            self.open[path] -= 1

    async def _note(self, path: str, headers: dict[str, str], raw: bytes) -> None:
        for secret in self.secrets.get(path, []):
            try:
                body = Webhook(secret).verify(raw, headers)
            except Exception as error:  # noqa: BLE001 - whatever it is, the receiver would not believe it
                self.forged.append(f"{path}: {error}")
            else:
                self.got.append(Got(path, headers["webhook-id"], headers, body, raw))
                break
        async with self._came:
            self._came.notify_all()

    async def _answer(self, behaviour: str, writer: asyncio.StreamWriter) -> bool:
        if behaviour == "hang":
            await self.release.wait()
            return False
        if behaviour == "close":
            return False
        if behaviour == "slow":
            await asyncio.sleep(0.3)
        if behaviour == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not self.release.is_set():
                writer.write(b"X-Drip: drop\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
            return False
        words = b"no such thing" if behaviour in ("500", "410") else b""
        answer = ANSWERS.get(behaviour, ANSWERS["ok"])
        writer.write(f"HTTP/1.1 {answer}Content-Length: {len(words)}\r\n\r\n".encode() + words)
        await writer.drain()
        return True


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on the loopback address, as long as the block lasts."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.close()
        for writer in receiver.connections.values():
            writer.transport.abort()
        await asyncio.gather(*receiver.connections)
