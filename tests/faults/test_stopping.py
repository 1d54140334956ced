"""Stopping: takes no more, finishes what runs, hands back what it has, and ends within 17 seconds, whatever hangs."""

import asyncio
import os
import signal
import socket
import time
from random import Random

import httpx2
import pytest

from local.host import LOOPBACK
from local.rule import Behaviour
from tests.faults.clients import Kind, wish
from tests.faults.place import Place
from tests.service import Service
from tests.waiting import until

WITHIN = 17.0
HELD = "SELECT 1 FROM outbox WHERE lease_until > clock_timestamp() + interval '2 seconds'"
"""Messages that no other worker may take at once, or as soon as one that failed just now may be tried again."""
WATCHED = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'order-service api'"
    " AND query LIKE '%ANY%' AND query NOT LIKE '%items%'"
)
"""Somebody waits for an order to change."""
RANDOM = Random(7)


async def stopped(service: Service, *, twice: bool = False) -> float:
    """Tell it to stop, and wait until it has; how long it took."""
    began = time.monotonic()
    os.kill(service.child.pid, signal.SIGTERM)
    if twice:
        await until(lambda: _says(service, "Shutting down"))
        os.kill(service.child.pid, signal.SIGTERM)
    while service.child.returncode is None:
        assert time.monotonic() - began < WITHIN + 3, service.log.read_text()
        await asyncio.sleep(0.05)
    took = time.monotonic() - began
    service.kill()
    return took


async def _says(service: Service, words: str) -> bool:
    return words in service.log.read_text()


async def test_what_runs_is_finished_and_nothing_waits_for_a_lease(here: Place) -> None:
    service = await here.start_service()
    await here.mixed(30, RANDOM)
    assert await stopped(service) < WITHIN
    assert await here.rows(HELD) == []
    await here.start_service()
    here.clients.urls.pop(0)
    await here.quiet()
    assert await here.broken() == []


async def test_messages_that_cannot_leave_are_handed_back(here: Place) -> None:
    service = await here.start_service()
    here.bus_proxy.stall()
    await here.clients.over_http(wish(Kind.HAPPY, RANDOM))
    assert await stopped(service) < WITHIN
    assert len(await here.rows("SELECT 1 FROM outbox")) >= 2
    assert await here.rows(HELD) == []


@pytest.mark.parametrize("away", ["database", "broker", "both"])
async def test_it_stops_in_time_with_its_servers_away_and_work_in_hand(here: Place, away: str) -> None:
    service = await here.start_service()
    if away in ("database", "both"):
        here.database_proxy.stall()
        await here.clients.over_bus(wish(Kind.HAPPY, RANDOM))
    if away in ("broker", "both"):
        here.bus_proxy.stall()
    assert await stopped(service, twice=away == "both") < WITHIN


async def test_clients_that_wait_or_dawdle_do_not_keep_it(here: Place) -> None:
    here.participants["inventory"].behaviour["ValidateInventory"] = Behaviour(mode="mute")
    service = await here.start_service()
    order_id = await here.clients.over_http(wish(Kind.HAPPY, RANDOM))
    async with httpx2.AsyncClient(base_url=service.url, timeout=40) as client:
        waiting = asyncio.create_task(client.get(f"/api/orders/{order_id}", headers={"Prefer": "wait=30"}))
        with socket.create_connection((LOOPBACK, service.port)) as slow:
            headers = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 100"
            head = f"POST /api/orders HTTP/1.1\r\n{headers}\r\n\r\n{{"
            slow.sendall(head.encode())
            await until(lambda: here.rows(WATCHED))
            assert await stopped(service) < WITHIN
            slow.settimeout(5)
            assert b" 503 " in await asyncio.to_thread(slow.recv, 1000)
        assert (await waiting).json()["status"] == "Pending"


async def test_a_rolling_restart_of_two_instances_under_load_dead_letters_nothing(here: Place) -> None:
    services = [await here.start_service() for _ in range(2)]

    async with here.load(RANDOM):
        for service in services:
            enough = len(here.clients.promised) + 20

            async def more(enough: int = enough) -> bool:
                return len(here.clients.promised) >= enough

            await until(more, 30)
            assert await stopped(service) < WITHIN
            await service.restart()
    await here.quiet()
    assert await here.broken() == []
    assert await here.rows("SELECT 1 FROM dead_letters") == []
