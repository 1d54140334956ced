"""Whose word counts: RabbitMQ vouches for one name, and a message keeps its first one on every way."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import aio_pika
import httpx2
import pytest
from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from handlers.bus import trusted_senders as senders_module
from handlers.bus.publisher import Bus
from handlers.bus.trusted_senders import FIRST_SENDER, Senders, UntrustedSenderError, sender_of, user_in
from local.broker import RabbitMQ
from models.states import Command
from saga.domain import message_id
from saga.engine import Engine
from tests.dead_letters.conftest import Api, Table, Wire, letters_app, order_json, take
from tests.engine.conftest import order_request

VALIDATED = "domain.inventory.InventoryValidated"
EXPECTED = {"domain.inventory.": "inventory", "domain.": "anybody", "domain.order.": "shop"}


def message(user_id: str | None, **headers: Any) -> AbstractIncomingMessage:
    return cast("AbstractIncomingMessage", SimpleNamespace(user_id=user_id, headers=headers))


@pytest.mark.parametrize(
    ("arrived", "sender"),
    [
        (message("inventory"), "inventory"),
        (message(None), None),
        (message("us"), "us"),
        (message("us", **{FIRST_SENDER: "inventory"}), "inventory"),
        (message("us", **{FIRST_SENDER: ""}), None),
        (message("us", **{FIRST_SENDER: cast("Any", 1)}), None),
        (message("billing", **{FIRST_SENDER: "inventory"}), "billing"),
        (message(None, **{FIRST_SENDER: "inventory"}), None),
    ],
)
def test_the_first_sender_counts_and_only_our_own_user_may_name_another(
    arrived: AbstractIncomingMessage, sender: str | None
) -> None:
    assert sender_of(arrived, "us") == sender


def test_without_a_user_of_our_own_nobody_names_another() -> None:
    assert sender_of(message(None, **{FIRST_SENDER: "inventory"}), None) is None


@pytest.mark.parametrize(
    ("sender", "routing_key", "trusted"),
    [
        ("inventory", VALIDATED, True),
        ("billing", VALIDATED, False),
        ("anybody", VALIDATED, False),
        (None, VALIDATED, False),
        ("anybody", "domain.billing.PaymentProcessed", True),
        ("shop", "domain.order.CreateOrder", True),
        ("inventory", "domain.order.CreateOrder", False),
        (None, "elsewhere", True),
    ],
)
def test_the_longest_beginning_names_who_counts(sender: str | None, routing_key: str, trusted: bool) -> None:
    assert Senders("us", EXPECTED).trusts(routing_key, sender) is trusted


def test_what_is_not_trusted_does_not_pass_and_nobody_is_quoted() -> None:
    Senders("us", EXPECTED).require_trusted(message("inventory"), VALIDATED)
    with pytest.raises(UntrustedSenderError) as raised:
        Senders("us", EXPECTED).require_trusted(message("billing"), VALIDATED)
    assert "billing" not in str(raised.value)


def test_that_another_is_believed_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[dict[str, Any]] = []
    monkeypatch.setattr(senders_module.log, "warning", lambda _, **known: warned.append(known))
    senders = Senders("us", {"domain.inventory.": "inventory"})
    paid = "domain.billing.PaymentProcessed"
    for sender in ("us", None):
        senders.require_trusted(message(sender), paid)
    senders.require_trusted(message("inventory"), VALIDATED)
    assert warned == []
    for _ in range(2):
        senders.require_trusted(message("billing"), paid)
    assert warned == [{"routing_key": paid}]


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("amqp://a%40b:c@h/", "a@b"),
        ("amqp://h/", "guest"),
        ("amqps://h/?auth=EXTERNAL", None),
        ("amqps://ours@h/?auth=EXTERNAL", "ours"),
    ],
)
def test_our_own_name_stands_in_the_address(url: str, user: str | None) -> None:
    assert user_in(url) == user


@pytest.fixture
async def billing(rabbitmq: RabbitMQ, vhost: str) -> AsyncIterator[Wire]:
    """Somebody else on the bus, under a user of his own who may do all."""
    name, here = f"billing-{uuid4().hex[:8]}", URL(vhost)
    rabbitmq.management.create_user(name, "secret")
    rabbitmq.management.permit(here.path[1:], name, configure=".*", write=".*", read=".*")
    async with await aio_pika.connect(here.with_user(name).with_password("secret")) as connection:
        yield Wire(await connection.channel(), name)
    rabbitmq.management.delete_user(name)


def api_of(pool: AsyncEngine, bus: Bus, senders: Senders) -> Api:
    transport = httpx2.ASGITransport(app=letters_app(pool, bus, senders), client=("127.0.0.1", 1))
    return Api(httpx2.AsyncClient(transport=transport, base_url="http://localhost"))


@pytest.mark.usefixtures("subscriber")
async def test_no_redrive_makes_a_trusted_message_of_another(
    billing: Wire, wire: Wire, bus: Bus, table: Table, pool: AsyncEngine
) -> None:
    """Not even by an instance that is told of no senders."""
    messages = await wire.listen(VALIDATED)
    await billing.publish(b"{}", VALIDATED, "domain", user_id=billing.user, headers={FIRST_SENDER: "inventory"})
    await bus.dead_letter(await take(messages), "invalid", "why")
    for times in (1, 2):
        [*_, row] = await table.arrivals(times)
        assert row["properties"]["user_id"] == billing.user
        refused = await api_of(pool, bus, Senders(bus.user, {"domain.inventory.": "inventory"})).redrive(row["id"])
        assert refused.status_code == 409
        assert (await api_of(pool, bus, Senders()).redrive(row["id"])).json()["outcome"] == "redriven"
        again = await take(messages)
        assert (again.user_id, sender_of(again, bus.user)) == (bus.user, billing.user)
        await bus.dead_letter(again, "invalid", "why")
    assert len(await table.arrivals(3)) == 1


@pytest.mark.usefixtures("subscriber")
async def test_once_its_sender_is_named_a_letter_is_redriven_and_counts(
    billing: Wire, wire: Wire, bus: Bus, table: Table, pool: AsyncEngine
) -> None:
    messages = await wire.listen(VALIDATED)
    await billing.publish(b"{}", VALIDATED, "domain", user_id=billing.user)
    await bus.dead_letter(await take(messages), "untrusted_sender", "why")
    [row] = await table.arrivals(1)
    named = Senders(bus.user, {"domain.inventory.": billing.user})
    api = api_of(pool, bus, named)
    [listed] = await api.list()
    assert listed["safety"]["redrivable"]
    assert (await api.redrive(row["id"])).json()["outcome"] == "redriven"
    named.require_trusted(await take(messages), VALIDATED)


@pytest.mark.usefixtures("subscriber")
async def test_nobody_takes_the_place_of_anothers_letter(billing: Wire, wire: Wire, bus: Bus, table: Table) -> None:
    """The very same, said by somebody else, is another letter."""
    await wire.publish(b"{}", VALIDATED, message_id="m")
    await billing.publish(b"{}", VALIDATED, message_id="m", user_id=billing.user)
    assert [row["count"] for row in await table.arrivals(2)] == [1, 1]


@pytest.mark.usefixtures("subscriber")
async def test_a_command_that_another_says_is_never_published_by_us(  # noqa: PLR0917 - its fixtures
    billing: Wire, wire: Wire, bus: Bus, table: Table, pool: AsyncEngine, engine: Engine
) -> None:
    """Under the open command's own id, too, which its participant knows: another amount, say."""
    accepted = await engine.create(order_request())
    key, own = "domain.order.ValidateInventory", str(message_id(accepted.saga_id, Command.VALIDATE_INVENTORY))
    messages = await wire.listen(key)
    await billing.publish(
        order_json(accepted.order_id), key, message_id=own, user_id=billing.user, headers={"x-dead-letter-reason": "x"}
    )
    [row] = await table.arrivals(1)
    assert row["reason"] == "unknown"
    api = api_of(pool, bus, Senders(bus.user))
    assert "not from this service" in (await api.get(row["id"]))["safety"]["detail"]
    assert (await api.redrive(row["id"])).status_code == 409
    assert messages.empty()
