"""A claim takes no more than it may, however PostgreSQL goes about it."""

from datetime import timedelta

from saga.outbox.store import claim_overdue
from saga.runtime.database import sessions
from tests.databases import connect_looping
from tests.relay.conftest import Outbox, envelope, lease_over


async def test_no_more_than_the_limit_is_claimed_whatever_the_plan(migrated: str, outbox: Outbox) -> None:
    await outbox.write(*(envelope(lease_until=lease_over()) for _ in range(40)))
    pool = connect_looping(migrated)
    async with sessions(pool)() as session, session.begin():
        claimed = await claim_overdue(session, timedelta(seconds=30), 7)
    await pool.dispose()
    assert len(claimed) == 7
    assert sum(row["attempts"] for row in await outbox.rows()) == 7
