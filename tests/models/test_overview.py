"""How the whole stands is told at the same cost however many sagas have ended."""

import re
from datetime import timedelta

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.queries.overview import look
from saga.runtime.database import statements
from tests.models.conftest import MANY


async def test_a_look_at_the_whole_goes_along_partial_indexes_and_counts_right(many: AsyncEngine) -> None:
    told: list[str] = []
    event.listen(many.sync_engine, "before_cursor_execute", lambda *call: told.append(call[2]))
    async with statements(many)() as session:
        overview = await look(session, timedelta(seconds=MANY / 2))
    assert overview.unfinished == MANY // 200
    assert overview.timed_out == MANY // 400
    assert overview.incidents == {"contradiction": MANY // 500}
    assert overview.oldest_unfinished is not None
    assert overview.oldest_unfinished > timedelta(seconds=MANY - 200)
    assert (overview.outbox, overview.outbox_oldest, overview.dead_letters, overview.unroutable) == (0, None, {}, {})

    looks = [statement for statement in told if statement.startswith("SELECT")]
    assert len(looks) == 4
    async with many.connect() as connection:
        for statement in looks:
            asked = re.sub(r"\$\d+::INTEGER", "100000", re.sub(r"\$\d+::INTERVAL", "interval '1 h'", statement))
            asked = re.sub(r"\$\d+::(VARCHAR|TEXT)", "'kind'", asked)
            plan = "\n".join((await connection.exec_driver_sql(f"EXPLAIN {asked}")).scalars())
            assert "Seq Scan on order" not in plan, plan
