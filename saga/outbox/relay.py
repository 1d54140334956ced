"""The relay: from the outbox to the bus. It decides nothing.

After a commit the messages are handed over in memory, published together, and their rows deleted together when the
broker has confirmed them. The memory is only a short cut; the table is the truth. What a crash, an outage or a missing
queue left there is claimed, by any worker, once its lease has run out. A command stays until some queue takes it; an
event that no queue takes is dropped and counted, as everywhere in publish/subscribe.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from saga.errors import classify
from saga.outbox import store as outbox_store
from saga.outbox.message import LEASE, Envelope
from saga.outbox.publisher import PUBLISH_TIMEOUT, UNROUTABLE, Publisher
from saga.runtime.backoff import Trouble
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.telemetry import committed as telemetry
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

MAX_BATCH = 500
SWEEP_EVERY = timedelta(seconds=1)
"""How often the table is read for what was left behind."""
TRY_AGAIN_AFTER = timedelta(seconds=2)
"""When a message that could not be published is tried again."""
STAND_BY_FOR = timedelta(minutes=10)
"""How long the others wait of which no queue takes the first: as soon as one gets through, they all follow, so that
trying costs the same however many have gathered."""
FINISH_WITHIN, HAND_BACK_WITHIN = timedelta(seconds=2), timedelta(seconds=1)
"""How long a worker that stops goes on publishing, and then tries to tell the others what is left."""
_STALE_AFTER = LEASE - 2 * PUBLISH_TIMEOUT
"""A message that waited in memory for longer is left to its row: somebody else may claim that soon, and one message
must never be in flight twice."""


class Relay:
    """Publishes committed messages. `run` must be running.

    Args:
        sessions: the relay's own, in which every statement is a transaction; it uses one at a time.
        publisher: the publishing side of the bus.
    """

    def __init__(self, sessions: Sessions, publisher: Publisher) -> None:
        self._sessions = sessions
        self._publisher = publisher
        self._waiting: list[tuple[float, Envelope]] = []
        self._in_hand: list[Envelope] = []
        """What is being published."""
        self._troubles: dict[str, Trouble] = {}
        """By routing key: why its messages do not leave."""
        self._unheard: dict[str, Trouble] = {}
        """By routing key: events that nobody listens to."""
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def hand_over(self, envelopes: list[Envelope]) -> None:
        """Take messages whose transaction was committed just now."""
        stale_at = asyncio.get_running_loop().time() + _STALE_AFTER.total_seconds()
        self._waiting += [(stale_at, envelope) for envelope in envelopes]
        self._arrived.set()
        self._idle.clear()

    async def finish(self) -> None:
        """Return when all that was handed over is published, or could not be within `FINISH_WITHIN`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_WITHIN.total_seconds()):
                await self._idle.wait()

    async def run(self) -> None:
        """Publish whatever is handed over, and now and then what was left behind, until cancelled.

        What it has in hand then is handed back: no other worker need wait for its lease to run out.
        """
        try:
            await self._run()
        except asyncio.CancelledError:
            await self._hand_back()
            raise

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(sweep_at):
                    await self._arrived.wait()
            # however much is handed over, what was left behind has its turn
            if loop.time() >= sweep_at:
                await self._publisher.keep_open()
                await self._sweep()
                sweep_at = loop.time() + SWEEP_EVERY.total_seconds()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if batch:
                reach("relay.taken")
            if not self._waiting:
                self._arrived.clear()
            await self._publish([envelope for stale_at, envelope in batch if loop.time() < stale_at])
            if not self._waiting:
                self._idle.set()

    async def _sweep(self) -> None:
        left_behind = True
        while left_behind:
            try:
                async with self._sessions() as session:
                    claimed = await outbox_store.claim_overdue(session, LEASE, MAX_BATCH)
            except Exception as error:
                if not classify(error).transient:
                    raise
                log.debug("the outbox cannot be read for now", error=error)
                return
            if claimed:
                reach("relay.claimed")
            await self._publish(claimed)
            left_behind = len(claimed) == MAX_BATCH

    async def _publish(self, envelopes: list[Envelope]) -> None:
        """Publish these; delete what was confirmed, and events that nobody listens to; let go of the others."""
        self._in_hand = envelopes
        for batch in _rounds(envelopes):
            failures = await self._publisher.publish(batch)
            reach("relay.confirmed")
            published = [envelope for envelope in batch if envelope.id not in failures]
            dropped = [envelope for envelope in batch if envelope.is_event and failures.get(envelope.id) == UNROUTABLE]
            for envelope in dropped:
                del failures[envelope.id]
            failed = [(envelope, failures[envelope.id]) for envelope in batch if envelope.id in failures]
            try:
                await self._settle(published, dropped, failed)
            except Exception as error:
                if not classify(error).transient:
                    raise
                log.warning("published, but the rows stay and will be published again", error=error)
            reach("relay.removed")
            telemetry.not_published(failed)
            for envelope in published:
                for troubles in (self._troubles, self._unheard):
                    if trouble := troubles.pop(envelope.routing_key, None):
                        trouble.over("published again", routing_key=envelope.routing_key)
            for key, why in dict.fromkeys((envelope.routing_key, why) for envelope, why in failed):
                self._troubles.setdefault(key, Trouble(log)).say("cannot be published", routing_key=key, error=why)
            for key in dict.fromkeys(envelope.routing_key for envelope in dropped):
                unheard = self._unheard.setdefault(key, Trouble(log, "dropping it"))
                unheard.say("nobody listens to an event", routing_key=key)
        self._in_hand = []

    async def _hand_back(self) -> None:
        left = [*self._in_hand, *(envelope for _, envelope in self._waiting)]
        self._in_hand, self._waiting = [], []
        if not left:
            return
        log.info("handing back messages that are not known to have arrived", count=len(left))
        try:
            async with asyncio.timeout(HAND_BACK_WITHIN.total_seconds()), self._sessions() as session:
                await outbox_store.release_if_leased(session, left)
        except Exception as error:
            if not classify(error).transient:
                raise
            log.warning("they wait for their lease to run out", error=error)

    async def _settle(
        self, published: list[Envelope], dropped: list[Envelope], failed: Sequence[tuple[Envelope, str]]
    ) -> None:
        waits: list[tuple[UUID, str, timedelta]] = []
        tried: set[str] = set()
        for envelope, why in failed:
            stands_by = why == UNROUTABLE and envelope.routing_key in tried
            waits.append((envelope.id, why, STAND_BY_FOR if stands_by else TRY_AGAIN_AFTER))
            tried.add(envelope.routing_key)
        heard = {envelope.routing_key for envelope in published if envelope.last_error == UNROUTABLE}
        async with self._sessions() as session:
            if gone := [*published, *dropped]:
                await outbox_store.remove_published(session, [envelope.id for envelope in gone])
                telemetry.published(published)
                telemetry.dropped(dropped)
            if waits:
                await outbox_store.postpone(session, waits)
            if heard:
                await outbox_store.bring_forward(session, heard, UNROUTABLE)


def _rounds(envelopes: list[Envelope]) -> Iterator[list[Envelope]]:
    """Spread these so that no message is in flight twice at once: a return is matched by the message's id."""
    while envelopes:
        first: dict[object, Envelope] = {}
        later: list[Envelope] = []
        for envelope in envelopes:
            if envelope.message_id in first:
                later.append(envelope)
            else:
                first[envelope.message_id] = envelope
        yield list(first.values())
        envelopes = later
