"""The courier: from the table of deliveries to customers' endpoints.

The table is the truth. A worker takes in hand what is due and what it has room for, sends it, and writes down what
became of it, together with all that ended meanwhile. One that dies between the two leaves a lease that runs out: the
delivery is sent again under the same `webhook-id`, and never lost. While the database is away nothing new is sent, and
what was sent stays in memory until it can be written down.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from saga.errors import classify
from saga.runtime.backoff import Backoff
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.telemetry import committed as telemetry
from saga.telemetry.log_setup import get_logger
from saga.telemetry.traceparent import is_sampled, new_child
from saga.webhooks import claims
from saga.webhooks.answers import Answer
from saga.webhooks.attempts import Attempt, Claimed, Outcome, headers, verdict
from saga.webhooks.pace import Pace
from saga.webhooks.results import mark_if_leased
from saga.webhooks.retry import longest
from saga.webhooks.secret_wrapping import Wrapping

log = get_logger(__name__)

LOOK_EVERY = timedelta(seconds=1)
"""The longest sleep: another worker may write something meanwhile."""
BREATH = timedelta(seconds=0.1)
"""Sleep after a look at what is due and another worker is taking."""
REST = 3
"""Times as long as it took, up to `LOOK_EVERY`, nothing is looked at after a look that found nothing due: a look costs
much where thousands of endpoints wait for their next attempt, and every commit of the engine asks for one."""
FINISH_WITHIN, HAND_BACK_WITHIN = timedelta(seconds=1.5), timedelta(seconds=1)
"""How long a worker that stops waits for answers, and then tries to write down what it knows."""


class Sending(Protocol):
    """What can send a webhook."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post this once; whatever the receiver does is an answer, and takes at most fifteen seconds."""


class Courier:
    """Delivers webhooks. `run` must be running.

    Args:
        sessions: the courier's own; it uses one at a time.
        sender: posts to endpoints.
        waits: before each further attempt of a delivery.
        wrapping: opens the secrets that sign.
    """

    def __init__(self, sessions: Sessions, sender: Sending, waits: Sequence[timedelta], wrapping: Wrapping) -> None:
        self._sessions = sessions
        self._sender = sender
        self._waits = waits
        self._wrapping = wrapping
        self._pace = Pace()
        self._under_way: dict[UUID, Claimed] = {}
        """By lease: what is being sent, or was sent and is not written down."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[Attempt] = []
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Something was written that may be due."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled; what is under way then is handed back."""
        try:
            await self._run()
        except asyncio.CancelledError:
            await self._stop()
            raise

    async def _run(self) -> None:
        backoff = Backoff(log)
        while True:
            self._woken.clear()
            try:
                await self._write_down()
                wait = await self._take()
            except Exception as error:
                if not classify(error).transient:
                    raise
                await backoff.pause("webhooks wait for the database", error=error)
                continue
            backoff.over("webhooks are delivered again")
            backoff = Backoff(log)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds()):
                    await self._woken.wait()

    async def _take(self) -> timedelta:
        """Begin as many attempts as are due and find room; how long to sleep then, unless something happens."""
        if len(self._under_way) >= claims.MOST:
            return LOOK_EVERY
        began = time.monotonic()
        hand = claims.Hand(self._under_way.values(), self._pace.slots, self._wrapping.key_ids)
        async with self._sessions() as session:
            wait = await claims.until_next(session, hand)
        if wait is None or wait > timedelta(0):
            await asyncio.sleep(min(REST * (time.monotonic() - began), LOOK_EVERY.total_seconds()))
            return min(wait or LOOK_EVERY, LOOK_EVERY)
        async with self._sessions() as session, session.begin():
            claimed = await claims.claim(session, hand)
        if not claimed:
            return BREATH
        reach("webhook.claimed")
        for one in claimed:
            self._under_way[one.lease] = one
            task = asyncio.create_task(self._attempt(one))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return timedelta(0)

    async def _attempt(self, claimed: Claimed) -> None:
        parent = claimed.traceparent
        context = new_child(parent) if parent and is_sampled(parent) else parent
        began = time.time_ns()
        try:
            answer = await self._sender.send(claimed.url, headers(claimed, context, self._wrapping), claimed.body)
        except Exception:
            # no fault of the receiver's: it does not count as an attempt, and comes again when the lease has run out
            log.exception("a webhook cannot be sent", webhook_id=claimed.webhook_id, delivery_id=claimed.id)
            del self._under_way[claimed.lease]
            return
        reach("webhook.sent")
        attempt = Attempt(claimed, answer, context, began, time.time_ns())
        self._pace.note(attempt)
        self._ended.append(attempt)
        self._woken.set()

    async def _write_down(self) -> None:
        """Write down what has ended: together, or, where PostgreSQL refuses that, one by one without the culprit."""
        ended = self._ended
        try:
            await self._mark(ended)
        except Exception as error:
            if classify(error).transient:
                raise
            for attempt in list(ended):
                await self._mark_alone(attempt)

    async def _mark_alone(self, attempt: Attempt) -> None:
        try:
            await self._mark([attempt])
        except Exception as error:
            if classify(error).transient:
                raise
            claimed = attempt.claimed
            log.exception("an attempt is forgotten", webhook_id=claimed.webhook_id, delivery_id=claimed.id)
            self._done([attempt])

    async def _mark(self, ended: Sequence[Attempt]) -> None:
        if not ended:
            return
        judged = [(attempt, verdict(attempt.claimed, attempt.answer, self._waits)) for attempt in ended]
        async with self._sessions() as session, session.begin():
            marked = await mark_if_leased(session, judged, longest(self._waits, claims.LEASE))
        reach("webhook.marked")
        self._done([attempt for attempt, _ in judged])
        for attempt, what in judged:
            telemetry.attempted(attempt, what.outcome if attempt.claimed.lease in marked else Outcome.LOST)

    def _done(self, attempts: Sequence[Attempt]) -> None:
        leases = {attempt.claimed.lease for attempt in attempts}
        for lease in leases:
            del self._under_way[lease]
        self._ended = [one for one in self._ended if one.claimed.lease not in leases]

    async def _stop(self) -> None:
        if self._tasks:
            _, unanswered = await asyncio.wait(self._tasks, timeout=FINISH_WITHIN.total_seconds())
            for task in unanswered:
                task.cancel()
            await asyncio.gather(*unanswered, return_exceptions=True)
        try:
            async with asyncio.timeout(HAND_BACK_WITHIN.total_seconds()):
                await self._write_down()
                async with self._sessions() as session, session.begin():
                    await claims.release_if_leased(session, self._under_way.values())
        except Exception as error:
            if not classify(error).transient:
                raise
            log.warning("webhooks that are under way wait for their leases to run out", error=error)
        self._under_way.clear()
        self._ended.clear()
