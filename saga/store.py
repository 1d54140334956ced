"""All SQL of the saga. Every function takes the caller's session; none begins, commits or decides anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
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
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.messages import money_text
from models.states import OrderStatus, Position, Timer
from models.tables import Order, OrderSaga, Outbox, RequestIdentity, Webhook, table_of
from saga.outbox import Envelope, OrderFacts
from saga.rows import Place, behind, changed
from saga.values import Saga

_ORDERS, _SAGAS = table_of(Order), table_of(OrderSaga)
_IDENTITIES, _OUTBOX, _WEBHOOKS = table_of(RequestIdentity), table_of(Outbox), table_of(Webhook)

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


# --------------------------------------------------------------------------------------------------- the saga's life

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


async def table_versions_in_use(session: AsyncSession) -> set[int]:
    """The versions of the transition table that sagas with an open command were started under."""
    # the conditions of three partial indexes, so that not every saga that has ended is looked at: an open command has
    # a deadline, or is parked, and that is an incident
    few = or_(_SAGAS.c.completed_at.is_(None), _SAGAS.c.due_at.is_not(None), _SAGAS.c.incident.is_not(None))
    in_use = select(_SAGAS.c.table_version).where(few, _SAGAS.c.open_command.is_not(None))
    return set((await session.execute(in_use.distinct())).scalars())


# -------------------------------------------------------------------------------------------------------- the outbox


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
)
_CLAIM = (
    update(_OUTBOX)
    .where(_OUTBOX.c.id.in_(_DUE.scalar_subquery()))
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


# ------------------------------------------------------------------------------------------------------------ queries


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as a client sees it."""

    id: UUID
    user_id: UUID
    status: OrderStatus
    items: list[dict[str, Any]]
    total_amount: str
    created_at: datetime
    updated_at: datetime | None
    saga_id: UUID


_ORDER_VIEW = select(_ORDERS, _SAGAS.c.id.label("saga_id")).join(_SAGAS, _SAGAS.c.order_id == _ORDERS.c.id)


async def find_order(session: AsyncSession, order_id: UUID, user_id: UUID | None = None) -> OrderView | None:
    """One order, or None. With `user_id`, only that user's: those of others are not there."""
    query = _ORDER_VIEW.where(_ORDERS.c.id == order_id)
    if user_id:
        query = query.where(_ORDERS.c.user_id == user_id)
    row = (await session.execute(query)).one_or_none()
    return _order_view(row) if row else None


async def list_orders_of_user(session: AsyncSession, user_id: UUID, limit: int, after: Place | None) -> list[OrderView]:
    """A user's orders, newest first, beginning behind the order that `after` names by its time and id."""
    query = _ORDER_VIEW.where(_ORDERS.c.user_id == user_id)
    if after:
        query = query.where(behind(after, _ORDERS.c.created_at, _ORDERS.c.id))
    rows = await session.execute(query.order_by(_ORDERS.c.created_at.desc(), _ORDERS.c.id.desc()).limit(limit))
    return [_order_view(row) for row in rows]


async def find_saga(session: AsyncSession, order_id: UUID, user_id: UUID | None = None) -> Stored | None:
    """The saga of an order, or None. With `user_id`, only where the order is that user's."""
    query = _STORED.where(_SAGAS.c.order_id == order_id)
    if user_id:
        query = query.where(_ORDERS.c.user_id == user_id)
    row = (await session.execute(query)).one_or_none()
    return _stored(row) if row else None


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
    return (await session.execute(_FIND_IDENTITIES, {"keys": [identity]})).one_or_none() is not None


_UPDATED_AT = (
    select(_SAGAS.c.order_id, _SAGAS.c.updated_at.label("saga"), _ORDERS.c.updated_at.label("order"))
    .join(_ORDERS, _ORDERS.c.id == _SAGAS.c.order_id)
    .where(_SAGAS.c.order_id == any_(_IDS))
)


async def updated_at(
    session: AsyncSession, order_ids: Iterable[UUID]
) -> dict[UUID, dict[Literal["order", "saga"], datetime | None]]:
    """When these orders and their sagas last changed, by order id."""
    rows = await session.execute(_UPDATED_AT, {"ids": list(order_ids)})
    return {row.order_id: {"order": row.order, "saga": row.saga} for row in rows}


# ------------------------------------------------------------------------------------------------- rows and values


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


def _order_view(row: Row[Any]) -> OrderView:
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
