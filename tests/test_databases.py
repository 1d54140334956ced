"""A database that is used again is as good as new, or it is not used again."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from local.postgres import PrivatePostgres
from tests.databases import MOST_BYTES, Databases

ORDER = "INSERT INTO orders VALUES (gen_random_uuid(), gen_random_uuid(), 'Pending', '[]', 1, now())"


@pytest.fixture
def own(postgres: PrivatePostgres) -> Iterator[Databases]:
    """Databases of this test alone: what it gives back is what it gets next."""
    with Databases(postgres) as own:
        yield own


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        connection.terminate()


async def test_what_was_written_is_gone_and_whoever_was_connected_is_cut(own: Databases, template: str) -> None:
    first = own.copy(template)
    async with connected(first) as left_behind:
        await left_behind.execute(f"{ORDER}; BEGIN; {ORDER}")
        own.give_back(first)
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError)):
            await left_behind.execute("COMMIT")
    assert own.copy(template) == first
    async with connected(first) as connection:
        assert await connection.fetchval("SELECT count(*) FROM orders") == 0
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE orders ADD COLUMN colour text",
        "ALTER TABLE orders ALTER COLUMN status SET DEFAULT 'Pending'",
        "ALTER TABLE orders DROP CONSTRAINT ck_orders_status",
        "DROP INDEX ix_orders_created_at",
        "CREATE TABLE more (n int)",
        "CREATE RULE none AS ON INSERT TO orders DO INSTEAD NOTHING",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    ],
)
async def test_a_database_that_was_changed_is_not_used_again(own: Databases, template: str, change: str) -> None:
    first = own.copy(template)
    async with connected(first) as connection:
        await connection.execute(change)
    own.give_back(first)
    assert not own._free


async def test_a_database_that_was_filled_is_not_used_again(own: Databases, template: str) -> None:
    first = own.copy(template)
    async with connected(first) as connection:
        many = ORDER.replace("VALUES (", "SELECT ").removesuffix(")")
        await connection.execute(f"{many} FROM generate_series(1, {MOST_BYTES // 100})")
    own.give_back(first)
    assert not own._free


async def test_a_database_whose_connection_was_cut_is_not_used_again(own: Databases, template: str) -> None:
    first = own.copy(template)
    async with connected(first) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    own.give_back(first)
    assert not own._free


def test_a_server_that_was_started_again_is_connected_to_again(home: Path) -> None:
    with PrivatePostgres(home / "again", durable=False) as server, Databases(server) as own:
        own.drop(own.create())
        server.kill()
        server.start()
        own.drop(own.create())
