"""Which deliveries a worker takes in hand, and how it gives them back. SQL only, in the caller's session.

Fair to endpoints: each has so many attempts under way at a worker and no more, one while its last attempt has failed;
and those that fail have only a part of a worker's, and get it however much the others have to do. Nor has one owner all
of it, whose endpoints are slow without failing. Endpoints are found by jumps along the index of what waits, so what a
look costs depends on how many of them wait for something, not on how much: a hundred thousand deliveries of one that
hangs are one jump. Look again when ten thousand endpoints wait at once (a look then takes more than a hundred
milliseconds).
"""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Integer,
    Interval,
    Uuid,
    bindparam,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from saga.webhooks.attempts import Claimed

LEASE = timedelta(seconds=30)
"""How long a worker has a delivery for itself: twice as long as an attempt takes at most."""
MOST, MOST_EACH = 100, 8
"""Attempts under way at a worker: in all, and for one endpoint."""
MOST_FAILING = MOST // 2
"""Of all of them, for endpoints whose last attempt has failed: the others always find room."""
MOST_OF_OWNER = 64
"""Of all of them, for the endpoints of one owner: so do those of the others."""
_ROOM = """
WITH RECURSIVE waiting (id) AS (
    (SELECT webhook_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM webhook_deliveries d WHERE d.status = 'pending' AND d.webhook_id > waiting.id
            ORDER BY d.webhook_id LIMIT 1)
    FROM waiting WHERE waiting.id IS NOT NULL
), owners AS (
    SELECT w.owner, sum(busy.attempts) AS attempts
    FROM unnest(:busy, :counts) AS busy (id, attempts) JOIN webhooks w ON w.id = busy.id GROUP BY w.owner
), room AS (
    SELECT w.id, w.owner, w.url, w.secret, w.failures > 0 AS failing,
        :of_owner - coalesce(owners.attempts, 0) AS of_owner,
        CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret,
        CASE WHEN w.failures > 0 THEN 1 ELSE :each END - coalesce(busy.attempts, 0) AS attempts,
        greatest(w.resting_until, (
            SELECT min(d.next_attempt_at) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'pending'
        )) AS first_at
    FROM waiting
    JOIN webhooks w ON w.id = waiting.id AND w.status = 'enabled' AND w.deleted_at IS NULL
    LEFT JOIN unnest(:busy, :counts) AS busy (id, attempts) ON busy.id = w.id
    LEFT JOIN owners ON owners.owner = w.owner
    WHERE :of_owner > coalesce(owners.attempts, 0)
      AND CASE WHEN w.failures > 0 THEN least(1, :failing) ELSE :each END > coalesce(busy.attempts, 0)
)
"""
_BUSY = (
    bindparam("busy", type_=ARRAY(Uuid())),
    bindparam("counts", type_=ARRAY(Integer())),
    bindparam("each", type_=Integer()),
    bindparam("of_owner", type_=Integer()),
    bindparam("failing", type_=Integer()),
)
_UNTIL_NEXT = text(f"{_ROOM} SELECT min(first_at) - clock_timestamp() FROM room").bindparams(*_BUSY)  # noqa: S608 - our own words
# now() can be searched for along an index, clock_timestamp() cannot
_CLAIM = text(f"""{_ROOM}, shuffled AS (
    SELECT *, random() AS place FROM room WHERE first_at <= now()
), turns AS (
    SELECT *, row_number() OVER (PARTITION BY failing ORDER BY place) AS turn,
        of_owner + attempts - sum(attempts) OVER (PARTITION BY owner ORDER BY place) AS left_to_it
    FROM shuffled
), taken AS MATERIALIZED (
    SELECT due.id, turns.url, turns.secret, turns.previous_secret, turns.failing
    FROM (
        SELECT * FROM turns WHERE (NOT failing OR turn <= :failing) AND left_to_it > 0 ORDER BY turn, place LIMIT :free
    ) AS turns
    CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.webhook_id = turns.id AND d.status = 'pending' AND d.next_attempt_at <= now()
        ORDER BY d.next_attempt_at LIMIT least(turns.attempts, turns.left_to_it) FOR UPDATE SKIP LOCKED
    ) AS due
    LIMIT :free
)
UPDATE webhook_deliveries d SET lease = gen_random_uuid(), next_attempt_at = clock_timestamp() + :lease
FROM taken WHERE d.id = taken.id
RETURNING d.id, d.webhook_id, d.event_id, d.order_id, d.type, d.body, d.traceparent, d.attempts, d.lease,
    taken.url, taken.secret, taken.previous_secret, taken.failing, clock_timestamp() AS now
""").bindparams(*_BUSY, bindparam("free", type_=Integer()), bindparam("lease", type_=Interval()))  # noqa: S608 - our own words


async def until_next(session: AsyncSession, under_way: Collection[Claimed]) -> timedelta | None:
    """How long until a delivery is due that this worker has room for, negative when it is; None where there is none.

    Args:
        session: the caller's.
        under_way: what the worker has in hand.
    """
    wait: timedelta | None = (await session.execute(_UNTIL_NEXT, _room(under_way))).scalar_one()
    return wait


async def claim(session: AsyncSession, under_way: Collection[Claimed]) -> list[Claimed]:
    """Take deliveries in hand that are due, the longest due of each endpoint first, as many as there is room for.

    What another worker is taking is passed over.
    """
    values = _room(under_way) | {"free": MOST - len(under_way), "lease": LEASE}
    return [Claimed(*row) for row in await session.execute(_CLAIM, values)]


def _room(under_way: Collection[Claimed]) -> dict[str, Any]:
    busy = Counter(one.webhook_id for one in under_way)
    return {
        "busy": list(busy),
        "counts": list(busy.values()),
        "each": MOST_EACH,
        "of_owner": MOST_OF_OWNER,
        "failing": max(MOST_FAILING - sum(one.failing for one in under_way), 0),
    }


_RELEASE = text("""
UPDATE webhook_deliveries SET lease = NULL, next_attempt_at = clock_timestamp() WHERE lease = any(:leases)
  AND id = any(:ids)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid())), bindparam("leases", type_=ARRAY(Uuid())))


async def release_if_leased(session: AsyncSession, unsent: Collection[Claimed]) -> None:
    """Give back what was not sent, or not to the end; what somebody else has in hand meanwhile is left to them."""
    await session.execute(_RELEASE, {"ids": [one.id for one in unsent], "leases": [one.lease for one in unsent]})
