"""All SQL of the deliveries that people look at. Every function takes the caller's session; none begins or commits.

Whoever names an endpoint has found it before (`saga.webhooks.endpoints`), and so may deal with what is sent to it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Row,
    Uuid,
    bindparam,
    case,
    exists,
    func,
    null,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import DeliveryStatus, WebhookStatus, WebhookType
from models.tables import Webhook, WebhookDelivery, table_of
from saga.errors import UnknownDeliveryError, WebhookDisabledError
from saga.runtime.rows import Place, behind, changed
from saga.webhooks.disabling import PIECE

_WEBHOOKS, _DELIVERIES = table_of(Webhook), table_of(WebhookDelivery)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. Where many are listed, body and log stay where they are."""

    id: UUID
    webhook_id: UUID
    event_id: UUID
    """The `webhook-id` of every attempt."""
    order_id: UUID | None
    type: str
    status: str
    attempts: int
    """Since it was written, or since somebody had it delivered again."""
    last_status_code: int | None
    last_error: str | None
    last_seconds: float | None
    """How long the last attempt took."""
    last_excerpt: str | None
    """How the last answer began."""
    next_attempt_at: datetime | None
    """While it is being tried: when that is given up for lost."""
    created_at: datetime
    delivered_at: datetime | None
    body: bytes | None = None
    log: list[dict[str, Any]] | None = None
    """The last attempts, the latest last: `{at, statusCode, seconds, error, excerpt}`."""


_LAST: dict[str, ColumnElement[Any]] = {
    "last_seconds": _DELIVERIES.c.log[-1]["seconds"].astext.cast(Double()),
    "last_excerpt": _DELIVERIES.c.log[-1]["excerpt"].astext,
}
_WHOLE: list[ColumnElement[Any]] = [
    _LAST[name].label(name) if name in _LAST else _DELIVERIES.c[name] for name in Delivery.__slots__
]
_BRIEF = _WHOLE[:-2]


async def list_deliveries(
    session: AsyncSession,
    webhook_id: UUID,
    limit: int,
    after: Place | None = None,
    status: DeliveryStatus | None = None,
) -> list[Delivery]:
    """An endpoint's deliveries, newest first, behind the one that `after` names."""
    query = select(*_BRIEF).where(_DELIVERIES.c.webhook_id == webhook_id)
    if status:
        # written out: partial indexes are found by it
        query = query.where(_DELIVERIES.c.status == status.value)
    if after:
        query = query.where(behind(after, _DELIVERIES.c.created_at, _DELIVERIES.c.id))
    newest = query.order_by(_DELIVERIES.c.created_at.desc(), _DELIVERIES.c.id.desc()).limit(limit)
    return [_delivery(row) for row in await session.execute(newest)]


async def find_delivery(session: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """One delivery with all that it has.

    Raises:
        UnknownDeliveryError: the endpoint has none of that id.
    """
    query = select(*_WHOLE).where(_DELIVERIES.c.id == delivery_id, _DELIVERIES.c.webhook_id == webhook_id)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise UnknownDeliveryError(delivery_id)
    return _delivery(row)


_TAKES = exists().where(
    _WEBHOOKS.c.id == _DELIVERIES.c.webhook_id,
    _WEBHOOKS.c.status == WebhookStatus.ENABLED.value,
    _WEBHOOKS.c.deleted_at.is_(None),
)
_AFRESH = (
    update(_DELIVERIES)
    .where(_TAKES)
    .values(
        status=DeliveryStatus.PENDING,
        attempts=0,
        next_attempt_at=func.clock_timestamp(),
        lease=null(),
        delivered_at=null(),
    )
)
_REDELIVER = _AFRESH.where(
    _DELIVERIES.c.id == bindparam("delivery_id"), _DELIVERIES.c.webhook_id == bindparam("of")
)  # fmt: skip


async def redeliver(session: AsyncSession, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Deliver it again, whatever became of it, from the first attempt on, with the same `webhook-id`.

    Raises:
        UnknownDeliveryError: the endpoint has none of that id.
        WebhookDisabledError: the endpoint is disabled.
    """
    found = await changed(session, _REDELIVER, {"delivery_id": delivery_id, "of": webhook_id})
    await end_rest(session, webhook_id)
    delivery = await find_delivery(session, webhook_id, delivery_id)
    if not found:
        raise WebhookDisabledError(webhook_id)
    return delivery


MOST_PENDING, MOST_PENDING_OF_PERSON = 100_000, 5_000
"""Deliveries that may wait for one endpoint of a service's key, and of a person."""
_MOST = case(
    (_WEBHOOKS.c.owner.startswith("user:"), bindparam("of_person", type_=Integer())),
    else_=bindparam("most", type_=Integer()),
)
_PENDING = (
    select(func.count())
    .select_from(_DELIVERIES)
    .where(_DELIVERIES.c.webhook_id == _WEBHOOKS.c.id, _DELIVERIES.c.status == DeliveryStatus.PENDING.value)
    .correlate(_WEBHOOKS)
    .scalar_subquery()
)
_ROOM = select(_MOST - _PENDING).where(_WEBHOOKS.c.id == bindparam("of", type_=Uuid()))
_FAILED_SINCE = (
    select(_DELIVERIES.c.id)
    .where(
        _DELIVERIES.c.webhook_id == bindparam("of", type_=Uuid()),
        _DELIVERIES.c.status == DeliveryStatus.FAILED.value,
        _DELIVERIES.c.created_at >= bindparam("since", type_=DateTime(timezone=True)),
        _DELIVERIES.c.type != WebhookType.PING.value,
    )
    .order_by(_DELIVERIES.c.created_at, _DELIVERIES.c.id)
    .limit(bindparam("piece", type_=Integer()))
    .with_for_update(skip_locked=True)
    # WITH runs once; a subquery in IN may run once for each row, and each time pick others
    .cte("failed")
)
_REDELIVER_FAILED = _AFRESH.where(_DELIVERIES.c.id.in_(select(_FAILED_SINCE.c.id)))


async def redeliver_failed(session: AsyncSession, webhook_id: UUID, since: datetime) -> int:
    """Deliver again what was written since then and has failed, the oldest first, pings aside; returns how many.

    They are no more than may wait for the endpoint; what has no room stays failed.

    Args:
        session: in which every statement is a transaction of its own: it may be many, and they go in pieces.
        webhook_id: the endpoint; where it is disabled nothing is done.
        since: what was written before stays as it is.
    """
    caps = {"most": MOST_PENDING, "of_person": MOST_PENDING_OF_PERSON}
    room: int = max((await session.execute(_ROOM, {"of": webhook_id} | caps)).scalar_one(), 0)
    left = room
    while piece := min(left, PIECE):
        found = await changed(session, _REDELIVER_FAILED, {"of": webhook_id, "since": since, "piece": piece})
        left -= found
        if found < piece:
            break
    await end_rest(session, webhook_id)
    return room - left


async def end_rest(session: AsyncSession, webhook_id: UUID) -> None:
    """Let what waits for it be sent now, though it has asked to be left alone: a person knows better."""
    resting = _WEBHOOKS.c.resting_until.is_not(None)
    await session.execute(update(_WEBHOOKS).where(_WEBHOOKS.c.id == webhook_id, resting).values(resting_until=null()))


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(*row)
