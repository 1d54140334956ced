"""Endpoints that are sent nothing any more, and what becomes of what they were to be sent. SQL only.

What waits fails at once and visibly, so that it can be delivered again once the endpoint is enabled. That may be much:
it goes in pieces, the rest by and by (`saga.webhooks.retention`).
"""

from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from models.states import DeliveryStatus, WebhookStatus
from models.tables import Webhook, WebhookDelivery, table_of
from saga.runtime.rows import changed

DISABLED = "the endpoint was disabled"
"""Why a delivery failed without an attempt."""
OVERFLOWED = "too many deliveries were waiting for the endpoint"
"""Why another one did."""
PIECE = 500
"""The most deliveries that one statement changes: nobody waits long for it."""
_WEBHOOKS, _DELIVERIES = table_of(Webhook), table_of(WebhookDelivery)

_DISABLE = (
    update(_WEBHOOKS)
    .where(
        _WEBHOOKS.c.id == bindparam("webhook_id", type_=Uuid()),
        _WEBHOOKS.c.status == WebhookStatus.ENABLED.value,
        _WEBHOOKS.c.deleted_at.is_(None),
    )
    .values(status=WebhookStatus.DISABLED, disabled_reason=bindparam("why"), disabled_at=func.clock_timestamp())
)
_WAITING = (
    _DELIVERIES.c.status == DeliveryStatus.PENDING.value,
    # what is being sent is told how that ended
    or_(_DELIVERIES.c.lease.is_(None), _DELIVERIES.c.next_attempt_at <= func.now()),
)
_FAILED = {
    "status": DeliveryStatus.FAILED,
    "next_attempt_at": null(),
    "lease": null(),
    "last_error": DISABLED,
}
_OF_ALL = (
    select(_DELIVERIES.c.id)
    .join(_WEBHOOKS, _WEBHOOKS.c.id == _DELIVERIES.c.webhook_id)
    .where(_WEBHOOKS.c.disabled_at.is_not(None), _WEBHOOKS.c.deleted_at.is_(None), *_WAITING)
    .limit(PIECE)
    .with_for_update(of=_DELIVERIES, skip_locked=True)
)
# WITH runs once; a subquery in IN may run once for each row, and each time pick others
_FAIL_OF_ALL = update(_DELIVERIES).where(_DELIVERIES.c.id.in_(select(_OF_ALL.cte("waiting").c.id))).values(_FAILED)
# that it is still disabled is asked here, too: somebody may have enabled it meanwhile
_OF_ONE = _OF_ALL.where(_WEBHOOKS.c.id == bindparam("of", type_=Uuid()))
_FAIL_OF_ONE = update(_DELIVERIES).where(_DELIVERIES.c.id.in_(select(_OF_ONE.cte("waiting").c.id))).values(_FAILED)


async def disable(session: AsyncSession, webhook_id: UUID, why: str) -> bool:
    """Disable an endpoint, and fail what waits for it, as far as that is one piece.

    Returns:
        whether it was enabled before.
    """
    if not await changed(session, _DISABLE, {"webhook_id": webhook_id, "why": why}):
        return False
    await session.execute(_FAIL_OF_ONE, {"of": webhook_id})
    return True


async def fail_waiting(session: AsyncSession) -> int:
    """Fail a piece of what waits for endpoints that are disabled; returns how many there were."""
    return await changed(session, _FAIL_OF_ALL)
