"""A database with many sagas, for asking what looking for some of them costs."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from saga.runtime.database import connect

MANY = 20_000

_MANY_ORDERS = """
INSERT INTO orders (id, user_id, status, items, total_amount, created_at)
SELECT md5('o' || n)::uuid, lpad((n % 1000)::text, 32, '0')::uuid, 'Confirmed', '[]', 1,
       now() - n * interval '1 second'
FROM generate_series(1, :many) AS n
"""
# of a thousand, five have not ended, five failed, and two more are incidents
_MANY_SAGAS = """
INSERT INTO order_sagas (id, order_id, status, current_step, open_command, history, created_at, completed_at,
                         updated_at, entered_at, table_version, sent, timer, due_at, incident, cancel_requested,
                         traceparent)
SELECT md5('s' || n)::uuid, md5('o' || n)::uuid, status, step, command, '[]', at, CASE WHEN command IS NULL THEN at END,
       at, at, 1, '{}', CASE WHEN command IS NOT NULL THEN 'reply' END, CASE WHEN command IS NOT NULL THEN at END,
       CASE WHEN n % 500 = 3 THEN '{"kind": "contradiction"}'::jsonb END, false, ''
FROM (
    SELECT n, now() - n * interval '1 second' AS at,
           CASE WHEN n % 200 = 1 THEN 'InProgress' WHEN n % 200 = 2 THEN 'Failed' ELSE 'Completed' END AS status,
           CASE WHEN n % 200 = 1 THEN 'ProcessPayment' WHEN n % 200 = 2 THEN 'Failed' ELSE 'Completed' END AS step,
           CASE WHEN n % 200 = 1 THEN 'ProcessPayment' END AS command
    FROM generate_series(1, :many) AS n
) AS made
"""


@pytest.fixture
async def many(migrated: str) -> AsyncIterator[AsyncEngine]:
    """A database with many sagas, nearly all of which have ended well."""
    # so many rows take longer than a statement of the service may
    engine = connect(migrated, connections=1, name="test", command_timeout=None, statement_timeout="0")
    async with engine.begin() as connection:
        await connection.execute(text(_MANY_ORDERS), {"many": MANY})
        await connection.execute(text(_MANY_SAGAS), {"many": MANY})
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
    yield engine
    await engine.dispose()
