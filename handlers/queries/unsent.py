"""What of an order has not left yet: its messages that are still in the outbox, and the clock. Queries only."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from models.tables import Outbox, table_of

_OUTBOX = table_of(Outbox)


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message that is not known to have arrived at RabbitMQ."""

    message_id: UUID
    exchange: str
    routing_key: str
    created_at: datetime
    lease_until: datetime
    """Until then one worker has it for itself; afterwards any worker takes it."""
    attempts: int
    """How often it was taken from the table, beyond the first time, straight after its commit."""
    last_error: str | None
    """Why it could not leave; None where nobody has failed yet."""


_FIELDS = [_OUTBOX.c[name] for name in Unsent.__slots__]
_OF_ORDER = select(*_FIELDS).where(_OUTBOX.c.order_id == bindparam("order_id", type_=Uuid())).subquery()
# the clock has a row of its own, whether anything waits or not
_UNSENT = (
    select(func.clock_timestamp().label("now"), _OF_ORDER)
    .select_from(select(literal_column("1")).subquery().outerjoin(_OF_ORDER, true()))
    .order_by(_OF_ORDER.c.created_at)
)


async def find_unsent(session: AsyncSession, order_id: UUID) -> tuple[list[Unsent], datetime]:
    """The messages of an order that wait to leave, the oldest first, and the database's time."""
    rows = (await session.execute(_UNSENT, {"order_id": order_id})).all()
    return [Unsent(*row[1:]) for row in rows if row.message_id], rows[0].now
