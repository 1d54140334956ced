"""All who write to the service, with a canary in every field in which they can write what they like."""

import json
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
import httpx2
import pytest
from aio_pika.abc import AbstractChannel, HeadersType

from tests.logs.canaries import Canaries
from tests.service import Service, told
from tests.waiting import until

_HEADERS = (
    "User-Agent",
    "Authorization",
    "Cookie",
    "X-Operator",
    "If-None-Match",
    "Prefer",
    "tracestate",
    "X-Anything",
)
_PROPERTIES = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type", "app_id")


class Crowd:
    """Those who write, and what they have written.

    Args:
        service: whom they write to.
        database: its database, where it can be broken.
        bus: a channel of the virtual host.
        secrets: the addresses that the service was given, by setting.
    """

    def __init__(
        self, service: Service, database: asyncpg.Connection, bus: AbstractChannel, secrets: dict[str, str]
    ) -> None:
        self.service, self.database = service, database
        self._bus = bus
        # after a mistake of ours the server hangs up: a connection for each request
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.client = httpx2.AsyncClient(base_url=service.url, timeout=20, verify=False, limits=limits)
        self.canaries = Canaries()
        for name, url in secrets.items():
            self.canaries.secret(name, urlsplit(url).password or "")

    def word(self, place: str) -> str:
        """A canary."""
        return self.canaries.word(place)

    def order(self, where: str, breaks: str = "", **more: Any) -> dict[str, Any]:
        """An order's body; `breaks` goes into its product's name."""
        item = {
            "productId": str(self.canaries.id(f"{where}: productId")),
            "productName": f"{breaks} {self.word(f'{where}: productName')}",
            "quantity": 1,
            "price": self.canaries.secret(f"{where}: price", f"{uuid4().int % 10**12}.37"),
            self.word(f"{where}: name of a field"): self.word(f"{where}: unknown field"),
        }
        return {"userId": str(self.canaries.id(f"{where}: userId")), "items": [item], **more}

    async def ask(
        self, method: str, path: str, where: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Ask for something over HTTP, with headers and a query that mean nothing."""
        return await self.client.request(
            method,
            path,
            params={self.word(f"{where}: name in the query"): self.word(f"{where}: query")},
            headers={name: self.word(f"{where}: {name}") for name in _HEADERS}
            | {"Content-Type": "application/json"}
            | (headers or {}),
            content=_bytes(body) if body is not None else None,
        )

    async def say(self, key: str, body: object, where: str, exchange: str = "domain", **headers: str) -> None:
        """Say something on the bus, with headers and properties that mean nothing."""
        chosen: HeadersType = {
            self.word(f"{where}: name of a header"): self.word(f"{where}: header"),
            "traceparent": self.word(f"{where}: traceparent"),
            "ce-subject": self.word(f"{where}: ce-subject"),
            **headers,
        }
        properties: dict[str, Any] = {name: self.word(f"{where}: {name}") for name in _PROPERTIES}
        target = await self._bus.get_exchange(exchange, ensure=False)
        await target.publish(aio_pika.Message(_bytes(body), headers=chosen, **properties), key)

    async def hears(self, event: str, **known: object) -> None:
        """Return when the service has written such a line."""

        async def is_written() -> bool:
            return any(line["event"] == event and line.items() >= known.items() for line in told(self.service.log))

        try:
            await until(is_written)
        except TimeoutError:
            loud = [str(line) for line in told(self.service.log) if line["level"] in ("warning", "error")]
            pytest.fail("\n".join([f"it never wrote {event!r} {known}, but", *loud]))


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()
