"""Every fault of the soak, once each: a deck of cards that is shuffled, not dice that may never show a six.

A fault breaks something for a while, mends it, and proves that it was really broken: it returns what it saw, and fails
where it saw nothing. Those of one suit follow each other; the suits are played at the same time.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from random import Random
from types import MappingProxyType
from typing import Protocol

import aio_pika
from aio_pika.exceptions import ChannelNotFoundEntity

from local.child import Child, freeze, is_frozen, thaw
from local.host import LOOPBACK
from saga.outbox.message import EXCHANGE
from tests.faults.neighbour import Neighbour
from tests.faults.place import Place
from tests.faults.proxy import Proxy
from tests.waiting import until

MENDS_WITHIN = 10.0
"""Seconds in which the service has to see that a queue or a binding is gone, and mend it."""
LEASES_RUN_OUT = 16.0
"""Seconds after which everything that a stopped process has for itself is anybody's."""
_OPEN_WITHIN = 20.0
# an order that was confirmed and then deleted with its queue is nobody's; a reply is given again
_REPLIES = ("InventoryValidated", "InventoryReserved", "PaymentProcessed", "InventoryReleased")


class Suit(Enum):
    """What is broken."""

    PROCESSES = "processes"
    DATABASE = "database"
    BUS = "bus"


@dataclass(frozen=True)
class Stage:
    """What there is to be broken, and for how long.

    Args:
        place: where.
        neighbours: the participants.
        random: decides what is not the same each time.
        stretch: how many times longer faults last than in the short version.
    """

    place: Place
    neighbours: list[Neighbour]
    random: Random
    stretch: float = 1.0

    async def last(self, shortest: float, longest: float) -> None:
        """Let it be broken for a while."""
        await asyncio.sleep(self.random.uniform(shortest, longest * self.stretch))


Fault = Callable[[Stage], Awaitable[str]]


class Process(Protocol):
    """A process, however it was started."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """The exit code, None while the process runs, negative if a signal ended it."""


async def service_killed(stage: Stage) -> str:
    """SIGKILL for an instance; another one in its place soon."""
    service = stage.random.choice(stage.place.services)
    before = service.child
    service.kill()
    assert before.returncode == -signal.SIGKILL, before.returncode
    await stage.last(0, 2)
    await service.restart()
    return _another(before, service.child)


async def services_rolled(stage: Stage) -> str:
    """SIGTERM for one instance after the other, each replaced before the next: a deployment."""
    seen = []
    for service in stage.place.services:
        before, began = service.child, time.monotonic()
        await asyncio.to_thread(service.stop)
        assert before.returncode in (0, -signal.SIGTERM), f"it did not end by itself: {before.returncode}"
        took = time.monotonic() - began
        await service.restart()
        seen.append(f"{_another(before, service.child)} (stopped in {took:.1f} s)")
    return ", ".join(seen)


async def service_frozen(stage: Stage) -> str:
    """SIGSTOP for an instance until its leases and locks have run out; then it goes on as if nothing had been."""
    service = stage.random.choice(stage.place.services)
    async with _frozen(service.child):
        await stage.last(LEASES_RUN_OUT, LEASES_RUN_OUT + 2)
    return f"{service.child.pid} stopped and went on"


async def participant_killed(stage: Stage) -> str:
    """SIGKILL for Inventory or Billing; it comes back soon."""
    neighbour = stage.random.choice(stage.neighbours)
    before = neighbour.child
    before.kill()
    assert before.returncode == -signal.SIGKILL, before.returncode
    await stage.last(0, 3)
    await neighbour.restart()
    return f"{neighbour.name} {_another(before, neighbour.child)}"


async def database_killed(stage: Stage) -> str:
    """SIGKILL for PostgreSQL; it recovers from its log."""
    postgres = stage.place.postgres
    before = _running(postgres.child)
    await asyncio.to_thread(postgres.kill)
    assert before.returncode == -signal.SIGKILL, before.returncode
    await stage.last(0, 3)
    await asyncio.to_thread(postgres.start)
    return _another(before, _running(postgres.child))


async def database_stopped(stage: Stage) -> str:
    """PostgreSQL is shut down in order, its sessions cut, and started again: an update."""
    postgres = stage.place.postgres
    before = _running(postgres.child)
    await asyncio.to_thread(postgres.stop)
    assert before.returncode == 0, before.returncode
    await stage.last(0, 3)
    await asyncio.to_thread(postgres.start)
    return _another(before, _running(postgres.child))


async def database_frozen(stage: Stage) -> str:
    """PostgreSQL hangs, all its sessions open."""
    async with _frozen(_running(stage.place.postgres.child)):
        await stage.last(2, 5)
    return "stopped and went on"


async def database_connections_cut(stage: Stage) -> str:
    """Every connection to the database is reset."""
    return await _cut(stage.place.database_proxy)


async def database_half_open(stage: Stage) -> str:
    """Not a byte passes to or from the database."""
    return await _stall(stage, stage.place.database_proxy, 2, 6)


async def database_mute(stage: Stage) -> str:
    """Every connection to the database is dead, and nobody was told: a router was started again."""
    return await _mute(stage.place.database_proxy)


async def database_refused(stage: Stage) -> str:
    """Nobody listens at the database's address."""
    return await _refuse(stage, stage.place.database_proxy)


async def broker_killed(stage: Stage) -> str:
    """SIGKILL for RabbitMQ."""
    broker = stage.place.rabbitmq
    before = _running(broker.child)
    await asyncio.to_thread(broker.kill)
    assert before.returncode == -signal.SIGKILL, before.returncode
    await stage.last(0, 1)
    await asyncio.to_thread(broker.start)
    return _another(before, _running(broker.child))


async def broker_frozen(stage: Stage) -> str:
    """RabbitMQ hangs, all connections open."""
    async with _frozen(_running(stage.place.rabbitmq.child)):
        await stage.last(2, 6)
    return "stopped and went on"


async def bus_connections_cut(stage: Stage) -> str:
    """Every connection of the service to the broker is reset."""
    return await _cut(stage.place.bus_proxy)


async def bus_half_open(stage: Stage) -> str:
    """Not a byte passes between service and broker."""
    return await _stall(stage, stage.place.bus_proxy, 3, 7)


async def bus_mute(stage: Stage) -> str:
    """Every connection between service and broker is dead, and nobody was told."""
    return await _mute(stage.place.bus_proxy)


async def bus_refused(stage: Stage) -> str:
    """Nobody listens at the broker's address."""
    return await _refuse(stage, stage.place.bus_proxy)


async def memory_alarm(stage: Stage) -> str:
    """RabbitMQ is short of memory: whoever publishes is blocked, whoever consumes goes on."""
    broker = stage.place.rabbitmq
    await asyncio.to_thread(broker.raise_memory_alarm)
    try:
        await _until(broker.management.alarmed, alarmed=True)
        await stage.last(1, 4)
    finally:
        await asyncio.to_thread(broker.clear_memory_alarm)
    await _until(broker.management.alarmed, alarmed=False)
    return "raised and cleared"


async def queue_deleted(stage: Stage) -> str:
    """A queue of the service is gone with all in it; the service declares it again and consumes from it."""
    management, vhost, name = stage.place.rabbitmq.management, stage.place.vhost, _queue(stage)
    await _until_consumed(stage, name)
    lost = (await asyncio.to_thread(management.queues, vhost))[name]
    # refused with 404 if it were not there
    await asyncio.to_thread(management.delete_queue, vhost, name)
    began = time.monotonic()
    await _until_consumed(stage, name)
    took = time.monotonic() - began
    assert took < MENDS_WITHIN, f"{name} was consumed from again only after {took:.1f} s"
    return f"{name} and about {lost} messages, consumed again after {took:.1f} s"


async def binding_removed(stage: Stage) -> str:
    """A queue of the service hears nothing any more; the service binds it again."""
    management, vhost, name = stage.place.rabbitmq.management, stage.place.vhost, _queue(stage)

    def bound() -> bool:
        return bool(management.bindings(vhost, EXCHANGE, name))

    await _until(bound, bound=True)
    (key,) = management.bindings(vhost, EXCHANGE, name)
    await asyncio.to_thread(management.unbind, vhost, EXCHANGE, name, key)
    began = time.monotonic()
    await _until(bound, bound=True)
    took = time.monotonic() - began
    assert took < MENDS_WITHIN, f"{name} was bound again only after {took:.1f} s"
    return f"{name} from {key}, bound again after {took:.1f} s"


DECK: Mapping[Suit, tuple[Fault, ...]] = MappingProxyType(
    {
        Suit.PROCESSES: (service_killed, services_rolled, service_frozen, participant_killed),
        Suit.DATABASE: (
            database_killed,
            database_stopped,
            database_frozen,
            database_connections_cut,
            database_half_open,
            database_mute,
            database_refused,
        ),
        Suit.BUS: (
            broker_killed,
            broker_frozen,
            bus_connections_cut,
            bus_half_open,
            bus_mute,
            bus_refused,
            memory_alarm,
            queue_deleted,
            binding_removed,
        ),
    }
)


@asynccontextmanager
async def _frozen(process: Process) -> AsyncIterator[None]:
    frozen = freeze(process.pid)
    try:
        # the kernel takes its time on a busy machine
        await _until(lambda: is_frozen(process.pid), frozen=True)
        yield
        assert is_frozen(process.pid), f"{process.pid} did not stay stopped"
    finally:
        thaw(frozen)
    assert process.returncode is None, f"{process.pid} did not survive"


async def _cut(proxy: Proxy) -> str:
    await _until_used(proxy)
    count = proxy.connections
    proxy.cut()
    await _until(lambda: proxy.connections < count, cut=True)
    return f"{count} connections cut"


async def _stall(stage: Stage, proxy: Proxy, shortest: float, longest: float) -> str:
    await _until_used(proxy)
    count, held = proxy.connections, 0
    proxy.stall()
    try:
        await stage.last(shortest, longest)
        held = proxy.held
    finally:
        proxy.resume()
    assert held, "nobody said anything meanwhile"
    return f"{count} connections silent, {held} of them with something to say"


async def _mute(proxy: Proxy) -> str:
    await _until_used(proxy)
    count, attempts = proxy.connections, proxy.attempts
    proxy.mute_open()
    # whoever gave one up opens another
    await _until(lambda: proxy.attempts > attempts, noticed=True)
    return f"{count} connections silent for ever"


async def _refuse(stage: Stage, proxy: Proxy) -> str:
    await _until_used(proxy)
    count = proxy.connections
    await proxy.refuse()
    try:
        await stage.last(1, 4)
        assert not await _listens(proxy.port), "somebody listens there"
    finally:
        await proxy.listen()
    return f"{count} connections cut, all others refused"


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def _until_used(proxy: Proxy) -> None:
    await _until(lambda: proxy.connections > 0, used=True)


async def _until_consumed(stage: Stage, queue: str) -> None:
    async def consumed() -> bool:
        return bool(await _consumers(stage.place.rabbitmq.url(stage.place.vhost), queue))

    await until(consumed, _OPEN_WITHIN)


async def _consumers(url: str, queue: str) -> int:
    """How many consumers a queue has; none where there is no such queue."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        try:
            found = await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return 0
        return found.declaration_result.consumer_count or 0


async def _until(condition: Callable[[], bool], **wanted: bool) -> None:
    """Return when something blocking is as wanted."""
    (value,) = wanted.values()

    async def holds() -> bool:
        found = await asyncio.to_thread(condition)
        if found != value:
            await asyncio.sleep(0.1)
        return found == value

    await until(holds, _OPEN_WITHIN)


def _queue(stage: Stage) -> str:
    return f"order-service.{stage.random.choice(_REPLIES)}"


def _another(before: Process, after: Process) -> str:
    assert after.pid != before.pid, "it is the same process"
    assert after.returncode is None, f"{after.pid} has ended: {after.returncode}"
    return f"{before.pid} became {after.pid}"


def _running(child: Child | None) -> Child:
    assert child is not None, "it runs"
    return child
