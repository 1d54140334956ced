"""What `/metrics` says after thirty sagas is what happened, to the last one, whichever of two workers is asked."""

import asyncio
import os
import re
import signal
from collections import Counter
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from local.participant import Handled
from local.rule import Behaviour
from tests.faults.metrics import metrics
from tests.system.conftest import System, order_body
from tests.waiting import until

TIMEOUT = 5.0
"""Seconds of an attempt: far more than it takes to let a mute participant speak again."""


@pytest.fixture
def workers() -> int:
    return 2


@pytest.fixture
def settings() -> dict[str, str]:
    return {
        "SAGA_STEP_TIMEOUT_SECONDS": str(TIMEOUT),
        "SAGA_RETRY_DELAY_SECONDS": "0.1",
        "SAGA_TIMEOUT_SECONDS": "250",
    }


async def muted_once(system: System, count: int) -> list[str]:
    """As many orders whose reservation is asked for once in vain."""
    unheard: asyncio.Queue[Handled] = asyncio.Queue()
    system.inventory.tell = unheard.put_nowait
    system.inventory.behaviour["ReserveInventory"] = Behaviour(mode="mute")
    orders = [await system.order(order_body()) for _ in range(count)]
    async with asyncio.timeout(20):
        for _ in range(count):
            while (await unheard.get()).outcome != "muted":
                pass
    system.inventory.behaviour["ReserveInventory"] = Behaviour()
    return orders


async def over_the_bus(system: System, count: int) -> list[str]:
    """As many orders, each asked for twice by the same message."""
    orders = [str(uuid4()) for _ in range(count)]
    for order_id in orders:
        body = order_body(eventId=str(uuid4()), orderId=order_id)
        for _ in range(2):
            await system.ear.publish("domain.order.CreateOrder", body)
    return orders


def seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


async def scrape(system: System) -> dict[str, dict[str, float]]:
    """Every sample of ours, by name and then by its labels, in one word where there is one."""
    found = metrics((await system.client.get("/metrics")).text)
    return {
        name.removeprefix("order_service_"): {
            "/".join(word for _, word in sorted(labels)): value for labels, value in samples.items()
        }
        for name, samples in found.items()
    }


def what_happened(counted: dict[str, float]) -> dict[str, float]:
    """Without what did not."""
    return {what: count for what, count in counted.items() if count}


async def test_the_numbers_of_thirty_sagas_are_those_of_the_metrics(system: System) -> None:
    good = [await system.order(order_body()) for _ in range(10)] + await over_the_bus(system, 10)
    empty = [await system.order(order_body(quantity=1001, price="1.00")) for _ in range(4)]
    poor = [await system.order(order_body(price="10000.01")) for _ in range(3)]
    for order_id in (*good, *empty, *poor):
        await system.ended(order_id)
    late = await muted_once(system, 3)
    sagas = {order_id: await system.ended(order_id) for order_id in (*good, *empty, *poor, *late)}

    contradiction = {"eventId": str(uuid4()), "orderId": good[0]}
    await system.ear.publish("domain.billing.PaymentFailed", contradiction)
    foreign = {"eventId": str(uuid4()), "orderId": good[1], "sagaId": str(uuid4())}
    await system.ear.publish("domain.billing.PaymentProcessed", foreign)
    for _ in range(2):
        await system.ear.publish("domain.billing.PaymentProcessed", b"{" + uuid4().bytes)
    await system.dead_letters(2)
    await system.quiet()

    async def all_is_counted() -> bool:
        now = await scrape(system)
        last = {"conflict/PaymentFailed", "ignored/PaymentProcessed"} <= now["saga_events_total"].keys()
        return (
            last
            and what_happened(now["dead_letters_total"]) == {"unreadable": 2}
            and now["incidents_open"]["contradiction"] == 1
        )

    await until(all_is_counted)
    told = await scrape(system)
    # any worker tells the same
    for _ in range(6):
        again = await scrape(system)
        assert {name: again[name] for name in told if name.endswith("_total")} == {
            name: told[name] for name in told if name.endswith("_total")
        }

    assert told["sagas_started_total"] == {"": 30}
    assert told["sagas_finished_total"] == {"Completed": 23, "Failed": 4, "Compensated": 3}
    assert told["compensations_started_total"] == {"": 3}
    assert what_happened(told["steps_total"]) == {
        "Completed/ValidateInventory": 26, "Failed/ValidateInventory": 4, "Completed/ReserveInventory": 26,
        "Completed/ProcessPayment": 23, "Failed/ProcessPayment": 3, "Completed/ReleaseInventory": 3,
    }  # fmt: skip
    assert what_happened(told["step_timeouts_total"]) == {"ReserveInventory": 3}
    assert what_happened(told["step_retries_total"]) == {"ReserveInventory": 3}
    assert told["incidents_total"]["contradiction"] == told["incidents_open"]["contradiction"] == 1
    assert sum(told["incidents_open"].values()) == 1
    assert told["saga_events_total"] == {
        "applied/CreateOrder": 30, "duplicate/CreateOrder": 10,
        "applied/InventoryValidated": 26, "applied/InventoryValidationFailed": 4, "applied/InventoryReserved": 26,
        "applied/PaymentProcessed": 23, "applied/PaymentFailed": 3, "applied/InventoryReleased": 3,
        "applied/timeout": 3, "applied/retry due": 3,
        "conflict/PaymentFailed": 1, "ignored/PaymentProcessed": 1,
    }  # fmt: skip
    assert what_happened(told["dead_letters_open"]) == {"unreadable": 2}
    assert (told["sagas_unfinished"], told["outbox_messages"], told["sagas_timed_out"]) == ({"": 0}, {"": 0}, {"": 0})
    assert (told["state_read_success"], told["saga_timeout_seconds"]) == ({"": 1}, {"": 250})
    assert set(told["queue_consumers"].values()) == {2}

    heard = Counter(message.routing_key for message in system.ear.heard if message.app_id == "order-service")
    assert told["published_total"] == heard
    durations_are_those_of_the_rows(told, sagas)
    await nothing_is_forgotten_with_a_worker(system, told)


def durations_are_those_of_the_rows(told: dict[str, dict[str, float]], sagas: dict[str, Any]) -> None:
    lived: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for saga in sagas.values():
        lived[saga["status"]] += seconds(saga["createdAt"], saga["completedAt"])  # type: ignore[assignment]
        begin = saga["createdAt"]
        for entry in saga["history"]:
            if entry["status"] in {"Completed", "Failed"}:
                steps[entry["step"]] += seconds(begin, entry["timestamp"])  # type: ignore[assignment]
                begin = entry["timestamp"]
    for status, lasted in lived.items():
        assert told["saga_duration_seconds_sum"][status] == pytest.approx(lasted)
    for step, lasted in steps.items():
        assert told["step_duration_seconds_sum"][step] == pytest.approx(lasted)
    assert told["step_duration_seconds_sum"]["ReserveInventory"] > 3 * TIMEOUT


async def nothing_is_forgotten_with_a_worker(system: System, told: dict[str, dict[str, float]]) -> None:
    async def consumed_by(workers: int) -> bool:
        try:
            return set((await scrape(system))["queue_consumers"].values()) == {workers}
        except httpx2.TransportError:
            # it was the dead one that was asked
            return False

    worker = {int(pid) for pid in re.findall(r'pid="(\d+)"', (await system.client.get("/metrics")).text)}.pop()
    os.kill(worker, signal.SIGKILL)
    await until(lambda: consumed_by(1))
    await until(lambda: consumed_by(2), 40)
    again = await scrape(system)
    for name in ("sagas_started_total", "sagas_finished_total", "steps_total", "saga_duration_seconds_count"):
        assert again[name] == told[name]
