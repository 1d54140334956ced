"""The list of sagas costs the same however many have ended: every filter finds its index."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from models.states import CurrentStep, SagaStatus
from saga.database import connect
from saga.listing import Filter, query

MANY = 20_000
USER = UUID(int=5)
S, C = SagaStatus, CurrentStep

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
    engine = connect(migrated, connections=1, name="test")
    async with engine.begin() as connection:
        await connection.execute(text(_MANY_ORDERS), {"many": MANY})
        await connection.execute(text(_MANY_SAGAS), {"many": MANY})
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
    yield engine
    await engine.dispose()


FILTERS = {
    "ix_orders_created_at": [
        Filter(),
        Filter(status=S.COMPLETED),
        Filter(step=C.COMPLETED),
        Filter(incident=False),
        Filter(older_than=timedelta(hours=1)),
    ],
    "ix_order_sagas_unfinished": [
        Filter(status=S.STARTED),
        Filter(status=S.IN_PROGRESS),
        Filter(status=S.COMPENSATING),
        Filter(step=C.PROCESS_PAYMENT),
        Filter(status=S.IN_PROGRESS, step=C.PROCESS_PAYMENT, incident=False, older_than=timedelta(hours=1)),
    ],
    "ix_order_sagas_undone": [Filter(status=S.FAILED), Filter(status=S.COMPENSATED), Filter(step=C.FAILED)],
    "ix_order_sagas_incident": [
        Filter(incident=True),
        Filter(incident=True, older_than=timedelta(hours=1)),
        Filter(incident=True, status=S.COMPLETED),
    ],
    "ix_orders_user_id_created_at": [Filter(user_id=USER), Filter(user_id=USER, incident=True)],
}


async def test_every_filter_finds_its_index_whatever_the_page(many: AsyncEngine) -> None:
    behind = datetime.now(UTC) - timedelta(seconds=MANY / 2), UUID(int=0)
    async with many.connect() as connection:
        for index, filters in FILTERS.items():
            for wanted in filters:
                for after in (None, behind):
                    statement = query(wanted, 21, after).compile(
                        dialect=many.dialect, compile_kwargs={"literal_binds": True}
                    )
                    plan = "\n".join((await connection.execute(text(f"EXPLAIN {statement}"))).scalars())
                    assert "Seq Scan" not in plan, f"{wanted}\n{plan}"
                    assert index in plan, f"{wanted}\n{plan}"
