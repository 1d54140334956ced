"""The soak: thousands of sagas at once while everything breaks, one thing after the other and several at a time.

Afterwards it is asked whether all healed, and of every law whether it holds: 0 lost, 0 charged twice, 0 unreleased,
0 stuck, 0 dead letters. Faults and orders are drawn from the seed; what the machine makes of them is not.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from handlers.bus.publisher import BUS_ERRORS
from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from models.messages import InventoryReleased, InventoryValidationFailed, PaymentProcessed
from saga.runtime.tasks import own_cancellation
from tests.faults.clients import Kind
from tests.faults.deck import DECK, Fault, Stage, Suit
from tests.faults.load import Load
from tests.faults.neighbour import neighbours
from tests.faults.place import TRANSACTIONS, Place, place
from tests.service import complaints

SERVICES = 2
PATIENT = {
    "SAGA_STEP_TIMEOUT_SECONDS": "3",
    "SAGA_RETRY_ATTEMPTS": "7",
    "SAGA_RETRY_DELAY_SECONDS": "0.3",
    "SAGA_TIMEOUT_SECONDS": "3600",
    "SAGA_REASK_SECONDS": "2",
}
"""A command that is not answered for more than 100 s would be parked, and its copy be a dead letter: no planned outage
lasts nearly so long, so that there must be none."""
FRESH_WITHIN = 15.0
"""Seconds from the end of the last fault until orders that are placed then have ended."""
HEALS_WITHIN = 60.0
"""Seconds from the end of the last fault until nothing is left to be done: the longest pause between two attempts, and
the work that has gathered."""
WORKED = 0.95
"""The part of all sagas that must have come to their end by way of messages."""
ENDED_BY = (InventoryValidationFailed, InventoryReleased, PaymentProcessed)
"""The last replies of an order without stock, of one that was declined, and of one that is completed."""
DEAL_SECONDS = 90.0
"""How long it takes about to play the whole deck once: longer, and little is broken; shorter, and nothing else is."""
_TELL_EVERY, _HEAR_EVERY, _HEAR_SECONDS = 0.5, 60, 20.0
_LEFT_BY_ASYNCPG = {"logger": "asyncio", "error": "ConnectionError"}
"""What asyncpg leaves behind of an attempt to connect that was given up: nobody can retrieve it."""
_WORKED = """
    SELECT count(*) FROM order_sagas WHERE order_id = ANY($1) AND completed_at IS NOT NULL AND EXISTS (
        SELECT 1 FROM jsonb_array_elements(history) entry
        WHERE entry ->> 'event' = ANY($2) AND entry ->> 'eventId' IS NOT NULL
        AND entry ->> 'status' IN ('Completed', 'Failed')
    )
"""


@dataclass(frozen=True)
class Plan:
    """How long, and how hard."""

    seed: int
    seconds: float
    """For load and faults; starting and healing take their own time."""
    concurrent: int
    stretch: float = 1.0
    """How many times longer the longest faults last."""
    settings: Mapping[str, str] = field(default_factory=PATIENT.copy)
    """What the service is told."""
    app: str = "app:app"
    """Another application in the service's place: one with a mistake."""


@dataclass(frozen=True)
class Fired:
    """A fault that has been."""

    name: str
    began: float
    ended: float
    saw: str

    def __str__(self) -> str:
        return f"{self.name.replace('_', ' ')} ({self.ended - self.began:.1f} s): {self.saw}"


@dataclass
class Outcome:
    """What became of it."""

    plan: Plan
    fired: list[Fired] = field(default_factory=list)
    started: int = 0
    worked: int = 0
    """Sagas that came to their end by way of messages."""
    touched: int = 0
    """Sagas that were under way when something was broken."""
    fresh_seconds: float = 0
    healed_seconds: float = 0
    broken: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """All that is not as it must be, in words."""
        missing = {fault.__name__ for suit in DECK.values() for fault in suit} - {one.name for one in self.fired}
        idle = self.worked < WORKED * self.started or not self.started
        return [
            *self.broken,
            *self.complaints,
            *(f"never fired: {name}" for name in sorted(missing)),
            *([f"{self.worked} of {self.started} sagas did real work"] if idle else []),
        ]

    def __str__(self) -> str:
        return (
            f"seed {self.plan.seed}: {self.started} sagas ({self.started / self.plan.seconds:.0f}/s), {self.touched} of"
            f" them while something was broken, {self.worked} ended by way of messages; {len(self.fired)} faults;"
            f" a fresh order after {self.fresh_seconds:.1f} s, all quiet after {self.healed_seconds:.1f} s;"
            f" {len(self.broken)} laws broken, {len(self.complaints)} complaints"
        )


class Watcher:
    """Whoever wants to see how it goes; this one does not."""

    def fired(self, fault: Fired) -> None:
        """A fault is over."""

    def goes_on(self, load: Load, seconds: float) -> None:
        """So many seconds have gone."""


async def soak(
    plan: Plan, postgres: PrivatePostgres, rabbitmq: RabbitMQ, folder: Path, watcher: Watcher | None = None
) -> Outcome:
    """Run it.

    Args:
        plan: how long and how hard.
        postgres: the database server; it is killed.
        rabbitmq: the broker; it is killed.
        folder: for logs and ledgers.
        watcher: is told how it goes.

    Raises:
        AssertionError: a fault broke nothing, or something did not heal.
    """
    for library in ("aiormq", "aio_pika"):
        # what the clients meet is what is wanted
        logging.getLogger(library).setLevel(logging.CRITICAL)
    outcome = Outcome(plan)
    try:
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(place(postgres, rabbitmq, folder, participants=False))
            others = await stack.enter_async_context(neighbours(here))
            for _ in range(SERVICES):
                await here.start_service(plan.app, **plan.settings)
            stages = {suit: Stage(here, others, Random(f"{plan.seed} {suit}"), plan.stretch) for suit in Suit}
            load = Load(here, plan.concurrent, Random(plan.seed))
            async with asyncio.TaskGroup() as tasks:
                loading = tasks.create_task(load.run())
                await _storm(outcome, here, load, stages, watcher or Watcher())
                await _heal(outcome, here, load)
                loading.cancel()
            await _judge(outcome, here, load)
    except BaseException as error:
        error.add_note("\n".join((f"soak: seed {plan.seed}, logs in {folder}", *map(str, outcome.fired))))
        raise
    return outcome


async def _storm(outcome: Outcome, here: Place, load: Load, stages: dict[Suit, Stage], watcher: Watcher) -> None:
    """Break everything, for as long as planned."""
    began = time.monotonic()
    until = began + outcome.plan.seconds
    async with asyncio.TaskGroup() as suits:
        watching = suits.create_task(_watch(here, load, began, watcher))
        playing = [
            suits.create_task(_play(outcome, DECK[suit], stage, until, watcher)) for suit, stage in stages.items()
        ]
        await asyncio.wait(playing)
        watching.cancel()


async def _watch(here: Place, load: Load, began: float, watcher: Watcher) -> None:
    """Tell how it goes, and keep the firehose's queue short."""
    for turn in count():
        watcher.goes_on(load, time.monotonic() - began)
        await asyncio.sleep(_TELL_EVERY)
        if turn % _HEAR_EVERY == 0:
            with suppress(*BUS_ERRORS):
                await own_cancellation(here.hear(_HEAR_SECONDS))


async def _play(outcome: Outcome, cards: Sequence[Fault], stage: Stage, until: float, watcher: Watcher) -> None:
    """Deal all cards of a suit, shuffled, as often as there is time for; each has a slot, and begins in it."""
    deals = max(1, round(outcome.plan.seconds / DEAL_SECONDS))
    hand = [fault for _ in range(deals) for fault in stage.random.sample(cards, len(cards))]
    for number, fault in enumerate(hand):
        slot = max(until - time.monotonic(), 0) / (len(hand) - number)
        await asyncio.sleep(stage.random.uniform(0, slot / 2))
        fired = await _fire(fault, stage)
        outcome.fired.append(fired)
        watcher.fired(fired)
        if number + 1 < len(hand):
            await asyncio.sleep(max(fired.began + slot / 2 - time.monotonic(), 0))


async def _fire(fault: Fault, stage: Stage) -> Fired:
    began = time.monotonic()
    try:
        saw = await fault(stage)
    except Exception as error:
        error.add_note(f"in the fault {fault.__name__}")
        raise
    return Fired(fault.__name__, began, time.monotonic(), saw)


async def _heal(outcome: Outcome, here: Place, load: Load) -> None:
    """See how soon orders that are placed now end, and how soon everything does."""
    began = time.monotonic()
    load.close()
    try:
        async with asyncio.timeout(HEALS_WITHIN):
            await here.ended(await here.order([Kind.HAPPY] * 2, Random(outcome.plan.seed)))
            outcome.fresh_seconds = time.monotonic() - began
            await load.done.wait()
            await here.quiet(HEALS_WITHIN)
    except TimeoutError:
        # what is left to be done is named by the laws
        outcome.broken.append(f"liveness: not all is quiet {HEALS_WITHIN:g} s after the last fault")
        outcome.broken += [f"under way then: {row}" for row in await here.rows(TRANSACTIONS)]
    outcome.healed_seconds = time.monotonic() - began
    if outcome.fresh_seconds > FRESH_WITHIN:
        outcome.broken.append(f"liveness: a fresh order took {outcome.fresh_seconds:.1f} s")


async def _judge(outcome: Outcome, here: Place, load: Load) -> None:
    outcome.started = len(load.journeys)
    outcome.touched = sum(
        any(fault.began <= (journey.ended or fault.began) and journey.began <= fault.ended for fault in outcome.fired)
        for journey in load.journeys.values()
    )
    ended_by = [reply.__name__ for reply in ENDED_BY]
    (found,) = await here.rows(_WORKED, list(load.journeys), ended_by)
    outcome.worked = found["count"]
    outcome.broken += await here.broken()
    outcome.complaints = [line for log in sorted(here.folder.glob("service-*.log")) for line in _complaints(log)]


def _complaints(log: Path) -> Iterator[str]:
    """What a service should never have to say, whatever breaks."""
    for line in complaints(log):
        if not line.items() >= _LEFT_BY_ASYNCPG.items():
            yield f"{log.name}: {line}"
