"""An engine on a database of its own; what it would publish is collected."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.messages import money_text
from saga.arrivals import OrderRequest
from saga.domain import Event, Policy
from saga.engine import Engine
from saga.outbox.message import Envelope
from saga.runtime.database import connect, sessions
from saga.transitions import Signal

POLICY = Policy()


def order_request(price: str = "1299.99", quantity: int = 1, **changed: Any) -> OrderRequest:
    """A request like no other."""
    amount = Decimal(price)
    item = {"productId": str(uuid4()), "productName": "Laptop", "quantity": quantity, "price": money_text(amount)}
    fields: dict[str, Any] = {
        "identity": f"event:{uuid4()}",
        "order_id": uuid4(),
        "chosen": False,
        "user_id": uuid4(),
        "items": [item],
        "total_amount": amount * quantity,
    }
    return OrderRequest(**fields | changed)


def reply(signal: Signal, order_id: UUID, **changed: Any) -> Event:
    """A participant's reply like no other."""
    return Event(signal, order_id, **({"event_id": uuid4()} | changed))


@dataclass
class Database:
    """What a test asks the database, and what it saw the engine ask."""

    engine: AsyncEngine
    statements: list[str] = field(default_factory=list)

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(query), values)).mappings())

    async def value(self, query: str, **values: Any) -> Any:
        async with self.engine.connect() as connection:
            return (await connection.execute(text(query), values)).scalar()


@pytest.fixture
async def database(migrated: str) -> AsyncIterator[Database]:
    """The database that the engine works on, seen from beside it."""
    engine = connect(migrated, connections=4, name="test")
    yield Database(engine)
    await engine.dispose()


@asynccontextmanager
async def running_engine(
    url: str, published: list[Envelope], policy: Policy = POLICY, *, lock_timeout: str = "5000"
) -> AsyncIterator[Engine]:
    """An engine that runs as long as the block; it waits so many milliseconds for a lock."""
    pool = connect(url, connections=1, name="engine under test", lock_timeout=lock_timeout)
    engine = Engine(sessions(pool), policy, published.extend)
    task = asyncio.create_task(engine.run())
    yield engine
    task.cancel()
    await asyncio.wait([task])
    await pool.dispose()


@pytest.fixture
def published() -> list[Envelope]:
    """What the engine handed over, in order."""
    return []


@pytest.fixture
async def engine(migrated: str, published: list[Envelope]) -> AsyncIterator[Engine]:
    """A running engine."""
    async with running_engine(migrated, published) as engine:
        yield engine


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The statements of the engine's transactions, COMMITs included, as they are sent."""
    seen: list[str] = []
    pool = engine._sessions.kw["bind"].sync_engine

    def statement(_c: Any, _cursor: Any, sql: str, *_: Any) -> None:
        seen.append(" ".join(sql.split()[:3]))

    def commit(_c: Any) -> None:
        seen.append("COMMIT")

    event.listen(pool, "before_cursor_execute", statement)
    event.listen(pool, "commit", commit)
    yield seen
    event.remove(pool, "before_cursor_execute", statement)
    event.remove(pool, "commit", commit)
