"""The HTTP API under the real server, on a real PostgreSQL; the engine that moves the sagas is another one's."""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from fastapi import Request, WebSocket
from sqlalchemy import event, text

from handlers.http.shutdown import Endable
from handlers.live.snapshots import Snapshot
from handlers.live.streams import Follower
from local.postgres import PrivatePostgres
from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import connect, sessions
from saga.transitions import Signal
from tests.faults.place import through
from tests.faults.proxy import Proxy, proxied
from tests.http.conftest import Service, homeless, listening, policy, running, serving  # noqa: F401 - fixtures
from tests.live.following import long_history
from tests.service import PROJECT
from tests.waiting import until

HANDLERS = str(PROJECT / "handlers")


@dataclass
class Live:
    """What a test calls and looks at."""

    url: str
    app: Endable
    here: Service
    """The instance whose clients follow."""
    elsewhere: Service
    """The one that does all the work."""
    proxy: Proxy
    """Between the former and the database."""
    statements: list[str]
    """What it has asked the database so far."""

    async def place(self) -> str:
        return str((await self.elsewhere.place())["id"])

    async def happen(self, order_id: str, *signals: Signal) -> None:
        """Let these messages come, and be dealt with by the instance where nobody follows."""
        await self.elsewhere.happen(order_id, *signals)

    async def change(self, order_id: str, **columns: Any) -> None:
        """Change the row of a saga, as any other program could."""
        words = ", ".join(f"{name} = :{name}" for name in columns)
        async with self.elsewhere.sessions() as session, session.begin():
            update = f"UPDATE order_sagas SET {words}, updated_at = clock_timestamp() WHERE order_id = :id"
            await session.execute(text(update), columns | {"id": UUID(order_id)})

    async def grow(self, order_id: str, number: int, size: int) -> None:
        """Let something happen to a saga that takes that much room."""
        async with self.elsewhere.sessions() as session, session.begin():
            update = (
                "UPDATE order_sagas SET history = CAST(:history AS jsonb), updated_at = clock_timestamp()"
                " WHERE order_id = :id"
            )
            await session.execute(text(update), {"history": long_history(number, size), "id": UUID(order_id)})

    async def nobody_follows(self) -> None:
        """Return when all clients are gone, and nothing is done for them any more."""

        async def empty() -> bool:
            return len(self.here.followers) == len(self.here.watch) == len(_at_work()) == 0

        await until(empty)


def _at_work() -> list[Any]:
    """What of the handlers runs by itself."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [one for one in coroutines if inspect.iscoroutine(one) and one.cr_code.co_filename.startswith(HANDLERS)]


def left_behind(order_id: str) -> list[Any]:
    """All that there is in this process of clients who follow, and of their requests for this order."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Follower | Snapshot) or _asks_for(one, order_id)]


def _asks_for(one: object, order_id: str) -> bool:
    return isinstance(one, WebSocket | Request) and order_id in one.scope.get("path", "")


@pytest.fixture
async def proxy(postgres: PrivatePostgres) -> AsyncIterator[Proxy]:
    """The network between the database and the instance whose clients follow."""
    async with proxied(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def live(migrated: str, proxy: Proxy) -> AsyncIterator[Live]:
    """Two instances on one database; clients can connect to the one that has no engine."""
    pool = connect(through(migrated, proxy), connections=5, name="tests here", checked=True)
    patience = Policy()
    statements: list[str] = []
    event.listen(pool.sync_engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    idle = Engine(sessions(pool), patience, lambda _: None)
    async with (
        running(migrated, patience) as elsewhere,
        serving(idle, sessions(pool), patience) as here,
        listening(app := Endable(here.app)) as url,
    ):
        yield Live(url, app, here, elsewhere, proxy, statements)
        here.stop()
    await pool.dispose()
