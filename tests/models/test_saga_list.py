"""The list of sagas costs the same however many have ended: every filter finds its index."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.queries.sagas import Filter, query
from models.states import CurrentStep, SagaStatus
from tests.models.conftest import MANY

USER = UUID(int=5)
S, C = SagaStatus, CurrentStep

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
