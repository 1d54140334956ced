"""An engine, endpoints and what is delivered to them, on a database of its own."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.states import SUBSCRIBABLE
from saga.cells import Signal
from saga.database import Sessions, connect, statements
from saga.engine import Engine
from saga.webhooks import endpoints
from saga.webhooks.endpoints import Endpoint
from tests.engine.conftest import order_request, reply, running_engine

OWNER = "key:shop"
HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)


class Place:
    """The database as a test sees it, and endpoints in it."""

    def __init__(self, pool: AsyncEngine) -> None:
        self.pool = pool
        self.sessions: Sessions = statements(pool)

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
            return await endpoints.subscribe(session, **fields)

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
