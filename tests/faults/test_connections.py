"""Connections to the database that the network has forgotten."""

import asyncio
import logging

import pytest
from sqlalchemy import text

from local.postgres import PrivatePostgres
from saga.runtime.database import connect
from tests.faults.place import through
from tests.faults.proxy import proxied


async def test_a_pool_is_closed_soon_and_without_a_word_although_the_database_is_silent(
    postgres: PrivatePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied(postgres.port) as proxy:
        pool = connect(
            postgres.url("postgres").replace(f":{postgres.port}/", f":{proxy.port}/"), connections=3, name="t"
        )
        used = [await pool.connect() for _ in range(3)]
        for connection in used:
            await connection.execute(text("SELECT 1"))
            await connection.close()
        proxy.stall()
        async with asyncio.timeout(4):
            await pool.dispose()
        proxy.resume()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_worker_that_hangs_in_the_middle_of_a_statement_does_not_keep_its_locks(
    postgres: PrivatePostgres, migrated: str
) -> None:
    async with proxied(postgres.port) as proxy:
        pool = connect(through(migrated, proxy), connections=1, name="hung", transaction_timeout="500")
        connection = await pool.connect()
        await connection.execute(text("LOCK TABLE orders"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        # the statement has been parsed and is not executed: neither idle nor running, as PostgreSQL sees it
        await driver.prepare("SELECT 1")
        proxy.mute_open()
        other = connect(migrated, connections=1, name="other", lock_timeout="5000")
        async with other.begin() as waiting:
            await waiting.execute(text("LOCK TABLE orders"))
        await other.dispose()
        driver.terminate()
        await connection.invalidate()
        await connection.close()
        await pool.dispose()
