"""All SQL of the endpoints that people deal with. Every function takes the caller's session; none begins or commits.

An endpoint belongs to who subscribed. Whoever names an owner deals with that owner's alone: others are not there.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ColumnElement,
    Row,
    Uuid,
    bindparam,
    column,
    func,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import DeliveryStatus, WebhookStatus, WebhookType
from models.tables import Webhook, WebhookDelivery, table_of
from models.webhooks import PingNews
from saga.errors import UnknownWebhookError, WebhookDisabledError
from saga.runtime.rows import Place, behind, changed
from saga.webhooks import disabling
from saga.webhooks.deliveries import Delivery, end_rest, find_delivery
from saga.webhooks.events import body
from saga.webhooks.secret_wrapping import PLAIN, Wrapping

BOTH_VALID_FOR = timedelta(hours=24)
"""How long the secret before signs too, after a rotation."""
MOST_COUNTED = 1_000
"""As far as pending deliveries are counted."""
_SECRET_BYTES = 32
_WEBHOOKS, _DELIVERIES = table_of(Webhook), table_of(WebhookDelivery)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, without its secrets."""

    id: UUID
    owner: str
    url: str
    events: list[str]
    user_id: UUID | None
    """Whose orders; None: everybody's."""
    description: str | None
    status: str
    disabled_reason: str | None
    disabled_at: datetime | None
    failures: int
    """Attempts that failed since the last one that succeeded."""
    failing_since: datetime | None
    overflowing: bool
    """Whether so much waits for it that what comes is written as failed."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint takes what it is sent."""

    last_delivered_at: datetime | None
    pending: int
    """Deliveries that wait, or are under way, up to `MOST_COUNTED`."""


_FIELDS: list[ColumnElement[Any]] = [_WEBHOOKS.c[name] for name in Endpoint.__slots__]


def _these(webhook_id: UUID, owner: str | None) -> list[ColumnElement[bool]]:
    return [_WEBHOOKS.c.id == webhook_id, *_alive(owner)]


def _alive(owner: str | None) -> list[ColumnElement[bool]]:
    owned = [] if owner is None else [_WEBHOOKS.c.owner == owner]
    return [_WEBHOOKS.c.deleted_at.is_(None), *owned]


def _new_secret() -> str:
    return f"{PLAIN}{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


async def subscribe(  # noqa: PLR0913, PLR0917 - an endpoint is that much
    session: AsyncSession,
    wrapping: Wrapping,
    owner: str,
    url: str,
    events: Sequence[WebhookType],
    user_id: UUID | None = None,
    description: str | None = None,
) -> tuple[Endpoint, str]:
    """Write a new endpoint, enabled; returns it, and its secret, which nothing tells again."""
    id_, secret = uuid4(), _new_secret()
    values = {
        "id": id_,
        "owner": owner,
        "url": url,
        "events": [event.value for event in dict.fromkeys(events)],
        "user_id": user_id,
        "description": description,
        "status": WebhookStatus.ENABLED,
        "secret": wrapping.wrap(id_, secret),
        "created_at": func.clock_timestamp(),
    }
    row = (await session.execute(insert(_WEBHOOKS).values(values).returning(*_FIELDS))).one()
    return _endpoint(row), secret


async def lock_owner(session: AsyncSession, owner: str) -> None:
    """Let nobody else subscribe in this owner's name until this transaction ends: what is counted stays so."""
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"webhooks of {owner}", 0))))


async def count_endpoints(session: AsyncSession, owner: str) -> int:
    """How many endpoints somebody has."""
    query = select(func.count()).select_from(_WEBHOOKS).where(*_alive(owner))
    return (await session.execute(query)).scalar_one()


async def list_endpoints(
    session: AsyncSession, owner: str | None, limit: int, after: Place | None = None
) -> list[Endpoint]:
    """Somebody's endpoints, or everybody's, newest first, behind the one that `after` names."""
    query = select(*_FIELDS).where(*_alive(owner))
    if after:
        query = query.where(behind(after, _WEBHOOKS.c.created_at, _WEBHOOKS.c.id))
    rows = await session.execute(query.order_by(_WEBHOOKS.c.created_at.desc(), _WEBHOOKS.c.id.desc()).limit(limit))
    return [_endpoint(row) for row in rows]


_ASKED = (
    func.unnest(bindparam("ids", type_=ARRAY(Uuid())))
    .table_valued(column("id", Uuid()))
    .render_derived(name="asked")
)  # fmt: skip
_DELIVERED_LAST = (
    select(_DELIVERIES.c.delivered_at)
    .where(_DELIVERIES.c.webhook_id == _ASKED.c.id, _DELIVERIES.c.status == DeliveryStatus.DELIVERED.value)
    .order_by(_DELIVERIES.c.delivered_at.desc())
    .limit(1)
    .scalar_subquery()
)
_SOME_PENDING = (
    select(_DELIVERIES.c.webhook_id)
    .where(_DELIVERIES.c.webhook_id == _ASKED.c.id, _DELIVERIES.c.status == DeliveryStatus.PENDING.value)
    .limit(MOST_COUNTED)
    .correlate(_ASKED)
    .subquery()
)
_HEALTH = select(_ASKED.c.id, _DELIVERED_LAST, select(func.count()).select_from(_SOME_PENDING).scalar_subquery())


async def health_of(session: AsyncSession, endpoints: Sequence[Endpoint]) -> dict[UUID, Health]:
    """How these take what they are sent, by id."""
    rows = await session.execute(_HEALTH, {"ids": [endpoint.id for endpoint in endpoints]})
    return {row[0]: Health(row[1], row[2]) for row in rows}


async def find_endpoint(session: AsyncSession, webhook_id: UUID, owner: str | None = None) -> Endpoint:
    """One endpoint.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
    """
    return (await _found(session, webhook_id, owner))[0]


async def _found(session: AsyncSession, webhook_id: UUID, owner: str | None) -> tuple[Endpoint, datetime]:
    query = select(*_FIELDS, func.clock_timestamp().label("now")).where(*_these(webhook_id, owner))
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise UnknownWebhookError(webhook_id)
    return _endpoint(row), row.now


async def enable(session: AsyncSession, webhook_id: UUID, owner: str | None = None) -> Endpoint:
    """Send it things again, from now on; one that is enabled stays so.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
    """
    forgotten = dict.fromkeys(("disabled_reason", "disabled_at", "failing_since", "resting_until"), null())
    values = {"status": WebhookStatus.ENABLED.value, "failures": 0} | forgotten
    query = update(_WEBHOOKS).where(*_these(webhook_id, owner)).values(values).returning(*_FIELDS)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise UnknownWebhookError(webhook_id)
    return _endpoint(row)


async def disable(session: AsyncSession, webhook_id: UUID, why: str, owner: str | None = None) -> Endpoint:
    """Send it nothing any more; what waits for it fails. One that is disabled stays so, for the reason that it has.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
    """
    await find_endpoint(session, webhook_id, owner)
    await disabling.disable(session, webhook_id, why)
    return await find_endpoint(session, webhook_id, owner)


async def rotate_secret(session: AsyncSession, webhook_id: UUID, wrapping: Wrapping, owner: str | None = None) -> str:
    """Give it a new secret; the one before signs too for `BOTH_VALID_FOR`, and any older one no more.

    Returns:
        the new secret, which nothing tells again.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
    """
    secret = _new_secret()
    query = update(_WEBHOOKS).where(*_these(webhook_id, owner))
    rotated = query.values(
        previous_secret=_WEBHOOKS.c.secret,
        previous_secret_until=func.clock_timestamp() + BOTH_VALID_FOR,
        secret=wrapping.wrap(webhook_id, secret),
    )
    if not await changed(session, rotated):
        raise UnknownWebhookError(webhook_id)
    return secret


async def delete(session: AsyncSession, webhook_id: UUID, owner: str | None = None) -> None:
    """Take it away: nothing is written for it and nothing sent any more. Its deliveries go by and by.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
    """
    query = update(_WEBHOOKS).where(*_these(webhook_id, owner))
    gone = query.values(
        deleted_at=func.clock_timestamp(), secret="", previous_secret=null(), previous_secret_until=null()
    )
    if not await changed(session, gone):
        raise UnknownWebhookError(webhook_id)


async def ping(session: AsyncSession, webhook_id: UUID, owner: str | None = None) -> Delivery:
    """Write a test for it, which is tried once and at once, and whose failing changes nothing.

    Raises:
        UnknownWebhookError: there is none, or none of that owner's.
        WebhookDisabledError: it is disabled.
    """
    endpoint, now = await _found(session, webhook_id, owner)
    if endpoint.status != WebhookStatus.ENABLED:
        raise WebhookDisabledError(webhook_id)
    delivery_id = uuid4()
    values = {
        "id": delivery_id,
        "webhook_id": webhook_id,
        "event_id": uuid4(),
        "type": WebhookType.PING,
        "body": body(WebhookType.PING, now, PingNews.model_construct(webhook_id=webhook_id)),
        "status": DeliveryStatus.PENDING,
        "next_attempt_at": now,
        "created_at": now,
    }
    await session.execute(insert(_DELIVERIES).values(values))
    await end_rest(session, webhook_id)
    return await find_delivery(session, webhook_id, delivery_id)


def _endpoint(row: Row[*tuple[Any, ...]]) -> Endpoint:
    return Endpoint(*row[: len(Endpoint.__slots__)])
