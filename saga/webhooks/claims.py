"""Which deliveries a worker takes in hand, and how it gives them back. SQL only, in the caller's session.

Fair to endpoints: each has so many attempts under way at a worker and no more, fewer while it is slow
(`saga.webhooks.pace`), and one while its last attempt has failed; and those that fail or are slow have only a part of a
worker's, and get it however much the others have to do. Nor has one owner all of it. What a worker has no key to sign
with it leaves to others. Endpoints are found by jumps along the index of what waits, so what a
look costs depends on how many of them wait for something, not on how much: a hundred thousand deliveries of one that
hangs are one jump. Look again when ten thousand endpoints wait at once (a look then takes more than a hundred
milliseconds).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Integer,
    Interval,
    Text,
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
MOST_HELD_BACK = MOST // 2
"""Of all of them, for endpoints whose last attempt has failed, or that are slow: the others always find room."""
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
    SELECT w.owner, sum(known.attempts) AS attempts
    FROM unnest(:known, :counts, :slots) AS known (id, attempts, slots) JOIN webhooks w ON w.id = known.id
    GROUP BY w.owner
), ready AS (
    SELECT w.id, w.owner, w.url, w.secret, w.resting_until,
        CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret,
        w.failures > 0 OR coalesce(known.slots < :each, false) AS held_back,
        :of_owner - coalesce(owners.attempts, 0) AS of_owner,
        CASE WHEN w.failures > 0 THEN 1 ELSE coalesce(known.slots, :each) END - coalesce(known.attempts, 0) AS attempts
    FROM waiting
    JOIN webhooks w ON w.id = waiting.id AND w.status = 'enabled' AND w.deleted_at IS NULL
    LEFT JOIN unnest(:known, :counts, :slots) AS known (id, attempts, slots) ON known.id = w.id
    LEFT JOIN owners ON owners.owner = w.owner
), room AS (
    SELECT w.*, greatest(w.resting_until, (
            SELECT min(d.next_attempt_at) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'pending'
        )) AS first_at
    FROM ready w
    WHERE w.of_owner > 0 AND w.attempts > 0 AND (NOT w.held_back OR :held_back > 0)
      AND (starts_with(w.secret, 'whsec_') OR split_part(w.secret, ':', 2) = any(:keys))
      AND (w.previous_secret IS NULL OR starts_with(w.previous_secret, 'whsec_')
           OR split_part(w.previous_secret, ':', 2) = any(:keys))
)
"""
_HAND = (
    bindparam("known", type_=ARRAY(Uuid())),
    bindparam("counts", type_=ARRAY(Integer())),
    bindparam("slots", type_=ARRAY(Integer())),
    bindparam("each", type_=Integer()),
    bindparam("of_owner", type_=Integer()),
    bindparam("held_back", type_=Integer()),
    bindparam("keys", type_=ARRAY(Text())),
)
_UNTIL_NEXT = text(f"{_ROOM} SELECT min(first_at) - clock_timestamp() FROM room").bindparams(*_HAND)  # noqa: S608 - our own words
# now() can be searched for along an index, clock_timestamp() cannot
_CLAIM = text(f"""{_ROOM}, shuffled AS (
    SELECT *, random() AS place FROM room WHERE first_at <= now()
), turns AS (
    SELECT *, row_number() OVER (PARTITION BY held_back ORDER BY place) AS turn, least(
        attempts,
        of_owner + attempts - sum(attempts) OVER (PARTITION BY owner ORDER BY place),
        CASE WHEN held_back
            THEN :held_back + attempts - sum(attempts) OVER (PARTITION BY held_back ORDER BY place) END
    ) AS share
    FROM shuffled
), taken AS MATERIALIZED (
    SELECT due.id, turns.url, turns.secret, turns.previous_secret, turns.held_back
    FROM (
        SELECT * FROM turns WHERE share > 0 ORDER BY turn, place LIMIT :free
    ) AS turns
    CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.webhook_id = turns.id AND d.status = 'pending' AND d.next_attempt_at <= now()
        ORDER BY d.next_attempt_at LIMIT turns.share FOR UPDATE SKIP LOCKED
    ) AS due
    LIMIT :free
)
UPDATE webhook_deliveries d SET lease = gen_random_uuid(), next_attempt_at = clock_timestamp() + :lease
FROM taken WHERE d.id = taken.id
RETURNING d.id, d.webhook_id, d.event_id, d.order_id, d.type, d.body, d.traceparent, d.attempts, d.lease,
    taken.url, taken.secret, taken.previous_secret, taken.held_back, clock_timestamp() AS now
""").bindparams(*_HAND, bindparam("free", type_=Integer()), bindparam("lease", type_=Interval()))  # noqa: S608 - our own words


@dataclass(frozen=True, slots=True)
class Hand:
    """What a worker can take."""

    under_way: Collection[Claimed] = ()
    """What it has in hand."""
    slots: Mapping[UUID, int] = field(default_factory=dict)
    """The attempts that endpoints may have under way, where they are fewer than `MOST_EACH`."""
    key_ids: Sequence[str] = ()
    """Of the keys with which it can open secrets."""

    @property
    def values(self) -> dict[str, Any]:
        """What the statements are told of it."""
        busy = Counter(one.webhook_id for one in self.under_way)
        known = busy.keys() | self.slots.keys()
        return {
            "known": list(known),
            "counts": [busy[id_] for id_ in known],
            "slots": [self.slots.get(id_, MOST_EACH) for id_ in known],
            "each": MOST_EACH,
            "of_owner": MOST_OF_OWNER,
            "held_back": max(MOST_HELD_BACK - sum(one.held_back for one in self.under_way), 0),
            "keys": self.key_ids,
        }


async def until_next(session: AsyncSession, hand: Hand) -> timedelta | None:
    """How long until a delivery is due that this worker has room for, negative when it is; None where there is none."""
    wait: timedelta | None = (await session.execute(_UNTIL_NEXT, hand.values)).scalar_one()
    return wait


async def claim(session: AsyncSession, hand: Hand) -> list[Claimed]:
    """Take deliveries in hand that are due, the longest due of each endpoint first, as many as there is room for.

    What another worker is taking is passed over.
    """
    values = hand.values | {"free": MOST - len(hand.under_way), "lease": LEASE}
    return [Claimed(*row) for row in await session.execute(_CLAIM, values)]


_RELEASE = text("""
UPDATE webhook_deliveries SET lease = NULL, next_attempt_at = clock_timestamp() WHERE lease = any(:leases)
  AND id = any(:ids)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid())), bindparam("leases", type_=ARRAY(Uuid())))


async def release_if_leased(session: AsyncSession, unsent: Collection[Claimed]) -> None:
    """Give back what was not sent, or not to the end; what somebody else has in hand meanwhile is left to them."""
    await session.execute(_RELEASE, {"ids": [one.id for one in unsent], "leases": [one.lease for one in unsent]})
