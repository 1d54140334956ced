"""Every service under a broker user of its own, with the rights of the README's table and no others."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelInvalidStateError, ChannelPreconditionFailed
from aiormq.exceptions import ChannelAccessRefused
from yarl import URL

from local.broker import RabbitMQ
from local.rule import Behaviour
from tests.system.conftest import System, order_body
from tests.system.permissions import rights_in_readme, users
from tests.waiting import until

SERVICES = ("order-service", "inventory", "billing", "shop")


@pytest.fixture
def urls(rabbitmq: RabbitMQ, vhost: str) -> Iterator[Mapping[str, str]]:
    """The address of the virtual host for each service's own user."""
    with users(rabbitmq.management, vhost) as urls:
        yield urls


@pytest.fixture
def participant_urls(urls: Mapping[str, str]) -> dict[str, str]:
    return {name: urls[name] for name in ("inventory", "billing")}


@pytest.fixture
def environment(migrated: str, urls: Mapping[str, str]) -> dict[str, str]:
    named = {"domain.inventory.": "inventory", "domain.billing.": "billing", "domain.order.": "shop"}
    trusted = " ".join(f"{prefix}={URL(urls[service]).user}" for prefix, service in named.items())
    return {
        "DATABASE_URL": migrated,
        "RABBITMQ_URL": urls["order-service"],
        "TRUSTED_SENDERS": trusted,
        "SAGA_STEP_TIMEOUT_SECONDS": "0.5",
        "SAGA_RETRY_ATTEMPTS": "0",
        "SAGA_REASK_SECONDS": "0",
    }


@asynccontextmanager
async def channel_of(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel with confirms, as this user."""
    async with await aio_pika.connect(url) as connection:
        yield await connection.channel(on_return_raises=True)


async def publish(url: str, routing_key: str, body: Mapping[str, Any], **properties: Any) -> None:
    """Publish to `domain` as this user, under his own name if no other is given.

    Raises:
        Exception: RabbitMQ refuses it, and closes the channel.
    """
    properties.setdefault("user_id", URL(url).user)
    async with channel_of(url) as channel:
        domain = await channel.get_exchange("domain", ensure=False)
        await domain.publish(aio_pika.Message(json.dumps(body).encode(), **properties), routing_key)


def answer(order_id: str) -> dict[str, str]:
    return {"eventId": str(uuid4()), "orderId": order_id}


async def muted(system: System) -> str:
    """An order whose validation nobody answers."""
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())

    async def is_parked() -> bool:
        return (await system.saga(order_id))["incident"] is not None

    await until(is_parked)
    return order_id


def test_the_readme_has_rights_for_every_service() -> None:
    assert tuple(rights_in_readme()) == SERVICES


@pytest.mark.parametrize(
    ("quantity", "price", "status"),
    [(1, 1299.99, "Completed"), (1001, 1, "Failed"), (1, 10000.01, "Compensated")],
)
async def test_an_order_goes_its_way_with_these_rights(
    system: System, urls: Mapping[str, str], quantity: int, price: float, status: str
) -> None:
    order_id = str(uuid4())
    body = order_body(quantity, price, eventId=str(uuid4()), orderId=order_id)
    await publish(urls["shop"], "domain.order.CreateOrder", body)
    assert (await system.ended(order_id))["status"] == status
    await system.quiet()
    senders = {(message.routing_key or "").split(".")[1]: message.user_id for message in system.ear.heard[1:]}
    expected = {"order": "order-service", "inventory": "inventory", "billing": "billing"}
    assert senders.items() <= {key: URL(urls[service]).user for key, service in expected.items()}.items()


async def test_a_dead_letter_is_stored_and_redriven_with_these_rights(system: System, urls: Mapping[str, str]) -> None:
    order_id = str(uuid4())
    await publish(urls["shop"], "domain.order.CancelOrder", answer(order_id))
    [early] = await system.dead_letters(1)
    assert early.reason == "unknown_order"
    body = order_body(eventId=str(uuid4()), orderId=order_id)
    system.inventory.behaviour["ValidateInventory"] = Behaviour(mode="mute")
    await publish(urls["shop"], "domain.order.CreateOrder", body)

    async def exists() -> bool:
        return (await system.client.get(f"/api/orders/{order_id}")).status_code == 200

    await until(exists)
    redriven = await system.client.post(f"/api/dead-letters/{early.shown['id']}/redrive")
    assert redriven.json()["outcome"] == "redriven", redriven.text
    assert (await system.ended(order_id))["status"] == "Failed"


async def test_the_reply_of_a_participant_is_redriven_by_us_and_counts(system: System, urls: Mapping[str, str]) -> None:
    order_id = await muted(system)
    # PostgreSQL refuses its data for a while: what Inventory says is no lie, and a dead letter all the same
    await system.rows("ALTER TABLE order_sagas ADD CONSTRAINT outage CHECK (false) NOT VALID")
    await publish(urls["inventory"], "domain.inventory.InventoryValidated", answer(order_id))
    letters = {letter.reason: letter for letter in await system.dead_letters(2)}
    letter = letters["refused_by_database"].shown
    assert letter["properties"]["user_id"] == URL(urls["inventory"]).user
    await system.rows("ALTER TABLE order_sagas DROP CONSTRAINT outage")
    redriven = await system.client.post(f"/api/dead-letters/{letter['id']}/redrive")
    assert redriven.json()["outcome"] == "redriven", redriven.text
    assert (await system.ended(order_id))["status"] == "Completed"


async def test_billing_cannot_answer_for_inventory(system: System, urls: Mapping[str, str]) -> None:
    order_id = await muted(system)
    with pytest.raises((ChannelAccessRefused, ChannelInvalidStateError)):
        await publish(urls["billing"], "domain.inventory.InventoryValidated", answer(order_id))
    assert (await system.saga(order_id))["status"] == "Started"


async def test_a_broker_without_topic_permissions_lets_billing_say_it_but_nobody_believes_it(
    system: System, urls: Mapping[str, str], rabbitmq: RabbitMQ, vhost: str
) -> None:
    order_id = await muted(system)
    billing = str(URL(urls["billing"]).user)
    rabbitmq.management.permit_topics(URL(vhost).path[1:], billing, "domain", write=".*", read=".*")
    lie = answer(order_id)
    await publish(urls["billing"], "domain.inventory.InventoryValidated", lie)
    letters = {letter.reason: letter for letter in await system.dead_letters(2)}
    assert json.loads(letters["untrusted_sender"].body) == lie
    assert letters["untrusted_sender"].shown["properties"]["user_id"] == billing
    assert (await system.saga(order_id))["status"] == "Started"
    metrics = (await system.client.get("/metrics")).text
    assert 'order_service_dead_letters_total{reason="untrusted_sender"} 1.0' in metrics

    id_ = letters["untrusted_sender"].shown["id"]
    assert not letters["untrusted_sender"].shown["safety"]["redrivable"]
    refused = await system.client.post(f"/api/dead-letters/{id_}/redrive")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:order-service:redrive-refused")
    many = await system.client.post("/api/dead-letters/redrive", json={"reason": "untrusted_sender"})
    assert [one["outcome"] for one in many.json()["items"]] == ["refused"]


@pytest.mark.parametrize("way", ["straight to the queue", "by a routing key of his own"])
async def test_what_comes_into_a_queue_by_another_way_is_not_believed(
    system: System, urls: Mapping[str, str], rabbitmq: RabbitMQ, vhost: str, way: str
) -> None:
    order_id = await muted(system)
    billing, queue = str(URL(urls["billing"]).user), "order-service.InventoryValidated"
    rabbitmq.management.permit(URL(vhost).path[1:], billing, configure=".*", write=".*", read=".*")
    rabbitmq.management.permit_topics(URL(vhost).path[1:], billing, "domain", write=".*", read=".*")
    async with channel_of(urls["billing"]) as channel:
        lie = aio_pika.Message(json.dumps(answer(order_id)).encode(), user_id=billing)
        if way == "straight to the queue":
            await channel.default_exchange.publish(lie, queue)
        else:
            await (await channel.get_queue(queue, ensure=False)).bind("domain", "domain.billing.Anything")
            await (await channel.get_exchange("domain", ensure=False)).publish(lie, "domain.billing.Anything")
    assert "untrusted_sender" in [letter.reason for letter in await system.dead_letters(2)]
    assert (await system.saga(order_id))["status"] == "Started"


async def test_who_says_nothing_of_himself_is_not_believed(system: System, urls: Mapping[str, str]) -> None:
    order_id = await muted(system)
    await publish(urls["inventory"], "domain.inventory.InventoryValidated", answer(order_id), user_id=None)
    assert "untrusted_sender" in [letter.reason for letter in await system.dead_letters(2)]
    assert (await system.saga(order_id))["status"] == "Started"


async def test_nobody_can_pretend_to_be_another(system: System, urls: Mapping[str, str]) -> None:
    forged = {"user_id": str(URL(urls["inventory"]).user)}
    with pytest.raises((ChannelPreconditionFailed, ChannelInvalidStateError)):
        await publish(urls["billing"], "domain.billing.PaymentProcessed", answer(str(uuid4())), **forged)


@pytest.mark.parametrize("who", ["inventory", "billing", "shop"])
async def test_nobody_else_gets_at_our_queues_or_exchanges(system: System, urls: Mapping[str, str], who: str) -> None:
    async def consume(channel: AbstractChannel) -> None:
        queue = await channel.get_queue("order-service.InventoryValidated", ensure=False)
        await queue.get(no_ack=True)

    async def declare(channel: AbstractChannel) -> None:
        await channel.declare_queue("order-service.InventoryValidated", durable=True)

    async def delete(channel: AbstractChannel) -> None:
        await channel.queue_delete("order-service.InventoryValidated")

    async def purge(channel: AbstractChannel) -> None:
        queue = await channel.get_queue("order-service.dead-letters", ensure=False)
        await queue.purge()

    async def delete_exchange(channel: AbstractChannel) -> None:
        await channel.exchange_delete("domain")

    async def forge_a_letter(channel: AbstractChannel) -> None:
        letters = await channel.get_exchange("order-service.dlx", ensure=False)
        await letters.publish(aio_pika.Message(b"{}"), "domain.inventory.InventoryValidated")

    async def listen_to_commands(channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(f"{who}.ear", durable=True)
        await queue.bind("domain", "domain.order.#")

    for attempt in (consume, declare, delete, purge, delete_exchange, forge_a_letter, listen_to_commands):
        async with channel_of(urls[who]) as channel:
            with pytest.raises((ChannelAccessRefused, ChannelInvalidStateError)):
                await attempt(channel)
