"""What of an order waits to leave is found at the same cost, whatever else does."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.queries.unsent import find_unsent
from saga.outbox import store as outbox_store
from saga.runtime.database import connect, sessions
from tests.relay.conftest import envelope

MANY = 5_000


async def test_the_messages_of_an_order_are_found_by_its_index_with_the_time(migrated: str) -> None:
    engine, order_id, told = connect(migrated, connections=1, name="test"), uuid4(), list[str]()
    now = datetime.now(UTC)
    mine = [envelope(order_id=order_id, created_at=now + timedelta(seconds=number)) for number in (1, 0)]
    async with sessions(engine)() as session, session.begin():
        await outbox_store.enqueue(session, [*mine, *(envelope() for _ in range(MANY))])
    async with sessions(engine)() as session:
        await session.execute(text("ANALYZE outbox"))
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *call: told.append(call[2]))
        found, time = await find_unsent(session, order_id)
        nothing, _ = await find_unsent(session, uuid4())
        plan = await _plan(session, told[0], order_id)
    await engine.dispose()
    assert [one.message_id for one in found] == [mine[1].message_id, mine[0].message_id]
    assert abs(time - now) < timedelta(minutes=1)
    assert nothing == []
    assert "ix_outbox_order_id" in plan, plan


async def _plan(session: AsyncSession, statement: str, order_id: UUID) -> str:
    asked = statement.replace("$1::UUID", f"'{order_id}'::uuid")
    return "\n".join((await (await session.connection()).exec_driver_sql(f"EXPLAIN {asked}")).scalars())
