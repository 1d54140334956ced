"""A relay between a database and a virtual host of its own, and a listener at the other end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.publisher import Bus
from saga.outbox import store as outbox_store
from saga.outbox.message import EXCHANGE, LEASE, Envelope
from saga.outbox.relay import Relay
from saga.runtime.database import connect, sessions, statements
from tests.waiting import until


def envelope(routing_key: str = "domain.order.OrderCreated", **changed: Any) -> Envelope:
    """A message like no other."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": uuid4(),
        "message_id": uuid4(),
        "exchange": EXCHANGE,
        "routing_key": routing_key,
        "order_id": uuid4(),
        "saga_id": uuid4(),
        "body": b'{"some": "body"}',
        "traceparent": f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
        "created_at": now,
        "lease_until": now + LEASE,
    }
    return Envelope(**fields | changed)


class Outbox:
    """The outbox as a test sees it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sessions = sessions(engine)

    async def write(self, *envelopes: Envelope) -> None:
        """What the engine's transaction does."""
        async with self._sessions() as session, session.begin():
            await outbox_store.enqueue(session, envelopes)

    async def rows(self) -> list[Any]:
        async with self._engine.connect() as connection:
            return list((await connection.execute(text("SELECT * FROM outbox ORDER BY created_at"))).mappings())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def until_empty(self) -> None:
        """Wait until every row is gone."""

        async def empty() -> bool:
            return not await self.rows()

        await until(empty)


class Listener:
    """A queue somewhere else, bound to what the service publishes."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self.messages: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def bind(self, *routing_keys: str, exchange: str = EXCHANGE) -> None:
        """Declare a queue and bind it."""
        source = await self._channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await self._channel.declare_queue(exclusive=True)
        for key in routing_keys:
            await queue.bind(source, key)
        await queue.consume(self.messages.put, no_ack=True)

    async def listen_to(self, queue: str) -> None:
        """Take what waits in a queue of the service."""
        await (await self._channel.get_queue(queue)).consume(self.messages.put, no_ack=True)

    async def next(self) -> AbstractIncomingMessage:
        """The next message."""
        async with asyncio.timeout(30):
            return await self.messages.get()


@pytest.fixture
async def pool(migrated: str) -> AsyncIterator[AsyncEngine]:
    """Connections of the test's own."""
    engine = connect(migrated, connections=3, name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
def outbox(pool: AsyncEngine) -> Outbox:
    """The outbox table."""
    return Outbox(pool)


@pytest.fixture
async def listener(vhost: str) -> AsyncIterator[Listener]:
    """Somebody at the other end; bound to nothing yet."""
    async with await aio_pika.connect(vhost) as connection:
        yield Listener(await connection.channel())


@asynccontextmanager
async def running_relay(pool: AsyncEngine, url: str) -> AsyncIterator[Relay]:
    """A relay that runs as long as the block."""
    bus = Bus(url)
    relay = Relay(statements(pool), bus)
    task = asyncio.create_task(relay.run())
    yield relay
    task.cancel()
    await asyncio.wait([task])
    await bus.close()


@pytest.fixture
async def relay(pool: AsyncEngine, vhost: str) -> AsyncIterator[Relay]:
    """A running relay."""
    async with running_relay(pool, vhost) as relay:
        yield relay


def lease_over() -> datetime:
    """A lease that has run out."""
    return datetime.now(UTC) - timedelta(seconds=1)
