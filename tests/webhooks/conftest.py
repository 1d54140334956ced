"""An engine, endpoints and what is delivered to them, on a database of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.webhooks.service import Webhooks
from models.states import SUBSCRIBABLE
from saga.engine import Engine
from saga.runtime.database import Sessions, connect, sessions, statements
from saga.transitions import Signal
from saga.webhooks import client as sending
from saga.webhooks import endpoints
from saga.webhooks.client import Sender
from saga.webhooks.dispatcher import Courier
from saga.webhooks.endpoints import Endpoint
from saga.webhooks.retry import STANDARD
from saga.webhooks.secret_wrapping import Wrapping
from tests.engine.conftest import order_request, reply, running_engine
from tests.waiting import until
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.receiving import NOBODY_TRUSTED, Loopback

OWNER = "key:shop"
MOST_AT_ONCE = 10_000
TRACEPARENT = f"00-{'1' * 32}-{'2' * 16}-01"
HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)


class Place:
    """The database as a test sees it, and endpoints in it."""

    def __init__(self, pool: AsyncEngine) -> None:
        self.pool = pool
        self.sessions: Sessions = statements(pool)
        self.wrapping = Wrapping()

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.pool.connect() as connection:
            return list((await connection.execute(text(query), values)).mappings())

    async def value(self, query: str, **values: Any) -> Any:
        async with self.pool.connect() as connection:
            return (await connection.execute(text(query), values)).scalar()

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.pool.begin() as connection:
            await connection.execute(text(statement), values)

    async def subscribe(self, url: str = "https://shop.example/hooks", **changed: Any) -> tuple[Endpoint, str]:
        """An endpoint for everything, or for what is said, and its secret."""
        fields = {"owner": OWNER, "url": url, "events": SUBSCRIBABLE} | changed
        async with self.sessions() as session:
            return await endpoints.subscribe(session, self.wrapping, **fields)

    def webhooks(self) -> Webhooks:
        """What clients do; names are looked up by the system's resolver, and nothing leaves the machine."""
        sender = Sender(frozenset(), network=Loopback(), trust=NOBODY_TRUSTED)
        return Webhooks(sessions(self.pool), self.sessions, sender, lambda: None, self.wrapping)

    async def call(self, function: Any, *arguments: Any, **named: Any) -> Any:
        """One of the functions that take a session."""
        async with self.sessions() as session:
            return await function(session, *arguments, **named)

    async def deliveries(self, webhook_id: UUID | None = None) -> list[Any]:
        """Those of an endpoint, or all, in the order in which they were written."""
        wanted = "" if webhook_id is None else "WHERE webhook_id = :id"
        return await self.rows(
            f"SELECT * FROM webhook_deliveries {wanted} ORDER BY created_at, id",
            **({"id": webhook_id} if webhook_id else {}),
        )


@pytest.fixture
async def place(migrated: str) -> AsyncIterator[Place]:
    """The database."""
    pool = connect(migrated, connections=4, name="test")
    yield Place(pool)
    await pool.dispose()


@pytest.fixture
async def engine(migrated: str) -> AsyncIterator[Engine]:
    """A running engine."""
    async with running_engine(migrated, []) as engine:
        yield engine


async def happy(engine: Engine, **changed: Any) -> UUID:
    """An order that goes well."""
    order_id = (await engine.create(order_request(**changed))).order_id
    for signal in HAPPY:
        await engine.advance(reply(signal, order_id))
    return order_id


class System:
    """A place, a receiver, and couriers between them."""

    def __init__(self, place: Place, receiver: Receiver) -> None:
        self.place = place
        self.receiver = receiver

    async def endpoint(self, path: str = "/hooks", behaviour: str = "ok", **changed: Any) -> Endpoint:
        """An endpoint of the receiver, which knows its secret."""
        endpoint, secret = await self.place.subscribe(self.receiver.url(path), **changed)
        self.receiver.secrets[path] = [secret]
        self.receiver.behaviour[path] = behaviour
        return endpoint

    async def write(self, webhook_id: UUID, count: int = 1, due: str = "now()") -> None:
        """Deliveries, as the engine writes them."""
        while count > MOST_AT_ONCE:
            await self.write(webhook_id, MOST_AT_ONCE, due)
            count -= MOST_AT_ONCE
        await self.place.execute(
            "INSERT INTO webhook_deliveries"
            " (id, webhook_id, event_id, order_id, type, body, traceparent, status, next_attempt_at, created_at)"
            " SELECT gen_random_uuid(), :id, gen_random_uuid(), gen_random_uuid(), 'order.created',"
            f" convert_to('{{\"number\": ' || n || '}}', 'UTF8'), :traceparent, 'pending', {due}, clock_timestamp()"
            " FROM generate_series(1, :count) n",
            id=webhook_id,
            count=count,
            traceparent=TRACEPARENT,
        )

    async def until(self, condition: str, seconds: float = 10, **values: Any) -> None:
        """Wait until that is true in the database."""

        async def holds() -> bool:
            return bool(await self.place.value(f"SELECT {condition}", **values))

        await until(holds, seconds)

    async def until_all(self, status: str, seconds: float = 10) -> None:
        """Wait until every delivery is so."""
        await self.until("bool_and(status = :status) FROM webhook_deliveries", seconds, status=status)

    async def let_time_pass(self) -> None:
        """What is to be tried again later is due now."""
        await self.place.execute(
            "UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending' AND lease IS NULL"
        )

    def sender(self, kind: type[Sender] = Sender) -> Sender:
        """The real one; it may send to this receiver."""
        return kind(frozenset({("127.0.0.1", self.receiver.port)}))

    @asynccontextmanager
    async def courier(
        self, waits: Sequence[timedelta] = STANDARD, within: float = 15, sender: Sender | None = None
    ) -> AsyncIterator[Courier]:
        """A courier that runs as long as the block; the receiver has so many seconds to answer."""
        pool = connect(self.place.pool.url, connections=1, name="courier under test")
        sender = sender or self.sender()
        courier = Courier(sessions(pool), sender, waits, self.place.wrapping)
        task = asyncio.create_task(courier.run())
        try:
            with patch.object(sending, "WITHIN", timedelta(seconds=within)):
                yield courier
        finally:
            task.cancel()
            await asyncio.wait([task])
            await sender.close()
            await pool.dispose()
            if not task.cancelled():
                task.result()


@pytest.fixture
async def system(place: Place) -> AsyncIterator[System]:
    """A receiver beside the database."""
    async with receiving() as receiver:
        yield System(place, receiver)
