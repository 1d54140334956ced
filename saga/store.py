"""All SQL of a saga's life. Every function takes the caller's session; none begins, commits or decides anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Integer,
    Interval,
    Row,
    Text,
    Uuid,
    all_,
    any_,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import Position, Timer
from models.tables import Order, OrderSaga, RequestIdentity, Webhook, table_of
from saga.domain import Saga
from saga.outbox.message import OrderFacts
from saga.runtime.rows import changed

_ORDERS, _SAGAS = table_of(Order), table_of(OrderSaga)
_IDENTITIES, _WEBHOOKS = table_of(RequestIdentity), table_of(Webhook)

_IDS = bindparam("ids", type_=ARRAY(Uuid()))
_KEYS = bindparam("keys", type_=ARRAY(Text()))
_VERSIONS = bindparam("versions", type_=ARRAY(Integer()))


@dataclass(frozen=True, slots=True)
class Stored:
    """A saga as its row has it, with the facts of its order and the trace that both belong to."""

    saga: Saga
    order: OrderFacts
    traceparent: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What a transaction reads of the world with what it locks: nothing more need be asked for it."""

    now: datetime
    """The database's time."""
    subscribed: bool = False
    """Whether anybody has an endpoint for webhooks."""


_NOW = func.clock_timestamp().label("now")
# once per statement, however many rows it gives
_SUBSCRIBED = exists(select(_WEBHOOKS.c.id).where(_WEBHOOKS.c.deleted_at.is_(None))).label("subscribed")
_STORED = select(_SAGAS, _ORDERS.c.user_id, _ORDERS.c["items"], _ORDERS.c.total_amount).join(
    _ORDERS, _ORDERS.c.id == _SAGAS.c.order_id
)
_LOCK = (
    _STORED.add_columns(_NOW, _SUBSCRIBED)
    .where(_SAGAS.c.order_id == any_(_IDS))
    .order_by(_SAGAS.c.id)
    .with_for_update(of=_SAGAS)
)


async def lock_sagas(session: AsyncSession, order_ids: Iterable[UUID]) -> tuple[dict[UUID, Stored], Moment | None]:
    """Lock the sagas of these orders until the transaction ends, and read the clock.

    Always in the same order, so that two transactions cannot wait for each other.

    Returns:
        what is stored, by order id, and the moment; None where there is none of them.
    """
    rows = (await session.execute(_LOCK, {"ids": list(order_ids)})).all()
    return {row.order_id: _stored(row) for row in rows}, _moment(rows)


_LOCK_DUE = (
    _STORED.add_columns(_NOW, _SUBSCRIBED)
    .where(
        _SAGAS.c.due_at <= func.clock_timestamp(),
        _SAGAS.c.table_version == any_(_VERSIONS),
        _SAGAS.c.order_id != all_(_IDS),
    )
    .order_by(_SAGAS.c.due_at)
    .limit(bindparam("limit"))
    .with_for_update(of=_SAGAS, skip_locked=True)
)


async def lock_due(
    session: AsyncSession, limit: int, versions: Iterable[int], passed_over: Iterable[UUID] = ()
) -> tuple[dict[UUID, Stored], Moment | None]:
    """Lock sagas whose deadline has come, the longest overdue first, passing over those that somebody else has locked.

    Args:
        session: the caller's transaction.
        limit: the most of them.
        versions: of the transition table; sagas of others are left to whoever knows them.
        passed_over: the orders whose sagas are left alone.

    Returns:
        what is stored, by order id, and the moment; None where nothing is due.
    """
    values = {"limit": limit, "versions": list(versions), "ids": list(passed_over)}
    rows = (await session.execute(_LOCK_DUE, values)).all()
    return {row.order_id: _stored(row) for row in rows}, _moment(rows)


_UNTIL_NEXT = select(func.min(_SAGAS.c.due_at) - func.clock_timestamp()).where(
    _SAGAS.c.due_at.is_not(None), _SAGAS.c.table_version == any_(_VERSIONS)
)


async def until_next_deadline(session: AsyncSession, versions: Iterable[int]) -> timedelta | None:
    """How long until the next deadline of these versions comes, negative when it is over; None where there is none."""
    wait: timedelta | None = (await session.execute(_UNTIL_NEXT, {"versions": list(versions)})).scalar_one()
    return wait


_PARKED_FOR_EVER = (
    select(_SAGAS.c.id)
    # what is parked has an incident, and those have an index
    .where(_SAGAS.c.incident.is_not(None), _SAGAS.c.timer == Timer.REASK, _SAGAS.c.due_at.is_(None))
    .with_for_update(skip_locked=True)
)
_ASK_AGAIN = (
    update(_SAGAS)
    .where(_SAGAS.c.id.in_(_PARKED_FOR_EVER.scalar_subquery()))
    .values(due_at=func.clock_timestamp() + func.random() * bindparam("within", type_=Interval()))
)


async def ask_parked_again(session: AsyncSession, within: timedelta) -> int:
    """Give a deadline to sagas that were parked while asking again was switched off, spread over that time.

    Returns:
        how many there were.
    """
    return await changed(session, _ASK_AGAIN, {"within": within})


_FIND_IDENTITIES = select(_IDENTITIES.c.key, _IDENTITIES.c.order_id).where(_IDENTITIES.c.key == any_(_KEYS))
_CLAIM_IDENTITIES = (
    insert(_IDENTITIES)
    .from_select(
        ["key", "order_id", "created_at"],
        select(func.unnest(_KEYS), func.unnest(_IDS), func.clock_timestamp()),
    )
    .on_conflict_do_nothing()
    .returning(_IDENTITIES.c.key, _IDENTITIES.c.created_at.label("now"), _SUBSCRIBED)
)
_FIND_ORDERS = _STORED.where(_SAGAS.c.order_id == any_(_IDS))


async def claim_identities(session: AsyncSession, keys: dict[str, UUID]) -> tuple[dict[str, UUID], Moment | None]:
    """Take request identities for orders to be, and read the clock.

    A transaction that is taking one of them at this moment is waited for.

    Args:
        session: the caller's transaction.
        keys: the order that each identity would give.

    Returns:
        the identities that were taken before, with the order that they gave (the others are ours now), and the
        moment; None where none is ours.
    """
    claims = sorted(keys.items())
    ours = (
        await session.execute(
            _CLAIM_IDENTITIES, {"keys": [key for key, _ in claims], "ids": [order_id for _, order_id in claims]}
        )
    ).all()
    moment = _moment(ours)
    if len(ours) == len(keys):
        return {}, moment
    taken = keys.keys() - {row.key for row in ours}
    rows = await session.execute(_FIND_IDENTITIES, {"keys": list(taken)})
    return {row.key: row.order_id for row in rows}, moment


async def find_orders(session: AsyncSession, order_ids: Iterable[UUID]) -> dict[UUID, Stored]:
    """The orders that exist among these, with their sagas, by order id."""
    rows = await session.execute(_FIND_ORDERS, {"ids": list(order_ids)})
    return {row.order_id: _stored(row) for row in rows}


async def insert_sagas(session: AsyncSession, births: Sequence[Stored]) -> None:
    """Write new orders and their sagas."""
    await session.execute(
        insert(_ORDERS),
        [
            {
                "id": born.order.id,
                "user_id": born.order.user_id,
                "status": born.saga.position.order_status,
                "items": born.order.items,
                "total_amount": born.order.total_amount,
                "created_at": born.saga.created_at,
                "updated_at": None,
            }
            for born in births
        ],
    )
    await session.execute(
        insert(_SAGAS),
        [_saga_row(born.saga) | {"order_id": born.order.id, "traceparent": born.traceparent} for born in births],
    )


_UPDATED = [
    "status", "current_step", "open_command", "history", "completed_at", "updated_at", "entered_at", "sent", "timer",
    "due_at", "incident", "cancel_requested", "failed_step", "reason",
]  # fmt: skip
_UPDATE_SAGA = (
    update(_SAGAS)
    .where(_SAGAS.c.id == bindparam("saga_id"))
    .values({name: bindparam(f"new_{name}", type_=_SAGAS.c[name].type) for name in _UPDATED})
)
_UPDATE_ORDER = (
    update(_ORDERS)
    .where(_ORDERS.c.id == bindparam("order_id"))
    .values(status=bindparam("new_status"), updated_at=bindparam("now"))
)


async def update_sagas(session: AsyncSession, sagas: Sequence[Saga]) -> None:
    """Write sagas whose rows this transaction has locked."""
    rows = []
    for saga in sagas:
        row = _saga_row(saga)
        rows.append({"saga_id": saga.id} | {f"new_{name}": row[name] for name in _UPDATED})
    await session.execute(_UPDATE_SAGA, rows)


async def end_orders(session: AsyncSession, sagas: Sequence[Saga]) -> None:
    """Give the orders of sagas that have just ended their last status."""
    await session.execute(
        _UPDATE_ORDER,
        [
            {"order_id": saga.order_id, "new_status": saga.position.order_status, "now": saga.updated_at}
            for saga in sagas
        ],
    )


async def find_saga(session: AsyncSession, order_id: UUID, user_id: UUID | None = None) -> Stored | None:
    """The saga of an order, or None. With `user_id`, only where the order is that user's."""
    query = _STORED.where(_SAGAS.c.order_id == order_id)
    if user_id:
        query = query.where(_ORDERS.c.user_id == user_id)
    row = (await session.execute(query)).one_or_none()
    return _stored(row) if row else None


async def table_versions_in_use(session: AsyncSession) -> set[int]:
    """The versions of the transition table that sagas with an open command were started under."""
    # the conditions of three partial indexes, so that not every saga that has ended is looked at: an open command has
    # a deadline, or is parked, and that is an incident
    few = or_(_SAGAS.c.completed_at.is_(None), _SAGAS.c.due_at.is_not(None), _SAGAS.c.incident.is_not(None))
    in_use = select(_SAGAS.c.table_version).where(few, _SAGAS.c.open_command.is_not(None))
    return set((await session.execute(in_use.distinct())).scalars())


def _moment(rows: Sequence[Row[Any]]) -> Moment | None:
    """The latest of them."""
    return Moment(max(row.now for row in rows), rows[0].subscribed) if rows else None


def _stored(row: Row[Any]) -> Stored:
    saga = Saga(
        id=row.id,
        order_id=row.order_id,
        table_version=row.table_version,
        position=Position.of(row.status, row.current_step, row.open_command),
        created_at=row.created_at,
        updated_at=row.updated_at,
        entered_at=row.entered_at,
        sent=row.sent,
        history=row.history,
        timer=Timer(row.timer) if row.timer else None,
        due_at=row.due_at,
        completed_at=row.completed_at,
        incident=row.incident,
        cancel_requested=row.cancel_requested,
        failed_step=row.failed_step,
        reason=row.reason,
    )
    return Stored(saga, OrderFacts(row.order_id, row.user_id, row.items, row.total_amount), row.traceparent)


def _saga_row(saga: Saga) -> dict[str, Any]:
    return {
        "id": saga.id,
        "status": saga.position.status,
        "current_step": saga.position.current_step,
        "open_command": saga.position.open_command,
        "history": saga.history,
        "created_at": saga.created_at,
        "completed_at": saga.completed_at,
        "updated_at": saga.updated_at,
        "entered_at": saga.entered_at,
        "table_version": saga.table_version,
        "sent": saga.sent,
        "timer": saga.timer,
        "due_at": saga.due_at,
        "incident": saga.incident,
        "cancel_requested": saga.cancel_requested,
        "failed_step": saga.failed_step,
        "reason": saga.reason,
    }
