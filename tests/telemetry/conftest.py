"""One service for many sagas, its participants, and a collector to which all of them tell."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
import pytest_asyncio
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from local import billing, inventory
from local.broker import RabbitMQ
from local.participant import Participant
from local.stand_in import ledger_path
from local.tracing import COLLECTOR_SECONDS
from tests.collector import Collector
from tests.databases import Databases
from tests.service import Service
from tests.system.conftest import Ear, System
from tests.telemetry.trees import Tree
from tests.waiting import until

AT_ONCE = "20"
"""Milliseconds after which spans are sent."""
HOURS = {
    "SAGA_STEP_TIMEOUT_SECONDS": "3600",
    "SAGA_RETRY_DELAY_SECONDS": "3600",
    "SAGA_REASK_SECONDS": "7200",
    "SAGA_TIMEOUT_SECONDS": "86400",
}
"""No deadline comes before a test lets it come."""


def told_to(collector: Collector, **more: str) -> dict[str, str]:
    """What makes a service tell a collector, at once."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": AT_ONCE, **more}


def somebodys() -> tuple[dict[str, str], tuple[str, str]]:
    """The header of a trace that is not ours, and what a link to it is."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return {"traceparent": f"00-{trace}-{span}-01"}, (trace, span)


class World(System):
    """Everything together, and what the collector has seen of it."""

    collector: Collector

    async def tree(self, order_id: str, condition: Callable[[Tree], Any], seconds: float = 20) -> Tree:
        """The trace of an order, as soon as it is a whole one and the condition holds."""
        trace_id = (await self.saga(order_id))["traceId"]

        def whole() -> Tree | None:
            tree = Tree(self.collector.trace(trace_id))
            return tree if not tree.broken() and condition(tree) else None

        try:
            tree: Tree = await self.collector.until(whole, seconds)
        except TimeoutError:
            tree = Tree(self.collector.trace(trace_id))
            pytest.fail(f"{tree.broken()}\n{tree.text() if len(tree.children(None)) == 1 else tree.spans}")
        return tree

    async def deadline(self, order_id: str) -> None:
        """Let the time pass until the saga's next deadline, and wait until it has been carried out."""
        before = (await self.saga(order_id))["updatedAt"]
        await self.rows(f"UPDATE order_sagas SET due_at = clock_timestamp() WHERE order_id = '{order_id}'")

        async def carried_out() -> bool:
            return bool((await self.saga(order_id))["updatedAt"] != before)

        await until(carried_out)

    async def entry(self, order_id: str, status: str) -> None:
        """Return when the saga's history has an entry of that status."""

        async def is_there() -> bool:
            return any(entry["status"] == status for entry in (await self.saga(order_id))["history"])

        await until(is_there)

    async def heard(self, order_id: str, routing_key: str) -> dict[str, Any]:
        """The saga, once a message about it has been published, and whoever takes it has dealt with it."""

        async def told() -> bool:
            trace_id = (await self.saga(order_id))["traceId"]
            taken = [span for span in self.collector.trace(trace_id) if span.name == f"process {routing_key}"]
            return bool(taken)

        await until(told)
        return await self.saga(order_id)

    async def known(self, order_id: str) -> None:
        """Return when the order is there."""

        async def is_there() -> bool:
            return (await self.client.get(f"/api/orders/{order_id}")).status_code == 200

        await until(is_there)

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        answer = await self.client.post(path, json=body, headers=headers)
        assert answer.is_success, answer.text


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def environment(collector: Collector) -> dict[str, str]:
    """What the service's environment says beside the two addresses."""
    return HOURS | told_to(collector)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(  # noqa: PLR0917 - each is a fixture
    databases: Databases,
    template: str,
    rabbitmq: RabbitMQ,
    collector: Collector,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    """The service, its neighbours and an ear, all ready."""
    folder, vhost, dsn = tmp_path_factory.mktemp("world"), f"test-{uuid4().hex}", databases.copy(template)
    bus = rabbitmq.create_vhost(vhost)
    service = Service(folder, {"DATABASE_URL": dsn, "RABBITMQ_URL": bus, **environment})
    try:
        async with AsyncExitStack() as stack:
            ear = await stack.enter_async_context(_listening(bus))
            participants = {}
            for stand_in in (inventory, billing):
                participant = Participant(
                    stand_in.NAME, stand_in.RULES, rabbitmq_url=bus, ledger=ledger_path(folder, stand_in.NAME)
                )
                provider = _provider(stand_in.NAME, collector)
                stack.callback(provider.shutdown)
                participant.tracer = provider.get_tracer(stand_in.NAME)
                participants[stand_in.NAME] = await stack.enter_async_context(participant)
            await service.ready()
            world = World(service, ear, participants, folder, dsn)
            world.collector = collector
            await stack.enter_async_context(world.client)
            yield world
    finally:
        await asyncio.to_thread(service.stop)
        rabbitmq.delete_vhost(vhost)
        databases.give_back(dsn)


@asynccontextmanager
async def _listening(bus: str) -> AsyncIterator[Ear]:
    async with await aio_pika.connect(bus) as connection:
        channel = await connection.channel()
        ear = Ear(channel, await channel.declare_exchange("domain", aio_pika.ExchangeType.TOPIC, durable=True))
        await ear.listen()
        yield ear


def _provider(name: str, collector: Collector) -> TracerProvider:
    """What `local.tracing` does by the environment, which here is the test's own."""
    provider = TracerProvider(resource=Resource({SERVICE_NAME: name}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces", timeout=COLLECTOR_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=int(AT_ONCE)))
    return provider
