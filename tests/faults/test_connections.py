"""Connections to the database that the network has forgotten."""

import asyncio
import logging

import pytest
from sqlalchemy import text

from local.postgres import PrivatePostgres
from saga.database import connect
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
