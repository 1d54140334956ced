"""What nobody waits for: deliveries of endpoints that were disabled or deleted, and those that are long over.

Any worker does it, in pieces, passing over what another one has in hand.
"""

from datetime import timedelta

from sqlalchemy import Integer, Interval, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from saga.runtime.database import Sessions
from saga.runtime.rows import changed, in_pieces
from saga.runtime.tasks import regularly
from saga.telemetry.log_setup import get_logger
from saga.webhooks import deliveries
from saga.webhooks.disabling import PIECE, fail_waiting

log = get_logger(__name__)

EVERY = timedelta(seconds=10)
KEPT_FOR = timedelta(days=30)
"""How long a delivery is remembered that has ended, from when it was written."""
OUTLIVED_BY = timedelta(hours=1)
"""How long an endpoint's row outlives its deletion: no transaction that has seen it before takes as long."""

# a subquery in IN may run once for each row, and each time pick others: WITH runs once
_DELETE = """
WITH picked AS MATERIALIZED (
    SELECT old.id FROM webhooks w CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d WHERE d.webhook_id = w.id AND {which}
        ORDER BY d.created_at, d.id LIMIT :piece FOR UPDATE SKIP LOCKED
    ) AS old {of} LIMIT :piece
)
DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM picked)
"""
_OLD = text(
    _DELETE.format(which="d.status <> 'pending' AND d.created_at < now() - :kept", of="WHERE w.deleted_at IS NULL")
).bindparams(bindparam("kept", type_=Interval()))
_OF_DELETED = text(_DELETE.format(which="true", of="WHERE w.deleted_at IS NOT NULL"))
_DELETED = text("""
DELETE FROM webhooks w WHERE w.deleted_at < now() - :outlived
  AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id)
""").bindparams(bindparam("outlived", type_=Interval()))
_OLD_SECRETS = text("""
UPDATE webhooks SET previous_secret = NULL, previous_secret_until = NULL WHERE previous_secret_until < now()
""")
# an endpoint takes deliveries again when half of them are gone
_OVERFLOW = text("""
UPDATE webhooks w SET overflowing = NOT w.overflowing FROM (
    SELECT w.id, w.overflowing, waiting.count, cap.most FROM webhooks w
    CROSS JOIN LATERAL (SELECT CASE WHEN starts_with(w.owner, 'user:') THEN :of_person ELSE :most END AS most) AS cap
    CROSS JOIN LATERAL (SELECT count(*) AS count FROM (
        SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'pending' LIMIT cap.most
    ) AS counted) AS waiting
    WHERE w.deleted_at IS NULL
) AS seen
WHERE w.id = seen.id AND w.overflowing = seen.overflowing
  AND CASE WHEN w.overflowing THEN seen.count < seen.most / 2 ELSE seen.count >= seen.most END
RETURNING w.id, w.overflowing
""").bindparams(bindparam("most", type_=Integer()), bindparam("of_person", type_=Integer()))


class Housekeeping:
    """Tidies up. `run` must be running.

    Args:
        sessions: in which every statement is a transaction; one is used at a time.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def run(self) -> None:
        """Do everything now and then, until cancelled."""
        await regularly(EVERY, self.tidy, lambda error: log.debug("webhooks cannot be tidied up for now", error=error))

    async def tidy(self) -> None:
        """Do everything there is to do."""
        await self._limit_waiting()
        await in_pieces(self._sessions, fail_waiting, PIECE)
        await in_pieces(self._sessions, _forget_those_of_the_deleted, PIECE)
        await in_pieces(self._sessions, _forget_the_old, PIECE)
        async with self._sessions() as session:
            await session.execute(_DELETED, {"outlived": OUTLIVED_BY})
            await session.execute(_OLD_SECRETS)

    async def _limit_waiting(self) -> None:
        """Have nothing more wait for endpoints for which too much does, until half of it is gone."""
        caps = {"most": deliveries.MOST_PENDING, "of_person": deliveries.MOST_PENDING_OF_PERSON}
        async with self._sessions() as session:
            turned = (await session.execute(_OVERFLOW, caps)).all()
        for webhook_id, overflowing in turned:
            if overflowing:
                log.warning("deliveries fail unsent: too many wait for the webhook", webhook_id=webhook_id)
            else:
                log.info("deliveries wait for the webhook again", webhook_id=webhook_id)


async def _forget_those_of_the_deleted(session: AsyncSession) -> int:
    return await changed(session, _OF_DELETED, {"piece": PIECE})


async def _forget_the_old(session: AsyncSession) -> int:
    return await changed(session, _OLD, {"kept": KEPT_FOR, "piece": PIECE})
