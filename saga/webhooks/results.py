"""What is written down of attempts that are over: of the delivery, and of its endpoint. SQL only."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import Boolean, Integer, Interval, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine

from models.messages import instant_text
from models.states import DeliveryStatus
from saga.webhooks import disabling
from saga.webhooks.attempts import Attempt, Outcome, Verdict
from saga.webhooks.retry import JITTER

LOG_LENGTH = 20
"""As many attempts are remembered of a delivery."""
GIVEN_UP = "every attempt has failed, for longer than a delivery is tried"
"""Why an endpoint is disabled for which more waits than it could be asked to take: then no delivery comes to its last
attempt, since each goes to the end of the queue again."""

_MARKS: dict[str, TypeEngine[Any]] = {
    "ids": Uuid(),
    "leases": Uuid(),
    "statuses": Text(),
    "waits": Interval(),
    "codes": Integer(),
    "errors": Text(),
    "entries": Text(),
}
_MARK = text("""
UPDATE webhook_deliveries d SET
    status = mark.status,
    attempts = d.attempts + 1,
    next_attempt_at = clock_timestamp() + mark.wait * (1 + :jitter * random()),
    lease = NULL,
    last_status_code = mark.code,
    last_error = mark.error,
    delivered_at = CASE WHEN mark.status = 'delivered' THEN clock_timestamp() END,
    log = CASE WHEN jsonb_array_length(d.log) < :log_length THEN d.log ELSE d.log - 0 END || CAST(mark.entry AS jsonb)
FROM unnest(:ids, :leases, :statuses, :waits, :codes, :errors, :entries)
    AS mark (id, lease, status, wait, code, error, entry)
WHERE d.id = mark.id AND d.lease = mark.lease
RETURNING mark.lease
""").bindparams(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in _MARKS.items()))
_STATUS = {
    Outcome.DELIVERED: DeliveryStatus.DELIVERED,
    Outcome.RETRIED: DeliveryStatus.PENDING,
    Outcome.REFUSED: DeliveryStatus.PENDING,
    Outcome.FAILED: DeliveryStatus.FAILED,
    Outcome.GONE: DeliveryStatus.FAILED,
}
# locked in one order, so that two workers cannot wait for each other
_HEALTH = text("""
WITH heard AS MATERIALIZED (
    SELECT w.id, told.anew, told.failures, told.rest FROM webhooks w
    JOIN unnest(:ids, :anew, :failures, :rests) AS told (id, anew, failures, rest) ON told.id = w.id
    WHERE told.failures > 0 OR w.failures > 0 OR told.rest IS NOT NULL
    ORDER BY w.id FOR NO KEY UPDATE OF w
)
UPDATE webhooks w SET
    failures = CASE WHEN heard.anew THEN 0 ELSE w.failures END + heard.failures,
    failing_since = CASE
        WHEN heard.failures = 0 THEN NULL
        WHEN heard.anew THEN clock_timestamp()
        ELSE coalesce(w.failing_since, clock_timestamp())
    END,
    resting_until = greatest(w.resting_until, clock_timestamp() + heard.rest)
FROM heard WHERE w.id = heard.id
RETURNING w.id, w.failing_since < clock_timestamp() - :longest AS given_up
""").bindparams(
    bindparam("longest", type_=Interval()),
    bindparam("ids", type_=ARRAY(Uuid())),
    bindparam("anew", type_=ARRAY(Boolean())),
    bindparam("failures", type_=ARRAY(Integer())),
    bindparam("rests", type_=ARRAY(Interval())),
)


async def mark_if_leased(
    session: AsyncSession, ended: Sequence[tuple[Attempt, Verdict]], longest: timedelta
) -> set[UUID]:
    """Write down what became of attempts, and what that says of their endpoints: in one transaction of the caller's.

    Args:
        session: the caller's.
        ended: in the order they ended in.
        longest: an endpoint is disabled of which every attempt has failed for longer than that.

    Returns:
        the leases of those that it was written of; what has another lease by now is left to whoever has that.
    """
    if not ended:
        return set()
    rows = [_row(attempt, what) for attempt, what in ended]
    values = {name: [row[name] for row in rows] for name in _MARKS}
    marked = await session.execute(_MARK, values | {"jitter": JITTER, "log_length": LOG_LENGTH})
    ours = set(marked.scalars())
    told = [(one, what) for one, what in ended if one.claimed.lease in ours and not one.claimed.ping]
    if not told:
        return ours
    health = await session.execute(_HEALTH, _health(told) | {"longest": longest})
    disabled = {row.id: GIVEN_UP for row in health if row.given_up}
    disabled |= {one.claimed.webhook_id: what.disables for one, what in told if what.disables}
    for webhook_id, why in sorted(disabled.items()):
        await disabling.disable(session, webhook_id, why)
    return ours


def _row(attempt: Attempt, what: Verdict) -> dict[str, Any]:
    answer, claimed = attempt.answer, attempt.claimed
    entry = {
        "at": instant_text(claimed.now),
        "statusCode": answer.status,
        "seconds": round(answer.seconds, 3),
        "error": what.error,
        "excerpt": answer.excerpt,
    }
    return {
        "ids": claimed.id,
        "leases": claimed.lease,
        "statuses": _STATUS[what.outcome].value,
        "waits": what.wait,
        "codes": answer.status,
        "errors": what.error,
        "entries": to_json(entry).decode(),
    }


def _health(told: Sequence[tuple[Attempt, Verdict]]) -> dict[str, Any]:
    """By endpoint: whether one of its attempts succeeded, how many failed since, and how long it asks to be left alone.

    In the order they ended in.
    """
    anew: dict[UUID, bool] = {}
    failures: Counter[UUID] = Counter()
    rests: dict[UUID, timedelta] = {}
    for attempt, what in told:
        webhook_id, rest = attempt.claimed.webhook_id, attempt.answer.retry_after
        if what.outcome is not Outcome.DELIVERED and rest:
            rests[webhook_id] = max(rest, rests.get(webhook_id, rest))
        if what.outcome is Outcome.DELIVERED:
            anew[webhook_id], failures[webhook_id] = True, 0
        else:
            anew.setdefault(webhook_id, False)
            failures[webhook_id] += 1
    return {
        "ids": list(anew),
        "anew": list(anew.values()),
        "failures": [failures[id_] for id_ in anew],
        "rests": [rests.get(id_) for id_ in anew],
    }
