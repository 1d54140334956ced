"""The subscriber of the dead letters and their HTTP API, on a database and a virtual host of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aio_pika
import httpx2
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.channel import Channel
from fastapi import FastAPI
from faststream.rabbit import RabbitBroker
from pamqp.header import ContentHeader
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from handlers.access.authenticator import Access
from handlers.access.middleware import guarded
from handlers.access.rate_limits import Limits
from handlers.bus.pamqp_patch import read_whatever_comes
from handlers.bus.publisher import DEAD_LETTER_QUEUE, Bus
from handlers.bus.subscribe import settlement
from handlers.bus.trusted_senders import Senders, user_in
from handlers.dashboard.pages.login import refusing_pages
from handlers.dead_letters.consumer import dead_letters
from handlers.dead_letters.routes import dead_letter_routes
from handlers.dead_letters.service import Letters
from handlers.http.problems import answer_problems
from saga.domain import Policy
from saga.engine import Engine
from saga.outbox.message import DEAD_LETTER_EXCHANGE, EXCHANGE
from saga.runtime.database import Sessions, connect, sessions
from tests.waiting import until

Queue = asyncio.Queue[AbstractIncomingMessage]


@pytest.fixture(autouse=True)
def reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the broker as the service does."""
    monkeypatch.setattr(ContentHeader, "unmarshal", ContentHeader.unmarshal)
    monkeypatch.setattr(Channel, "_read_content", Channel._read_content)
    read_whatever_comes()


@pytest.fixture
async def pool(migrated: str) -> AsyncIterator[AsyncEngine]:
    """Connections of the test's own."""
    engine = connect(migrated, connections=8, name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def bus(vhost: str) -> AsyncIterator[Bus]:
    """The publishing side, connected: exchanges and queue are declared."""
    bus = Bus(vhost)
    await bus.keep_open()
    yield bus
    await bus.close()


class Wire:
    """Somebody else on the bus."""

    def __init__(self, channel: AbstractChannel, user: str) -> None:
        self._channel = channel
        self.user = user
        """The name that RabbitMQ knows it by."""

    async def publish(
        self, body: bytes, routing_key: str, exchange: str = DEAD_LETTER_EXCHANGE, **properties: Any
    ) -> None:
        """Publish a message, by default straight to the dead letters, as this service alone may."""
        if exchange == DEAD_LETTER_EXCHANGE:
            properties.setdefault("user_id", self.user)
        target = await self._channel.get_exchange(exchange, ensure=False)
        await target.publish(aio_pika.Message(body, **properties), routing_key)

    async def listen(self, routing_key: str, **arguments: Any) -> Queue:
        """What arrives under this routing key from now on; whoever takes it settles it."""
        queue = await self._channel.declare_queue(exclusive=True, arguments=arguments or None)
        await queue.bind(EXCHANGE, routing_key)
        messages: Queue = asyncio.Queue()
        await queue.consume(messages.put)
        return messages

    async def waiting(self) -> int:
        """How many dead letters wait in their queue and are in nobody's hands."""
        queue = await self._channel.declare_queue(DEAD_LETTER_QUEUE, passive=True)
        return queue.declaration_result.message_count or 0


async def take(messages: Queue) -> AbstractIncomingMessage:
    """The next message."""
    async with asyncio.timeout(30):
        return await messages.get()


@pytest.fixture
async def wire(vhost: str, bus: Bus) -> AsyncIterator[Wire]:
    async with await aio_pika.connect(vhost) as connection:
        yield Wire(await connection.channel(), str(user_in(vhost)))


@asynccontextmanager
async def subscribed(
    url: str, bus: Bus, pool: Sessions, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncIterator[None]:
    """The service's broker, as app.py makes it, with this one subscriber."""
    broker = RabbitBroker(url, apply_types=False, logger=None, middlewares=[settlement(bus)])
    dead_letters(broker, pool, bus.user, pause)
    await broker.start()
    yield
    await broker.stop()


@pytest.fixture
async def subscriber(vhost: str, bus: Bus, pool: AsyncEngine) -> AsyncIterator[None]:
    """The subscriber, running."""
    async with subscribed(vhost, bus, sessions(pool)):
        yield


class Table:
    """The table as a test sees it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def rows(self) -> list[dict[str, Any]]:
        async with self._engine.connect() as connection:
            found = await connection.execute(text("SELECT * FROM dead_letters ORDER BY first_at, id"))
            return [dict(row) for row in found.mappings()]

    async def arrivals(self, count: int) -> list[dict[str, Any]]:
        """The rows, once that many letters have arrived, each arrival counted."""

        async def all_there() -> bool:
            return bool(count <= sum(row["count"] for row in await self.rows()))

        await until(all_there)
        return await self.rows()


@pytest.fixture
def table(pool: AsyncEngine) -> Table:
    return Table(pool)


class Api:
    """The dead letters over HTTP, asked by a client at this address."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self._client.request(method, f"/api/dead-letters{path}", **more)

    async def list(self, **query: Any) -> list[dict[str, Any]]:
        answer = await self.call("GET", "", params=query)
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def get(self, id_: object) -> dict[str, Any]:
        answer = await self.call("GET", f"/{id_}")
        assert answer.status_code == 200, answer.text
        letter: dict[str, Any] = answer.json()
        return letter

    async def redrive(self, id_: object) -> httpx2.Response:
        return await self.call("POST", f"/{id_}/redrive")


def letters_app(pool: AsyncEngine, bus: Bus, senders: Senders | None = None) -> ASGIApp:
    """The routes as an application."""
    app = FastAPI(openapi_url=None)
    answer_problems(app)
    app.include_router(dead_letter_routes(Letters(sessions(pool), bus, Policy(), senders or Senders(bus.user))))
    access = Access(sessions(pool), local=True)
    return guarded(app, access, Limits(), refusing_pages(access))


@asynccontextmanager
async def serving(pool: AsyncEngine, bus: Bus, host: str = "127.0.0.1") -> AsyncIterator[Api]:
    """The API as long as the block lasts."""
    transport = httpx2.ASGITransport(app=letters_app(pool, bus), raise_app_exceptions=False, client=(host, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield Api(client)


@pytest.fixture
async def api(pool: AsyncEngine, bus: Bus) -> AsyncIterator[Api]:
    async with serving(pool, bus) as api:
        yield api


@pytest.fixture
async def engine(pool: AsyncEngine) -> AsyncIterator[Engine]:
    """A running engine, for sagas that letters are about."""
    engine = Engine(sessions(pool), Policy(), lambda _: None)
    running = asyncio.create_task(engine.run())
    yield engine
    running.cancel()
    await asyncio.wait([running])


def problem(answer: httpx2.Response, status: int) -> str:
    """The kind of problem of an answer that has to be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    kind: str = answer.json()["type"]
    return kind.removeprefix("urn:order-service:")


def order_json(order_id: UUID) -> bytes:
    """A body that names an order."""
    return f'{{"orderId": "{order_id}"}}'.encode()
