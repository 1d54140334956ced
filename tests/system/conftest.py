"""The whole system: the service as its users run it, stand-in participants, and an ear on the bus."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx2
import pytest
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage
from faststream.rabbit import ExchangeType, RabbitExchange
from yarl import URL

from local import billing, inventory, ledger
from local.participant import Participant
from local.stand_in import ledger_path
from tests.direct import Direct
from tests.forked import Forked
from tests.service import PROJECT, Service, with_access
from tests.waiting import until

PRODUCT = "5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11"


def order_body(quantity: int = 1, price: object = 1299.99, **more: Any) -> dict[str, Any]:
    """The tutorial's order, for a customer of its own."""
    item = {"productId": PRODUCT, "productName": "Laptop", "quantity": quantity, "price": price}
    return {"userId": str(uuid4()), "items": [item], **more}


class Ear:
    """Hears everything that anybody publishes on the exchange."""

    def __init__(self, channel: AbstractChannel, domain: AbstractExchange) -> None:
        self._channel = channel
        self._domain = domain
        self.heard: list[AbstractIncomingMessage] = []

    async def listen(self) -> None:
        queue = await self._channel.declare_queue(f"ear-{uuid4()}", durable=True, auto_delete=False)
        await queue.bind(self._domain, "#")
        await queue.consume(self._hear, no_ack=True)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self.heard.append(message)

    def about(self, order_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Routing key and body of all that was said about an order."""
        bodies = [(message.routing_key or "", _json(message.body)) for message in self.heard]
        return [(key, body) for key, body in bodies if isinstance(body, dict) and body.get("orderId") == order_id]

    async def publish(self, routing_key: str, body: object, **properties: Any) -> None:
        """Say something."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._domain.publish(aio_pika.Message(raw, **properties), routing_key)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


class DeadLetter:
    """A stored dead letter, as the API shows it."""

    def __init__(self, shown: dict[str, Any]) -> None:
        self.shown = shown
        self.message_id, self.reason, self.count = shown["messageId"], shown["reason"], shown["count"]
        text = shown["body"]
        self.body = base64.b64decode(shown["bodyBase64"]) if text is None else text.encode()


class System:
    """Everything together."""

    def __init__(
        self, service: Service, ear: Ear, participants: dict[str, Participant], folder: Path, dsn: str
    ) -> None:
        self.service = service
        self.ear = ear
        self.inventory, self.billing = participants["inventory"], participants["billing"]
        self.client = httpx2.AsyncClient(base_url=service.url, timeout=30, verify=False)
        self._folder = folder
        self.direct = Direct(dsn)

    async def order(self, body: dict[str, Any]) -> str:
        """Place an order over HTTP; its id."""
        answer = await self.client.post("/api/orders", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def saga(self, order_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/orders/{order_id}/saga")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def ended(self, order_id: str, seconds: float = 20) -> dict[str, Any]:
        """The saga, once it has ended."""

        async def has_ended() -> bool:
            answer = await self.client.get(f"/api/orders/{order_id}/saga")
            return answer.status_code == 200 and answer.json()["completedAt"] is not None

        await until(has_ended, seconds)
        return await self.saga(order_id)

    def done(self, order_id: str) -> ledger.Record:
        """What the participants really did for an order."""
        records = ledger.read(*(ledger_path(self._folder, name) for name in ("inventory", "billing")))
        return records.get(UUID(order_id), ledger.Record())

    async def rows(self, query: str) -> list[dict[str, Any]]:
        return await self.direct.rows(query)

    async def let_leases_run_out(self) -> None:
        """Let the time pass that a worker has for publishing what it committed, now."""
        await self.rows("UPDATE outbox SET lease_until = clock_timestamp()")

    async def dead_letters(self, count: int) -> list[DeadLetter]:
        """All dead letters, once that many are stored."""

        async def stored() -> bool:
            return len(await self.rows("SELECT 1 FROM dead_letters")) >= count

        await until(stored)
        listed = (await self.client.get("/api/dead-letters", params={"limit": 100})).json()["items"]
        answers = [await self.client.get(f"/api/dead-letters/{letter['id']}") for letter in listed]
        return [DeadLetter(answer.json()) for answer in answers]

    async def quiet(self) -> None:
        """Return when everything committed has been published."""

        async def outbox_is_empty() -> bool:
            return not await self.rows("SELECT 1 FROM outbox")

        await until(outbox_is_empty, 40)


@pytest.fixture
def workers() -> int:
    """How many worker processes the service has."""
    return 1


@pytest.fixture
def settings() -> dict[str, str]:
    """What the service's environment says beside the two addresses."""
    return {}


@pytest.fixture
def typed() -> bool:
    """Whether the service is started by the very command line that a person types."""
    return False


@pytest.fixture
def environment(migrated: str, vhost: str, settings: dict[str, str]) -> dict[str, str]:
    return {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost, **settings}


@pytest.fixture
def service(tmp_path: Path, environment: dict[str, str], workers: int, typed: bool) -> Iterator[Service]:
    """The service, on a database without an order and an empty virtual host."""
    service = Service(tmp_path, environment, workers, typed=typed)
    yield service
    service.stop()


@pytest.fixture
def participant_urls(vhost: str) -> dict[str, str]:
    """Where each participant finds RabbitMQ, and as whom."""
    return dict.fromkeys((inventory.NAME, billing.NAME), vhost)


@pytest.fixture
async def system(  # noqa: PLR0917 - its fixtures
    service: Service,
    vhost: str,
    participant_urls: dict[str, str],
    environment: dict[str, str],
    migrated: str,
    tmp_path: Path,
) -> AsyncIterator[System]:
    """The service, its neighbours and an ear, all ready."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(await aio_pika.connect(vhost))
        channel = await connection.channel()
        ear = Ear(channel, await channel.declare_exchange("domain", aio_pika.ExchangeType.TOPIC, durable=True))
        await ear.listen()
        participants = {}
        for stand_in in (inventory, billing):
            ledger_file = ledger_path(tmp_path, stand_in.NAME)
            participant = Participant(
                stand_in.NAME,
                stand_in.RULES,
                rabbitmq_url=participant_urls[stand_in.NAME],
                ledger=ledger_file,
                # the ear has declared it, as the service would
                exchange=RabbitExchange("domain", type=ExchangeType.TOPIC, durable=True, declare=False),
                orders_from=URL(environment["RABBITMQ_URL"]).user,
            )
            participants[stand_in.NAME] = await stack.enter_async_context(participant)
        await service.ready()
        system = System(service, ear, participants, tmp_path, migrated)
        await stack.enter_async_context(system.client)
        stack.push_async_callback(system.direct.close)
        yield system


def failed_start(folder: Path, env: dict[str, str]) -> str:
    """What a start says that goes wrong."""
    log = folder / "start.log"
    run = ["run", "app:app", "--port", "0"]
    start = Forked(run, log=log, env={"PATH": os.environ["PATH"], **with_access(env)}, cwd=PROJECT)
    start.wait(60)
    assert start.returncode, log.read_text()
    said = log.read_text()
    assert "Traceback" not in said, said
    return said


def command_line(arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `faststream …` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "faststream", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
