"""Finding sagas: the operators' list, newest first, and all of them in turn. Queries only, in the caller's session.

An order and its saga are born in one instant. So a list may be read along the index of either table, and a place in it
is the same on both: the time of birth and the order's id. `_road` takes the shortest index that has all that is wanted,
so that what a list costs does not depend on how many sagas have ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import TERMINAL, CurrentStep, OrderStatus, Position, SagaStatus
from models.tables import Order, OrderSaga, table_of
from saga.runtime.rows import Place, behind
from saga.store import Stored, find_orders

_ORDERS, _SAGAS = table_of(Order), table_of(OrderSaga)
_BOTH = _SAGAS.join(_ORDERS, _ORDERS.c.id == _SAGAS.c.order_id)

_UNDONE = frozenset({SagaStatus.FAILED, SagaStatus.COMPENSATED})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sagas are wanted; None where any will do."""

    status: SagaStatus | None = None
    step: CurrentStep | None = None
    incident: bool | None = None
    """Whether a person should look at it."""
    user_id: UUID | None = None
    older_than: timedelta | None = None
    """Born at least this long ago, by the database's clock."""

    @property
    def statuses(self) -> set[SagaStatus]:
        """The statuses that such a saga can have; none where status and step exclude each other."""
        return {
            position.status
            for position in Position
            if self.status in (None, position.status) and self.step in (None, position.current_step)
        }


async def list_sagas(session: AsyncSession, wanted: Filter, limit: int, after: Place | None = None) -> list[Stored]:
    """Such sagas, newest first, beginning behind `after`.

    They are shown as they are when their rows are read, a moment after they were found.
    """
    return (await list_sagas_now(session, wanted, limit, after))[0]


def place_of(stored: Stored) -> Place:
    """Where a saga stands in these lists."""
    return stored.saga.created_at, stored.saga.order_id


async def list_sagas_now(
    session: AsyncSession, wanted: Filter, limit: int, after: Place | None = None
) -> tuple[list[Stored], datetime | None]:
    """Such sagas, and the database's time, for telling their age; None where there is none of them."""
    if not wanted.statuses:
        return [], None
    rows = (await session.execute(query(wanted, limit, after))).all()
    stored = await find_orders(session, [row.order_id for row in rows])
    return [stored[row.order_id] for row in rows], max((row.now for row in rows), default=None)


def query(wanted: Filter, limit: int, after: Place | None = None) -> Select[tuple[UUID, datetime]]:
    """The ids of the orders of such sagas, newest first, each with the time."""
    born, order_id, conditions = _road(wanted)
    if wanted.status:
        conditions.append(_SAGAS.c.status == wanted.status)
    if wanted.step:
        conditions.append(_SAGAS.c.current_step == wanted.step)
    if wanted.incident is False:
        conditions.append(_SAGAS.c.incident.is_(None))
    if wanted.older_than is not None:
        # now(), not clock_timestamp(): an index can be searched with it
        conditions.append(born <= func.now() - literal(wanted.older_than))
    if after:
        conditions.append(behind(after, born, order_id))
    return (
        select(_SAGAS.c.order_id, func.now().label("now"))
        .select_from(_BOTH)
        .where(*conditions)
        .order_by(born.desc(), order_id.desc())
        .limit(limit)
    )


def _road(wanted: Filter) -> tuple[ColumnElement[datetime], ColumnElement[UUID], list[ColumnElement[Any]]]:
    """The columns of the index to go along, and the condition that it stands under, in the index's own words."""
    along_sagas = _SAGAS.c.created_at, _SAGAS.c.order_id
    along_orders = _ORDERS.c.created_at, _ORDERS.c.id
    if wanted.user_id:
        return *along_orders, [_ORDERS.c.user_id == wanted.user_id, *_with_incident(wanted)]
    if wanted.incident:
        return *along_sagas, _with_incident(wanted)
    if not wanted.statuses & TERMINAL:
        return *along_sagas, [text("order_sagas.completed_at IS NULL")]  # type: ignore[list-item]
    if wanted.statuses <= _UNDONE:
        return *along_sagas, [text("order_sagas.status IN ('Compensated', 'Failed')")]  # type: ignore[list-item]
    return *along_orders, []


def _with_incident(wanted: Filter) -> list[ColumnElement[Any]]:
    return [_SAGAS.c.incident.is_not(None)] if wanted.incident else []


# ------------------------------------------------------------------------------------------------- all of them in turn


async def count_sagas(session: AsyncSession) -> int:
    """How many sagas there are."""
    return (await session.execute(select(func.count()).select_from(_SAGAS))).scalar_one()


async def next_sagas(session: AsyncSession, limit: int, behind: UUID | None) -> Sequence[tuple[Stored, OrderStatus]]:
    """Some sagas in the order of their orders' ids, beginning behind that one, with what their orders say.

    In a transaction of one snapshot, else an order may be read before a move and its saga after it.
    """
    page = select(_ORDERS.c.id, _ORDERS.c.status).select_from(_BOTH).order_by(_ORDERS.c.id).limit(limit)
    if behind:
        page = page.where(_ORDERS.c.id > behind)
    rows = (await session.execute(page)).all()
    stored = await find_orders(session, [row.id for row in rows])
    return [(stored[row.id], OrderStatus(row.status)) for row in rows]
