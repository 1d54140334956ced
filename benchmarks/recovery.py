"""How soon all goes on after a fault: seconds until orders that were placed meanwhile move, and until a fresh one ends.

One worker with the settings of the contract, under a light steady load by both doors, its servers behind proxies. The
clients insist. The seconds count from the end of a fault (the server accepts connections again, the worker is started
again), or from its beginning where the service has to heal while it lasts. When an order ended is what its row says.
Afterwards every law is asked of what is left: figures of a system that loses something are worth nothing.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

from rich.table import Table

from benchmarks.measuring import VoidError
from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from tests.faults.clients import Kind, wish
from tests.faults.neighbour import neighbours
from tests.faults.place import Place, place
from tests.service import Service

RATE = 8.0
"""Orders per second."""
AWAY_SECONDS = 3.0
"""How long a server is away."""
STEADY_SECONDS = 3.0
"""Load before each fault."""
ENDS_WITHIN = 60.0
"""Seconds after which the orders of a fault must have ended."""
PATIENT = {"SAGA_STEP_TIMEOUT_SECONDS": "30", "SAGA_RETRY_DELAY_SECONDS": "5"}
"""The contract's own: no timer is to heal what something else should."""
QUEUE = "order-service.InventoryReserved"
SOON_SECONDS = 1.0
"""Whoever comes so soon after the beginning of a fault that has no end has come meanwhile."""
FIGURES = {"moves": "orders move again", "caught_up": "all that waited ended", "fresh": "a fresh order ends"}
_ENDED = "SELECT order_id, extract(epoch FROM completed_at)::float8 AS at FROM order_sagas WHERE order_id = ANY($1)"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was measured once; all in seconds."""

    fault: str
    moves: float
    """Until the first order that was placed meanwhile has ended."""
    caught_up: float
    """Until the last of them has."""
    fresh: float
    """Until one that was placed at zero has ended, the slower one of both doors."""


class Load:
    """Clients that come one after the other, whatever becomes of those before.

    Args:
        place: where they order.
    """

    def __init__(self, place: Place) -> None:
        self.asked: dict[UUID, float] = {}
        """When each order was first asked for, by its id."""
        self._place = place
        self._random = Random(1)
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Nobody comes any more."""
        self._closed.set()

    async def run(self) -> None:
        """Come, until closed; those that are here then still get their order."""
        doors = cycle((True, False))
        async with asyncio.TaskGroup() as clients:
            while not self._closed.is_set():
                clients.create_task(self.order(over_http=next(doors)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(1 / RATE):
                        await self._closed.wait()

    async def order(self, *, over_http: bool) -> UUID:
        """One client, until its order is accepted."""
        began = time.time()
        clients, request = self._place.clients, wish(Kind.HAPPY, self._random)
        order_id = await (clients.over_http(request) if over_http else clients.over_bus(request))
        self.asked[order_id] = began
        return order_id


async def measure(  # noqa: PLR0913, PLR0917 - what a measurement is
    postgres: PrivatePostgres,
    rabbitmq: RabbitMQ,
    folder: Path,
    faults: Sequence[str],
    rounds: int,
    tell: Callable[[str], object],
) -> list[Recovery]:
    """Break and watch, round by round.

    Args:
        postgres: the database server.
        rabbitmq: the broker.
        folder: for logs and ledgers.
        faults: names out of `FAULTS`.
        rounds: how often each.
        tell: is told what comes next.

    Raises:
        VoidError: something was lost, or orders did not end.
    """
    async with place(postgres, rabbitmq, folder, participants=False) as here, neighbours(here):
        # by the command line of a person: one that is started again imports everything
        await here.run_service(Service(folder, here.environment | PATIENT, typed=True))
        load = Load(here)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            found = []
            for number in range(1, rounds + 1):
                for fault in faults:
                    tell(f"{fault}, round {number} of {rounds}")
                    found.append(await _once(here, load, fault))
            load.close()
        await here.quiet()
        if lost := await here.broken():
            raise VoidError(f"Void: {'; '.join(lost)}.")
    return found


async def _once(here: Place, load: Load, fault: str) -> Recovery:
    await asyncio.sleep(STEADY_SECONDS)
    began = time.time()
    zero = await FAULTS[fault](here)
    fresh = await asyncio.gather(load.order(over_http=True), load.order(over_http=False))
    until = max(zero, began + SOON_SECONDS)
    meanwhile = [order_id for order_id, asked in load.asked.items() if began <= asked < until]
    try:
        await here.ended([*fresh, *meanwhile], ENDS_WITHIN)
    except TimeoutError:
        raise VoidError(f"Void: not all orders ended within {ENDS_WITHIN:g} s after: {fault}.") from None
    rows = await here.rows(_ENDED, [*fresh, *meanwhile])
    ended = {row["order_id"]: row["at"] - zero for row in rows}
    waited = [ended[order_id] for order_id in meanwhile if ended[order_id] > 0]
    if not waited:
        raise VoidError(f"Void: nothing had to wait for the end of: {fault}.")
    return Recovery(fault, min(waited), max(waited), max(ended[order_id] for order_id in fresh))


async def _worker_killed(here: Place) -> float:
    here.service.kill()
    await asyncio.sleep(AWAY_SECONDS)
    zero = time.time()
    await here.service.restart()
    return zero


async def _broker_killed(here: Place) -> float:
    await asyncio.to_thread(here.rabbitmq.kill)
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(here.rabbitmq.start)
    return time.time()


async def _database_killed(here: Place) -> float:
    await asyncio.to_thread(here.postgres.kill)
    await asyncio.sleep(AWAY_SECONDS)
    await asyncio.to_thread(here.postgres.start)
    return time.time()


async def _broker_half_open(here: Place) -> float:
    here.bus_proxy.mute_open()
    return time.time()


async def _database_half_open(here: Place) -> float:
    here.database_proxy.mute_open()
    return time.time()


async def _queue_deleted(here: Place) -> float:
    await asyncio.to_thread(here.rabbitmq.management.delete_queue, here.vhost, QUEUE)
    return time.time()


FAULTS: Mapping[str, Callable[[Place], Awaitable[float]]] = MappingProxyType(
    {
        "worker killed, and started again": _worker_killed,
        "broker killed, and back": _broker_killed,
        "database killed, and back": _database_killed,
        "broker half open": _broker_half_open,
        "database half open": _database_half_open,
        "queue deleted": _queue_deleted,
    }
)
"""Each breaks something and returns the zero of the clock."""


def report(found: Sequence[Recovery]) -> list[dict[str, Any]]:
    """By fault, the smallest, the median and the largest of each figure."""
    by_fault = {fault: [one for one in found if one.fault == fault] for fault in FAULTS}
    return [
        {
            "fault": fault,
            "rounds": len(rounds),
            **{figure: _spread([getattr(one, figure) for one in rounds]) for figure in FIGURES},
        }
        for fault, rounds in by_fault.items()
        if rounds
    ]


def _spread(seconds: list[float]) -> dict[str, float]:
    named = {"min": min(seconds), "median": statistics.median(seconds), "max": max(seconds)}
    return {name: round(value, 2) for name, value in named.items()}


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The same for people."""
    grid = Table(title="Recovery, seconds: min / median / max", title_justify="left", caption_justify="left")
    grid.add_column("")
    for heading in FIGURES.values():
        grid.add_column(heading, justify="right")
    for row in rows:
        cells = (" / ".join(f"{row[figure][name]:.1f}" for name in ("min", "median", "max")) for figure in FIGURES)
        grid.add_row(row["fault"], *cells)
    grid.caption = (
        "From the end of the fault; for those that last (half open, deleted) from its beginning.\n"
        "A queue's messages are deleted with it: what was in it is asked again after the step's timeout."
    )
    return grid
