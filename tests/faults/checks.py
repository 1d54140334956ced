"""Small faults that a right service comes through: each check makes one, and says what was broken by it.

Each gets a place of its own and how to start a service there. `test_mistakes` runs them against services with a
mistake in them, and against one without.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from uuid import uuid4

import aio_pika
import httpx2

from local.rule import Behaviour
from saga.outbox.message import EXCHANGE
from saga.outbox.publisher import UNROUTABLE
from tests.faults.clients import Kind, Request, wish
from tests.faults.place import Place
from tests.service import Service
from tests.waiting import until

Start = Callable[..., Awaitable[Service]]
Check = Callable[[Place, Start], Awaitable[list[str]]]
PATIENCE = 40.0
"""Seconds within which all comes to rest, and longer than any wait of a right service."""


def one(kind: Kind = Kind.HAPPY) -> Request:
    """An order like no other."""
    return wish(kind, Random(uuid4().int))


async def settled(here: Place, letters: tuple[str, ...] = ()) -> list[str]:
    """What is broken once all is at rest; that it never is, otherwise."""
    try:
        await here.quiet(PATIENCE)
    except TimeoutError:
        return ["liveness: it does not come to rest", *await here.broken(letters)]
    return await here.broken(letters)


async def _died(service: Service) -> None:
    async def is_dead() -> bool:
        return service.child.returncode is not None

    await until(is_dead)


def killed_at(point: str, *, poison: bool = False) -> Check:
    """The service is killed at a failpoint, while it handles an order from the bus, and started again."""

    async def check(here: Place, start: Start) -> list[str]:
        service = await start(TEST_FAILPOINT=point)
        if poison:
            await here.clients.say("domain.order.CreateOrder", {"eventId": "none"})
        else:
            await here.clients.over_bus(one())
        await _died(service)
        await start()
        await here.run_out()
        return await settled(here, ("invalid",) if poison else ())

    return check


async def database_away(here: Place, start: Start) -> list[str]:
    """Messages come while the database is away."""
    await start()
    here.database_proxy.drop_new()
    before = here.database_proxy.attempts
    async with asyncio.timeout(PATIENCE):
        await here.clients.over_bus(one())
        clock = asyncio.get_running_loop().time()
        await until(lambda: _seconds_since(clock, 1.5))
    tried = here.database_proxy.attempts - before
    await here.database_proxy.listen()
    return ([f"hot loop: {tried} attempts in 1.5 s"] if tried > 20 else []) + await settled(here)


async def _seconds_since(clock: float, seconds: float) -> bool:
    return asyncio.get_running_loop().time() - clock >= seconds


async def commit_cut(here: Place, start: Start) -> list[str]:
    """The connection to the database is cut before a COMMIT is heard."""
    await start()
    await here.clients.over_http(one())
    await here.quiet(PATIENCE)
    here.database_proxy.cut_before(b"COMMIT;")
    await here.clients.over_bus(one())
    return await settled(here)


async def killed_with_messages_in_flight(here: Place, start: Start) -> list[str]:
    """The broker says nothing, and the service is killed while it waits for a confirm."""
    service = await start()
    await here.clients.over_http(one())
    await here.quiet(PATIENCE)
    here.bus_proxy.stall()
    await here.clients.over_http(one())
    # sent by now, or left in the outbox; confirmed it cannot be
    await until(lambda: _begun(here))
    service.kill()
    here.bus_proxy.cut()
    here.bus_proxy.resume()
    await start()
    await here.run_out()
    return await settled(here)


async def _begun(here: Place) -> bool:
    return bool(await here.rows("SELECT 1 FROM order_sagas WHERE open_command IS NOT NULL"))


async def bus_hangs_up(here: Place, start: Start) -> list[str]:
    """Whoever connects to the broker is hung up on as they are greeted, for a while."""
    await start()
    await here.clients.over_http(one())
    await here.quiet(PATIENCE)
    # the greeting is over, and the end is there before the first channel is: the client library has no words for that
    here.bus_proxy.hang_up(at=3)
    before = here.bus_proxy.attempts
    await here.clients.over_http(one())

    async def tried_again() -> bool:
        return here.bus_proxy.attempts >= before + 4

    await until(tried_again, PATIENCE)
    await here.bus_proxy.listen()
    return await settled(here)


async def bus_away_for_a_while(here: Place, start: Start) -> list[str]:
    """What is to be published fails more than once before it can leave."""
    await start()
    await here.bus_proxy.refuse()
    await here.clients.over_http(one())

    async def failed_again() -> bool:
        return bool(await here.rows("SELECT 1 FROM outbox WHERE last_error IS NOT NULL AND attempts > 0"))

    try:
        await until(failed_again, PATIENCE)
    except TimeoutError:
        return ["liveness: what could not leave is not tried again"]
    await here.bus_proxy.listen()
    return await settled(here)


async def another_worker_dies(here: Place, start: Start) -> list[str]:
    """One of two workers is killed with messages in hand; the other was there all the time."""
    await start()
    doomed = await start(TEST_FAILPOINT="relay.taken")
    async with httpx2.AsyncClient(base_url=doomed.url, verify=False) as client:
        request = one()
        key = {"Idempotency-Key": str(request.identity)}
        body = {"userId": str(request.user_id), "items": request.items}
        with suppress(httpx2.TransportError):
            await client.post("/api/orders", json=body, headers=key)
    await _died(doomed)
    here.clients.urls.remove(doomed.url)
    await here.clients.over_http(request)
    await here.run_out()
    return await settled(here)


async def answer_lost(here: Place, start: Start) -> list[str]:
    """Billing does what it is asked, and its answer is lost; it is asked again."""
    billing = here.participants["billing"]
    billing.behaviour["ProcessPayment"] = Behaviour(mode="mute-after")
    await start()
    await here.clients.over_http(one())

    async def asked() -> bool:
        return bool(await here.rows("SELECT 1 FROM order_sagas WHERE sent ? 'ProcessPayment'"))

    await until(asked, PATIENCE)
    await until(lambda: _charged(here), PATIENCE)
    billing.behaviour["ProcessPayment"] = Behaviour()
    return await settled(here)


async def _charged(here: Place) -> bool:
    return any(record.charged.times for record in here.ledger().values())


async def row_locked(here: Place, start: Start) -> list[str]:
    """Somebody has locked the saga that a reply is about."""
    here.participants["inventory"].behaviour["ValidateInventory"] = Behaviour(mode="mute")
    await start()
    order_id = await here.clients.over_http(one())
    await here.lock(order_id)
    here.participants["inventory"].behaviour["ValidateInventory"] = Behaviour()
    await here.clients.say("domain.inventory.InventoryValidated", {"eventId": str(uuid4()), "orderId": str(order_id)})
    clock = asyncio.get_running_loop().time()
    await until(lambda: _seconds_since(clock, 3))
    await here.unlock()
    return await settled(here)


async def binding_removed(here: Place, start: Start) -> list[str]:
    """A queue of the service is not bound any more."""
    await start()
    key = "domain.inventory.InventoryValidated"
    path = f"bindings/{here.vhost}/e/{EXCHANGE}/q/order-service.InventoryValidated/{key}"
    await asyncio.to_thread(here.rabbitmq.management.call, "DELETE", path)
    await here.clients.over_http(one())
    return await settled(here)


async def connection_goes_silent(here: Place, start: Start) -> list[str]:
    """What is open stays open, and nothing comes through it any more."""
    await start()
    await here.clients.over_http(one())
    await here.quiet(PATIENCE)
    here.bus_proxy.mute_open()
    await here.clients.over_http(one())
    return await settled(here)


async def stopped_with_messages_in_hand(here: Place, start: Start) -> list[str]:
    """The service is told to stop while the broker says nothing."""
    service = await start()
    here.bus_proxy.stall()
    await here.clients.over_http(one())
    os.kill(service.child.pid, signal.SIGTERM)
    await _died(service)
    held = "SELECT 1 FROM outbox WHERE lease_until > clock_timestamp() + interval '2 seconds'"
    return ["leases are kept"] if await here.rows(held) else []


async def nobody_takes_a_command(here: Place, start: Start) -> list[str]:
    """Inventory has not declared its queue yet, and nobody else hears the command."""
    async with await aio_pika.connect(here.clients.amqp) as connection:
        channel = await connection.channel()
        queue, hose = await channel.get_queue("inventory.ValidateInventory"), await channel.get_queue("firehose")
        await queue.unbind(EXCHANGE, "domain.order.ValidateInventory")
        await hose.unbind(EXCHANGE, "#")
        await start()
        await here.clients.over_http(one())
        try:
            await until(lambda: _returned(here), PATIENCE)
        except TimeoutError:
            return ["I10: a message that nobody took is gone"]
    return []


async def _returned(here: Place) -> bool:
    return bool(await here.rows("SELECT 1 FROM outbox WHERE last_error = $1", UNROUTABLE))
