"""All SQL of the outbox. Every function takes the caller's session; none begins, commits or decides anything."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Interval, Text, Uuid, any_, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.tables import Outbox, table_of
from saga.outbox.message import Envelope

_OUTBOX = table_of(Outbox)
_IDS = bindparam("ids", type_=ARRAY(Uuid()))
_KEYS = bindparam("keys", type_=ARRAY(Text()))


async def enqueue(session: AsyncSession, envelopes: Sequence[Envelope]) -> None:
    """Write the messages that a decision asks for."""
    await session.execute(
        insert(_OUTBOX),
        [{name: getattr(envelope, name) for name in Envelope.__slots__} for envelope in envelopes],
    )


async def remove_published(session: AsyncSession, ids: Iterable[UUID]) -> None:
    """Delete the rows of messages that the broker has confirmed (I10)."""
    await session.execute(delete(_OUTBOX).where(_OUTBOX.c.id == any_(_IDS)), {"ids": list(ids)})


_DUE = (
    select(_OUTBOX.c.id)
    .where(_OUTBOX.c.lease_until <= func.clock_timestamp())
    .order_by(_OUTBOX.c.lease_until)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    # a subquery in IN may run once for each row, and each time pick others: WITH runs once, and the limit is one
    .cte("due")
)
_CLAIM = (
    update(_OUTBOX)
    .where(_OUTBOX.c.id.in_(select(_DUE.c.id)))
    .values(lease_until=func.clock_timestamp() + bindparam("lease", type_=Interval()), attempts=_OUTBOX.c.attempts + 1)
    .returning(*(_OUTBOX.c[name] for name in Envelope.__slots__))
)


async def claim_overdue(session: AsyncSession, lease: timedelta, limit: int) -> list[Envelope]:
    """Take over messages whose lease has run out: what a crash, an outage or a missing queue left behind.

    Rows that another worker is claiming are passed over.
    """
    rows = await session.execute(_CLAIM, {"lease": lease, "limit": limit})
    return [Envelope(*row) for row in rows]


_POSTPONE = (
    update(_OUTBOX)
    .where(_OUTBOX.c.id == bindparam("envelope_id"))
    .values(lease_until=func.clock_timestamp() + bindparam("wait", type_=Interval()), last_error=bindparam("error"))
)
_BRING_FORWARD = (
    update(_OUTBOX)
    .where(_OUTBOX.c.routing_key == any_(_KEYS), _OUTBOX.c.last_error == bindparam("error"))
    .values(lease_until=func.clock_timestamp())
)


async def postpone(session: AsyncSession, failures: Iterable[tuple[UUID, str, timedelta]]) -> None:
    """Let go of messages that could not be published: id, why, and when any worker may try them again."""
    rows = [{"envelope_id": id_, "error": error, "wait": wait} for id_, error, wait in failures]
    await session.execute(_POSTPONE, rows)


_RELEASE = (
    update(_OUTBOX)
    .where(_OUTBOX.c.id == bindparam("envelope_id"), _OUTBOX.c.lease_until == bindparam("lease"))
    .values(lease_until=func.clock_timestamp())
)


async def release_if_leased(session: AsyncSession, envelopes: Iterable[Envelope]) -> None:
    """End the leases that these were claimed under; what somebody else has claimed since is left to them."""
    rows = [{"envelope_id": envelope.id, "lease": envelope.lease_until} for envelope in envelopes]
    await session.execute(_RELEASE, rows)


async def bring_forward(session: AsyncSession, routing_keys: Iterable[str], error: str) -> None:
    """Make the messages of these keys due now that waited because of this error."""
    await session.execute(_BRING_FORWARD, {"keys": list(routing_keys), "error": error})
