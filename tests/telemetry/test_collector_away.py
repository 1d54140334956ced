"""Sagas and stops do not wait for a collector, whatever is the matter with it."""

import asyncio
import os
import signal
import time

import pytest

from tests.collector import Collector
from tests.system.conftest import order_body
from tests.telemetry.conftest import World, told_to

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPS_WITHIN = 10.0


@pytest.fixture(scope="module")
def environment(collector: Collector) -> dict[str, str]:
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
    return told_to(collector, **small, OTEL_EXPORTER_OTLP_TIMEOUT="3600")


async def test_neither_sagas_nor_the_log_nor_the_stop_take_notice(world: World) -> None:
    collector = world.collector

    async def orders_end() -> None:
        for order_id in await asyncio.gather(*(world.order(order_body()) for _ in range(5))):
            assert (await world.ended(order_id))["status"] == "Completed"

    collector.close()
    await orders_end()
    collector.status = 503
    collector.open()
    await collector.until(lambda: collector.requests)
    await orders_end()
    collector.hang()
    before = collector.requests
    await collector.until(lambda: collector.requests > before)
    await orders_end()

    began = time.monotonic()
    os.kill(world.service.child.pid, signal.SIGTERM)
    await asyncio.to_thread(world.service.child.stop, seconds=STOPS_WITHIN)
    assert time.monotonic() - began < STOPS_WITHIN
    said = world.service.log.read_text()
    assert "Finished server process" in said
    assert 1 <= said.count("traces may be lost") <= 3
    assert "opentelemetry" not in said
    assert "Traceback" not in said
    assert collector.spans == []
    collector.status = 200
    collector.let_go()
