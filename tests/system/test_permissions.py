"""Every service under a broker user of its own, with the rights of the table in `docs/rabbitmq.md` and no others."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import product
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
from tests.service import told
from tests.system.conftest import System, order_body
from tests.system.permissions import documented_rights, users
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
def named() -> dict[str, str]:
    """Whom TRUSTED_SENDERS names."""
    return {"domain.inventory.": "inventory", "domain.billing.": "billing", "domain.order.": "shop"}


@pytest.fixture
def environment(migrated: str, urls: Mapping[str, str], named: dict[str, str]) -> dict[str, str]:
    trusted = " ".join(f"{prefix}={URL(urls[service]).user}" for prefix, service in named.items())
    return {
        "DATABASE_URL": migrated,
        "RABBITMQ_URL": urls["order-service"],
        **({"TRUSTED_SENDERS": trusted} if trusted else {}),
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


async def unpaid(system: System) -> str:
    """An order whose payment nobody answers."""
    system.billing.behaviour["ProcessPayment"] = Behaviour(mode="mute")
    order_id = await system.order(order_body())

    async def is_parked() -> bool:
        return (await system.saga(order_id))["incident"] is not None

    await until(is_parked)
    assert (await system.saga(order_id))["currentStep"] == "ProcessPayment"
    return order_id


async def by_dead_lettering(urls: Mapping[str, str], routing_key: str, body: Mapping[str, Any]) -> bool:
    """Let RabbitMQ publish this as Inventory, who may not: it never looks at the routing key of a queue's dead letters.

    It checks that whoever declares the queue may read it, and may write to the exchange that its dead letters go to.
    """
    laundry: dict[str, Any] = {
        "x-dead-letter-exchange": "domain",
        "x-dead-letter-routing-key": routing_key,
        "x-message-ttl": 1,
    }
    async with channel_of(urls["inventory"]) as channel:
        source = await channel.declare_exchange("inventory.x", "fanout", durable=True)
        queue = await channel.declare_queue("inventory.laundry", durable=True, arguments=laundry)
        await queue.bind(source)
        await source.publish(message_of(urls["inventory"], body), "")
    return True


async def by_carbon_copy(urls: Mapping[str, str], routing_key: str, body: Mapping[str, Any]) -> bool:
    """Order as the shop, and address a copy; RabbitMQ looks at that since 4.0.3 only.

    Returns:
        whether RabbitMQ took it.
    """
    async with channel_of(urls["shop"]) as channel:
        domain = await channel.get_exchange("domain", ensure=False)
        message = message_of(urls["shop"], order_body() | dict(body))
        message.headers["CC"] = [routing_key]
        try:
            await domain.publish(message, "domain.order.CreateOrder")
        except (ChannelAccessRefused, ChannelInvalidStateError):
            return False
        return True


async def by_an_exchange_of_its_own(urls: Mapping[str, str], routing_key: str, body: Mapping[str, Any]) -> bool:
    """Bind `domain` behind an exchange of Inventory's: what comes by that has whatever routing key."""
    async with channel_of(urls["inventory"]) as channel:
        source = await channel.declare_exchange("inventory.y", "fanout", durable=True)
        await (await channel.get_exchange("domain", ensure=False)).bind(source)
        await source.publish(message_of(urls["inventory"], body), routing_key)
    return True


def message_of(url: str, body: Mapping[str, Any]) -> aio_pika.Message:
    """A message under its sender's own name: RabbitMQ takes no other."""
    return aio_pika.Message(json.dumps(body).encode(), user_id=URL(url).user)


WAYS = (by_dead_lettering, by_carbon_copy, by_an_exchange_of_its_own)
PAID = "domain.billing.PaymentProcessed"


async def test_nobody_says_that_an_order_is_paid_but_billing_whatever_the_way(
    system: System, urls: Mapping[str, str]
) -> None:
    lies = {}
    for way in WAYS:
        order_id = await unpaid(system)
        lies[order_id] = answer(order_id)
        if await way(urls, PAID, lies[order_id]):
            await until(partial(distrusted, system, lies[order_id]))
        assert (await system.saga(order_id))["status"] == "InProgress", way
    system.billing.behaviour["ProcessPayment"] = Behaviour()
    for order_id in lies:
        assert (await system.client.post(f"/api/sagas/{order_id}/retry")).status_code == 200
        assert (await system.ended(order_id))["status"] == "Completed"
        assert system.done(order_id).charged.times == 1


async def distrusted(system: System, lie: Mapping[str, str]) -> bool:
    """Whether a lie was found out."""
    rows = await system.rows("SELECT body FROM dead_letters WHERE reason = 'untrusted_sender'")
    return lie["eventId"] in "".join(bytes(row["body"]).decode() for row in rows)


async def test_nobody_orders_a_payment_but_the_order_service_whatever_the_way(
    system: System, urls: Mapping[str, str]
) -> None:
    """The contract asks participants to look at `user_id`, and the stand-ins do."""
    forged = []
    for way in WAYS:
        order_id = str(uuid4())
        body = answer(order_id) | {"sagaId": str(uuid4()), "userId": str(uuid4()), "totalAmount": "9999.00"}
        if await way(urls, "domain.order.ProcessPayment", body):
            await until(partial(heard, system, order_id))
        forged.append(order_id)
    # what comes after it is paid
    honest = await system.order(order_body())
    assert (await system.ended(honest))["status"] == "Completed"
    assert Decimal(9999) not in [system.done(order_id).charged.amount for order_id in forged]


async def heard(system: System, order_id: str) -> bool:
    """Whether anything was said about an order."""
    return bool(system.ear.about(order_id))


@pytest.mark.parametrize("named", [{}])
async def test_where_nobody_is_named_anybody_is_believed_and_the_log_says_so(
    system: System, urls: Mapping[str, str]
) -> None:
    order_id = await unpaid(system)
    await by_dead_lettering(urls, PAID, answer(order_id))
    assert (await system.ended(order_id))["status"] == "Completed"
    assert system.done(order_id).charged.times == 0
    warnings = [line["event"] for line in told(system.service.log) if line["level"] == "warning"]
    assert len([event for event in warnings if "set TRUSTED_SENDERS" in event]) == 1


async def test_invented_routing_keys_make_no_metrics(system: System, urls: Mapping[str, str]) -> None:
    """Inventory may invent keys that begin with `domain.inventory.`, and address copies to a queue of ours."""
    key = "domain.inventory.InventoryValidated"

    async def series() -> set[str]:
        lines = (await system.client.get("/metrics")).text.splitlines()
        return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

    async with channel_of(urls["inventory"]) as channel:
        domain = await channel.get_exchange("domain", ensure=False)

        async def publish_to(routing_key: str, **headers: Any) -> None:
            message = message_of(urls["inventory"], answer(str(uuid4())))
            message.headers |= headers
            await domain.publish(message, routing_key)

        await publish_to(key)
        await system.dead_letters(1)
        before = await series()
        for number in range(200):
            await publish_to(f"domain.inventory.X{chr(97 + number // 26)}{chr(97 + number % 26)}", CC=[key])
    await until(lambda: handled(system, 201), 30)
    assert await series() == before


async def handled(system: System, count: int) -> bool:
    """Whether that many dead letters are stored."""
    return len(await system.rows("SELECT 1 FROM dead_letters")) >= count


def test_the_readme_has_rights_for_every_service() -> None:
    assert tuple(documented_rights()) == SERVICES


async def test_orders_go_their_ways_with_these_rights(system: System, urls: Mapping[str, str]) -> None:
    for quantity, price, status in ((1, 1299.99, "Completed"), (1001, 1, "Failed"), (1, 10000.01, "Compensated")):
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


async def test_what_comes_into_a_queue_by_another_way_is_not_believed(
    system: System, urls: Mapping[str, str], rabbitmq: RabbitMQ, vhost: str
) -> None:
    straight, bound = await muted(system), await muted(system)
    billing, queue = str(URL(urls["billing"]).user), "order-service.InventoryValidated"
    rabbitmq.management.permit(URL(vhost).path[1:], billing, configure=".*", write=".*", read=".*")
    rabbitmq.management.permit_topics(URL(vhost).path[1:], billing, "domain", write=".*", read=".*")
    async with channel_of(urls["billing"]) as channel:
        await channel.default_exchange.publish(message_of(urls["billing"], answer(straight)), queue)
        await (await channel.get_queue(queue, ensure=False)).bind("domain", "domain.billing.Anything")
        domain = await channel.get_exchange("domain", ensure=False)
        await domain.publish(message_of(urls["billing"], answer(bound)), "domain.billing.Anything")
    letters = await system.dead_letters(4)
    assert [letter.reason for letter in letters].count("untrusted_sender") == 2
    for order_id in (straight, bound):
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


@pytest.mark.usefixtures("system")
async def test_nobody_else_gets_at_our_queues_or_exchanges(urls: Mapping[str, str]) -> None:
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

    attempts = (consume, declare, delete, purge, delete_exchange, forge_a_letter, listen_to_commands)
    for who, attempt in product(("inventory", "billing", "shop"), attempts):
        async with channel_of(urls[who]) as channel:
            with pytest.raises((ChannelAccessRefused, ChannelInvalidStateError)):
                await attempt(channel)
