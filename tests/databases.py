"""Databases for tests in a millisecond each: over connections that stay open, and used again once they are empty."""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from local.postgres import PrivatePostgres
from saga.runtime.database import connect

T = TypeVar("T")

# What a changed schema, a new trigger or an altered setting leaves in the catalog, be it only a higher `xmin`.
SHAPE = " UNION ALL ".join(
    f"SELECT count(*), max(xmin::text::bigint) FROM {catalog}"
    for catalog in ("pg_class", "pg_attrdef", "pg_constraint", "pg_trigger", "pg_rewrite", "pg_db_role_setting")
)
TABLES = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
BYTES = f"SELECT sum(pg_total_relation_size(name::regclass)) FROM ({TABLES}) AS tables (name)"
CUT_OTHERS = (
    "SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
# A copy that a test has filled more than this is thrown away: what is left behind would slow down the next test.
MOST_BYTES = 2_000_000


@dataclass
class Copy:
    """A copy of the template that can be used again."""

    name: str
    connection: Any
    shape: list[Any]


def connect_looping(url: str | URL) -> AsyncEngine:
    """A pool whose plans are nested loops alone: what a planner may choose that knows nothing of a table yet."""
    return connect(
        url,
        connections=1,
        name="test",
        enable_hashjoin="off",
        enable_mergejoin="off",
        enable_hashagg="off",
        enable_sort="off",
        enable_material="off",
    )


class Databases:
    """Makes databases, inside an event loop or not.

    CREATE DATABASE copies 8 MB of catalogs and takes 30 to 200 ms of CPU, a row deleted from each table of the service
    a fraction of one. So copies of the template are used again: after every test all other sessions are cut and
    all rows deleted. A copy is dropped instead if its schema was touched, if much was written, or if any of this fails.
    """

    def __init__(self, server: PrivatePostgres) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="databases")
        self._runner = asyncio.Runner()
        self._admin: Any = None
        self._free: list[Copy] = []
        self._used: dict[str, Copy] = {}

    def create(self) -> str:
        """The address of an empty database of its own."""
        name = f"test_{uuid4().hex}"
        self._run(self._execute(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY'))
        return self._server.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, its open sessions cut."""
        self._run(self._drop(_name(url)))

    def copy(self, template: str) -> str:
        """The address of a database that equals the template, of which there is only one."""
        copy = self._free.pop() if self._free else self._run(self._copy(template))
        self._used[copy.name] = copy
        return self._server.url(copy.name)

    def give_back(self, url: str) -> None:
        """Empty a copy for the next test, or drop it if it is no longer like the template."""
        copy = self._used.pop(_name(url))
        if self._run(self._emptied(copy)):
            self._free.append(copy)
        else:
            self._run(self._thrown_away(copy))

    @contextmanager
    def lent(self, template: str) -> Iterator[str]:
        """The address of a copy, as long as the block lasts."""
        url = self.copy(template)
        yield url
        self.give_back(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let go of the server, which is thrown away with all databases."""
        self._run(self._close())
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.submit(self._runner.run, work).result()

    async def _execute(self, statement: str) -> None:
        try:
            self._admin = self._admin or await self._connect("postgres")
            await self._admin.execute(statement)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            # the server was started again since
            self._admin = await self._connect("postgres")
            await self._admin.execute(statement)

    async def _connect(self, name: str) -> Any:
        return await asyncpg.connect(self._server.url(name, driver="postgresql"))

    async def _drop(self, name: str) -> None:
        await self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _copy(self, template: str) -> Copy:
        name = f"copy_{uuid4().hex}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        connection = await self._connect(name)
        # all rows go, so no reference need be checked
        await connection.execute("SET session_replication_role = replica")
        return Copy(name, connection, await connection.fetch(SHAPE))

    async def _thrown_away(self, copy: Copy) -> None:
        copy.connection.terminate()
        await self._drop(copy.name)

    async def _close(self) -> None:
        for connection in (self._admin, *(copy.connection for copy in (*self._free, *self._used.values()))):
            if connection is not None:
                connection.terminate()

    async def _emptied(self, copy: Copy) -> bool:
        """Whether the copy is like new."""
        try:
            if await copy.connection.fetchval(CUT_OTHERS) is False or await copy.connection.fetch(SHAPE) != copy.shape:
                return False
            if await copy.connection.fetchval(BYTES) > MOST_BYTES:
                return False
            tables = {row[0] for row in await copy.connection.fetch(TABLES)} - {"alembic_version"}
            await copy.connection.execute("".join(f"DELETE FROM {table};" for table in sorted(tables)))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # the test has cut this connection, or the whole server
            return False
        return True


def _name(url: str) -> str:
    return url.rpartition("/")[2]
