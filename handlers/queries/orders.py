"""Orders as clients ask for them. Queries only."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Text, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from models.messages import money_text
from models.states import OrderStatus
from models.tables import Order, OrderSaga, RequestIdentity, table_of
from saga.runtime.rows import Place, behind

_ORDERS, _SAGAS, _IDENTITIES = table_of(Order), table_of(OrderSaga), table_of(RequestIdentity)


_Items = TypeVar("_Items")


@dataclass(frozen=True, slots=True)
class OrderView(Generic[_Items]):
    """An order as a client sees it."""

    id: UUID
    user_id: UUID
    status: OrderStatus
    items: _Items
    total_amount: str
    created_at: datetime
    updated_at: datetime | None
    saga_id: UUID


OrderText: TypeAlias = OrderView[str]
"""One whose items are the JSON text that is stored: already what the wire has."""
_OF_BOTH = _SAGAS.c.order_id == _ORDERS.c.id
_ORDER_VIEW = select(_ORDERS, _SAGAS.c.id.label("saga_id")).join(_SAGAS, _OF_BOTH)
_ORDER_TEXT: Select[Any] = select(
    *(column for column in _ORDERS.c if column.name != "items"),
    cast(_ORDERS.c["items"], Text).label("items"),
    _SAGAS.c.id.label("saga_id"),
).join(_SAGAS, _OF_BOTH)


async def find_order(
    session: AsyncSession, order_id: UUID, user_id: UUID | None = None
) -> OrderView[list[dict[str, Any]]] | None:
    """One order, or None. With `user_id`, only that user's: those of others are not there."""
    query = _ORDER_VIEW.where(_ORDERS.c.id == order_id)
    if user_id:
        query = query.where(_ORDERS.c.user_id == user_id)
    row = (await session.execute(query)).one_or_none()
    return _order_view(row) if row else None


async def list_orders_of_user(session: AsyncSession, user_id: UUID, limit: int, after: Place | None) -> list[OrderText]:
    """A user's orders, newest first, beginning behind the order that `after` names by its time and id."""
    query = _ORDER_TEXT.where(_ORDERS.c.user_id == user_id)
    if after:
        query = query.where(behind(after, _ORDERS.c.created_at, _ORDERS.c.id))
    rows = await session.execute(query.order_by(_ORDERS.c.created_at.desc(), _ORDERS.c.id.desc()).limit(limit))
    return [_order_view(row) for row in rows]


async def is_order_of(session: AsyncSession, order_id: UUID, user_id: UUID) -> bool:
    """Whether there is this order, and it is that user's. It stays theirs for ever."""
    found = select(_ORDERS.c.id).where(_ORDERS.c.id == order_id, _ORDERS.c.user_id == user_id)
    return (await session.execute(found)).one_or_none() is not None


_NEWEST_OF_USER = (
    select(_ORDERS.c.status)
    .where(_ORDERS.c.user_id == bindparam("user"))
    .order_by(_ORDERS.c.created_at.desc(), _ORDERS.c.id.desc())
    .limit(bindparam("among"))
    .subquery()
)
_OPEN_OF_USER = select(func.count()).where(_NEWEST_OF_USER.c.status == OrderStatus.PENDING.value)


async def has_open_orders(session: AsyncSession, user_id: UUID, count: int) -> bool:
    """Whether a user has so many open orders; of all that they ever placed, only the newest are looked at."""
    found = await session.execute(_OPEN_OF_USER, {"user": user_id, "among": 2 * count})
    return found.scalar_one() >= count


async def is_known(session: AsyncSession, identity: str) -> bool:
    """Whether a request of this identity gave an order before."""
    found = select(_IDENTITIES.c.key).where(_IDENTITIES.c.key == identity)
    return (await session.execute(found)).one_or_none() is not None


_UPDATED_AT = (
    select(_SAGAS.c.order_id, _SAGAS.c.updated_at.label("saga"), _ORDERS.c.updated_at.label("order"))
    .join(_ORDERS, _ORDERS.c.id == _SAGAS.c.order_id)
    .where(_SAGAS.c.order_id == any_(bindparam("ids", type_=ARRAY(Uuid()))))
)


async def updated_at(
    session: AsyncSession, order_ids: Iterable[UUID]
) -> dict[UUID, dict[Literal["order", "saga"], datetime | None]]:
    """When these orders and their sagas last changed, by order id."""
    rows = await session.execute(_UPDATED_AT, {"ids": list(order_ids)})
    return {row.order_id: {"order": row.order, "saga": row.saga} for row in rows}


def _order_view(row: Row[Any]) -> OrderView[Any]:
    return OrderView(
        id=row.id,
        user_id=row.user_id,
        status=OrderStatus(row.status),
        items=row.items,
        total_amount=money_text(row.total_amount),
        created_at=row.created_at,
        updated_at=row.updated_at,
        saga_id=row.saga_id,
    )
