"""How the whole stands: what has not ended, what needs a person, what waits to leave. Queries only.

Every one goes along a partial index or through a table that is small when all is well, and none counts beyond `MOST`:
what a look costs depends neither on how many sagas have ended nor on how much has gathered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import DeliveryStatus, Timer
from models.tables import DeadLetter, OrderSaga, Outbox, Webhook, WebhookDelivery, table_of
from saga.outbox.publisher import UNROUTABLE

MOST = 100_000
"""As far as anything is counted."""


_SAGAS, _OUTBOX, _LETTERS = table_of(OrderSaga), table_of(Outbox), table_of(DeadLetter)
_WEBHOOKS, _DELIVERIES = table_of(Webhook), table_of(WebhookDelivery)


@dataclass(frozen=True, slots=True)
class Overview:
    """One look at it. Counts stop at `MOST`; None where there is nothing that could have an age."""

    unfinished: int
    timed_out: int
    """Unfinished, and older than a saga should be."""
    oldest_unfinished: timedelta | None
    incidents: Mapping[str, int]
    """By kind."""
    parked: int
    """Of those, the ones whose open command nobody answered, as often as it was sent."""
    outbox: int
    outbox_oldest: timedelta | None
    """Of those that a queue would take."""
    webhooks_undelivered: int
    """Deliveries of webhooks that wait, or are under way."""
    webhook_oldest: timedelta | None
    """Of those."""
    webhooks_disabled: int
    """Endpoints that are sent nothing."""
    unroutable: Mapping[str, int]
    """Messages that no queue takes, by routing key."""
    dead_letters: Mapping[str, int]
    """Open ones, by reason."""


def _some(*columns: ColumnElement[Any], where: ColumnElement[bool] | None = None) -> Any:
    query = select(*columns).limit(MOST)
    return (query if where is None else query.where(where)).subquery()


def _count_by(column: ColumnElement[Any], where: ColumnElement[bool]) -> Select[Any]:
    some = _some(column.label("what"), where=where)
    return select(some.c.what, func.count().label("count")).group_by(some.c.what)


_AGE = func.clock_timestamp() - func.min(_SAGAS.c.created_at)
_UNFINISHED = _SAGAS.c.completed_at.is_(None)
_OLD = _SAGAS.c.created_at < func.clock_timestamp() - bindparam("timeout", type_=Interval())
_SOME_SAGAS = _some(_SAGAS.c.created_at, where=_UNFINISHED)
_SOME_OLD_SAGAS = _some(_SAGAS.c.created_at, where=_UNFINISHED & _OLD)
_SOME_PARKED_SAGAS = _some(_SAGAS.c.id, where=_SAGAS.c.incident.is_not(None) & (_SAGAS.c.timer == Timer.REASK))
_SOME_MESSAGES = _some(_OUTBOX.c.created_at, _OUTBOX.c.last_error.is_distinct_from(UNROUTABLE).label("leaves"))
# in the words of the partial index
_UNDELIVERED = _DELIVERIES.c.status == DeliveryStatus.PENDING.value
_SOME_DELIVERIES = _some(_DELIVERIES.c.created_at, where=_UNDELIVERED)
_DISABLED = _WEBHOOKS.c.disabled_at.is_not(None) & _WEBHOOKS.c.deleted_at.is_(None)
_SOME_DISABLED = _some(_WEBHOOKS.c.disabled_at, where=_DISABLED)

_NUMBERS = select(
    select(func.count()).select_from(_SOME_SAGAS).scalar_subquery().label("unfinished"),
    select(func.count()).select_from(_SOME_OLD_SAGAS).scalar_subquery().label("timed_out"),
    select(_AGE).where(_UNFINISHED).scalar_subquery().label("oldest_unfinished"),
    select(func.count()).select_from(_SOME_PARKED_SAGAS).scalar_subquery().label("parked"),
    select(func.count()).select_from(_SOME_MESSAGES).scalar_subquery().label("outbox"),
    select(func.clock_timestamp() - func.min(_SOME_MESSAGES.c.created_at).filter(_SOME_MESSAGES.c.leaves))
    .scalar_subquery()
    .label("outbox_oldest"),
    select(func.count()).select_from(_SOME_DELIVERIES).scalar_subquery().label("webhooks_undelivered"),
    select(func.clock_timestamp() - func.min(_DELIVERIES.c.created_at))
    .where(_UNDELIVERED)
    .scalar_subquery()
    .label("webhook_oldest"),
    select(func.count()).select_from(_SOME_DISABLED).scalar_subquery().label("webhooks_disabled"),
)
_INCIDENTS = _count_by(_SAGAS.c.incident["kind"].astext, _SAGAS.c.incident.is_not(None))
_UNROUTABLE = _count_by(_OUTBOX.c.routing_key, _OUTBOX.c.last_error == UNROUTABLE)
_DEAD_LETTERS = _count_by(_LETTERS.c.reason, _LETTERS.c.redriven_at.is_(None) & _LETTERS.c.discarded_at.is_(None))


async def look(session: AsyncSession, saga_timeout: timedelta) -> Overview:
    """Look at everything once.

    Args:
        session: in which every statement is a transaction of its own.
        saga_timeout: a saga that has not ended by then is late.
    """
    numbers = (await session.execute(_NUMBERS, {"timeout": saga_timeout})).one()
    incidents, unroutable, dead_letters = [
        {row.what: row.count for row in await session.execute(query)}
        for query in (_INCIDENTS, _UNROUTABLE, _DEAD_LETTERS)
    ]
    return Overview(**numbers._mapping, incidents=incidents, unroutable=unroutable, dead_letters=dead_letters)  # noqa: SLF001 - SQLAlchemy's public name for it
