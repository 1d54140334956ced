"""Letters are published again unchanged, once; what the table knows is told before, and obeyed."""

import asyncio
import json
import socket
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import QueuePool
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.publisher import Bus
from handlers.bus.trusted_senders import FIRST_SENDER
from handlers.dead_letters import bulk_redrive as redriving
from handlers.dead_letters import redrive
from handlers.dead_letters.store import SHORT_BODY_BYTES
from models.states import Command
from saga.domain import Event, message_id
from saga.engine import Engine
from saga.outbox.message import DEAD_LETTER_EXCHANGE
from saga.runtime.database import connect
from saga.transitions import Signal
from tests.dead_letters.conftest import Api, Table, Wire, order_json, problem, serving, take
from tests.engine.conftest import order_request
from tests.relay.conftest import envelope
from tests.waiting import until

KEY = "domain.order.CreateOrder"
pytestmark = pytest.mark.usefixtures("subscriber")


async def stored(wire: Wire, table: Table) -> UUID:
    """A letter that is stored, and the only one."""
    await wire.publish(b"x", KEY, message_id="m1", headers={"x-dead-letter-reason": "invalid"})
    (row,) = await table.arrivals(1)
    id_: UUID = row["id"]
    return id_


async def test_a_letter_is_published_again_as_it_was(wire: Wire, bus: Bus, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY)
    headers = {"traceparent": "00-x", "tracestate": "a=b", "ce-id": "a\x00b", "ce-more": {"a": [1, None]}}
    await wire.publish(b"\x00{", KEY, "domain", message_id="a\x00b", correlation_id="c", type="t", headers=headers)
    first = await take(messages)
    await bus.dead_letter(first, "unreadable", "why")
    (row,) = await table.arrivals(1)

    answer = await api.redrive(row["id"])
    assert (answer.status_code, answer.json()["outcome"]) == (200, "redriven")
    again = await take(messages)
    for name in (
        "body",
        "message_id",
        "correlation_id",
        "type",
        "content_type",
        "timestamp",
        "routing_key",
        "exchange",
    ):
        assert getattr(again, name) == getattr(first, name), name
    # that nobody says who had sent it is said
    assert again.headers == headers | {FIRST_SENDER: ""}
    assert first.headers == headers
    assert again.delivery_mode == 2
    letter = await api.get(row["id"])
    assert (letter["state"], letter["redrivenCount"], letter["closedBy"]) == ("redriven", 1, "operator@127.0.0.1")


async def test_what_rabbitmq_wrote_into_the_headers_is_gone(wire: Wire, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY, **{"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE})
    await wire.publish(b"x", KEY, "domain", headers={"ce-id": "1"})
    await (await take(messages)).reject(requeue=False)
    (row,) = await table.arrivals(1)
    assert "x-death" in row["headers"]
    assert (await api.redrive(row["id"])).status_code == 200
    assert (await take(messages)).headers == {"ce-id": "1", FIRST_SENDER: ""}


async def test_nobody_else_hears_a_redriven_letter_because_its_sender_wished_so(
    wire: Wire, bus: Bus, table: Table, api: Api
) -> None:
    """Published by us, `CC` would be believed: what a stranger wrote would come to Billing under our name."""
    messages = await wire.listen(KEY)
    payment = "domain.order.ProcessPayment"
    orders = {"CC": [payment], "BCC": [payment], "mine": 1, "x-delay": 5}
    await wire.publish(b"x", KEY, "domain", headers=orders, reply_to="elsewhere")
    await bus.dead_letter(await take(messages), "invalid", "why", queue="order-service.CreateOrder")
    (row,) = await table.arrivals(1)
    assert row["headers"].items() >= {"x-dead-letter-cc": [payment], "mine": 1}.items()
    payments = await wire.listen(payment)
    assert (await api.redrive(row["id"])).json()["outcome"] == "redriven"
    again = await take(messages)
    assert (again.headers, again.reply_to) == ({FIRST_SENDER: ""}, None)
    await wire.publish(b"the first", payment, "domain")
    assert (await take(payments)).body == b"the first"


async def test_a_letter_goes_back_to_the_queue_that_it_waited_in_whatever_it_came_by(
    wire: Wire, bus: Bus, table: Table, api: Api
) -> None:
    strange = await wire.listen("domain.billing.Anything")
    await wire.publish(b"x", "domain.billing.Anything", "domain", message_id="m")
    message = await take(strange)
    validated = await wire.listen("domain.inventory.InventoryValidated")
    for times in (1, 2):
        await bus.dead_letter(message, "invalid", "why", queue="order-service.InventoryValidated")
        # it is the same letter, too, under the key that it has now
        [row] = await table.arrivals(times)
        assert row["routing_key"] == "domain.billing.Anything"
        assert (await api.redrive(row["id"])).json()["outcome"] == "redriven"
        message = await take(validated)
        assert (message.exchange, message.routing_key) == ("domain", "domain.inventory.InventoryValidated")
    assert strange.empty()


async def test_redriving_twice_does_nothing_twice_even_at_once(wire: Wire, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY)
    id_ = await stored(wire, table)
    answers = await asyncio.gather(*(api.redrive(id_) for _ in range(5)))
    outcomes = sorted(answer.json()["outcome"] for answer in answers)
    assert outcomes == ["redriven", "unchanged", "unchanged", "unchanged", "unchanged"]
    assert (await api.redrive(id_)).json()["outcome"] == "unchanged"
    await take(messages)
    assert messages.empty()
    assert (await api.get(id_))["redrivenCount"] == 1


async def test_a_letter_that_comes_back_is_open_again_and_can_be_redriven_again(
    wire: Wire, table: Table, api: Api
) -> None:
    messages = await wire.listen(KEY)
    id_ = await stored(wire, table)
    await api.redrive(id_)
    assert await api.list() == []
    await stored_again(wire, table)
    (letter,) = await api.list()
    assert (letter["id"], letter["count"], letter["redrivenCount"], letter["closedBy"]) == (str(id_), 2, 1, None)
    assert (await api.redrive(id_)).json()["outcome"] == "redriven"
    assert [(await take(messages)).body for _ in range(2)] == [b"x", b"x"]


async def stored_again(wire: Wire, table: Table) -> None:
    await wire.publish(b"x", KEY, message_id="m1", headers={"x-dead-letter-reason": "invalid"})
    await table.arrivals(2)


@pytest.mark.parametrize(
    ("exchange", "key"), [("", KEY), ("elsewhere", KEY), ("domain", "domain.order.OrderCreated"), ("domain", "x")]
)
async def test_what_was_not_sent_to_a_queue_of_this_service_is_not_published(
    wire: Wire, table: Table, api: Api, exchange: str, key: str
) -> None:
    headers = {"x-dead-letter-reason": "invalid", "x-dead-letter-exchange": exchange}
    await wire.publish(b"x", key, headers=headers)
    (row,) = await table.arrivals(1)
    assert "Not for this service" in (await api.get(row["id"]))["safety"]["detail"]
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"


async def test_what_no_queue_takes_stays_open_and_the_bus_goes_on(wire: Wire, bus: Bus, table: Table, api: Api) -> None:
    id_ = await stored(wire, table)
    assert problem(await api.redrive(id_), 409) == "redrive-unroutable"
    assert [letter["id"] for letter in await api.list()] == [str(id_)]
    assert bus.connected
    copy = envelope("domain.order.ProcessPayment", exchange=DEAD_LETTER_EXCHANGE)
    assert await bus.publish([copy]) == {}


async def test_while_the_broker_is_away_a_letter_stays_open(wire: Wire, table: Table, pool: AsyncEngine) -> None:
    id_ = await stored(wire, table)
    nowhere = Bus("amqp://guest:guest@127.0.0.1:9/")
    async with serving(pool, nowhere) as api:
        answer = await api.redrive(id_)
        assert problem(answer, 503) == "bus-away"
        assert answer.headers["retry-after"]
        many = await api.call("POST", "/redrive", json={"dryRun": False})
        assert problem(many, 503) == "bus-away"
        assert many.headers["retry-after"]
        assert (await api.get(id_))["state"] == "open"


async def test_a_command_is_redriven_while_its_saga_waits_for_it_and_never_afterwards(
    wire: Wire, bus: Bus, table: Table, api: Api, engine: Engine
) -> None:
    accepted = await engine.create(order_request())
    messages = await wire.listen("domain.order.*")
    commands = {command: f"domain.order.{command}" for command in (Command.VALIDATE_INVENTORY, Command.PROCESS_PAYMENT)}
    for command, key in commands.items():
        own = message_id(accepted.saga_id, command)
        copy = envelope(key, exchange=DEAD_LETTER_EXCHANGE, message_id=own, body=order_json(accepted.order_id))
        assert await bus.publish([copy]) == {}
    await table.arrivals(2)
    letters = {letter["routingKey"]: letter for letter in await api.list()}

    open_, early = (letters[key] for key in commands.values())
    assert open_["safety"] | {"detail": ""} == {
        "redrivable": True,
        "awaited": True,
        "sagaStatus": "Started",
        "sagaStep": "ValidateInventory",
        "detail": "",
    }
    assert (early["safety"]["redrivable"], early["safety"]["awaited"]) == (False, False)
    assert problem(await api.redrive(early["id"]), 409) == "redrive-refused"
    assert (await api.redrive(open_["id"])).json()["outcome"] == "redriven"
    assert (await take(messages)).message_id == open_["messageId"]

    validate = commands[Command.VALIDATE_INVENTORY]
    own = message_id(accepted.saga_id, Command.VALIDATE_INVENTORY)
    again = envelope(validate, exchange=DEAD_LETTER_EXCHANGE, message_id=own, body=order_json(accepted.order_id))
    await bus.publish([again])
    await table.arrivals(3)
    await engine.advance(Event(Signal.INVENTORY_VALIDATED, accepted.order_id, event_id=uuid4()))
    (late,) = await api.list(routingKey=validate)
    assert "does not wait" in late["safety"]["detail"]
    assert problem(await api.redrive(late["id"]), 409) == "redrive-refused"
    assert messages.empty()


async def test_a_command_for_an_order_that_is_not_there_is_not_published(
    wire: Wire, bus: Bus, table: Table, api: Api
) -> None:
    await bus.publish([envelope("domain.order.ProcessPayment", exchange=DEAD_LETTER_EXCHANGE)])
    (row,) = await table.arrivals(1)
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"


async def test_a_command_that_is_not_the_sagas_own_is_not_published_even_if_its_kind_is_open(
    wire: Wire, bus: Bus, table: Table, api: Api, engine: Engine
) -> None:
    accepted = await engine.create(order_request())
    messages = await wire.listen("domain.order.*")
    key, body = "domain.order.ValidateInventory", order_json(accepted.order_id)
    await bus.publish([envelope(key, exchange=DEAD_LETTER_EXCHANGE, body=body)])
    (row,) = await table.arrivals(1)
    safety = (await api.get(row["id"]))["safety"]
    assert (safety["redrivable"], safety["awaited"]) == (False, False)
    assert str(message_id(accepted.saga_id, Command.VALIDATE_INVENTORY)) in safety["detail"]
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"
    assert messages.empty()


HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)
FORETOLD: list[tuple[tuple[Signal, ...], str, dict[str, Any], bool | None, str]] = [
    ((), "inventory.InventoryValidated", {}, True,
     "Inventory validated; the saga would be InProgress at ReserveInventory; ReserveInventory would be sent."),
    ((), "inventory.InventoryReserved", {}, False,
     "It would change nothing: ReserveInventory has not been sent yet."),
    ((), "inventory.InventoryValidated", {"causationId": str(uuid4())}, False,
     "It would change nothing: it answers another command."),
    ((), "order.CancelOrder", {}, None,
     ("Its order exists: the saga is Started at ValidateInventory. It would be applied: Cancelled by the client;"
      " the saga would be Failed at Failed; OrderFailed would be sent.")),
    (HAPPY[:2], "order.CancelOrder", {}, None,
     "It would change nothing: too late to cancel: the payment has been asked for."),
    (HAPPY, "billing.PaymentFailed", {"reason": "no money"}, False,
     "It would be applied: PaymentFailed contradicts an earlier answer; incident contradiction."),
    ((Signal.INVENTORY_VALIDATION_FAILED,), "billing.PaymentProcessed", {}, False,
     "It would be applied: Paid late; refund asked for; RefundPayment would be sent; incident late_payment."),
    (HAPPY[:1], "inventory.InventoryReserved", {"eventId": 7}, None,
     "It cannot be read, and would come back: eventId: Value error, must be a UUID in a string"),
    ((), "order.CreateOrder", {}, None, "What it asks for is not known."),
]  # fmt: skip
"""What has happened, what comes late, whether it is awaited, and what is told of it before it is redriven."""


@pytest.mark.parametrize("case", FORETOLD, ids=[case[1] for case in FORETOLD])
async def test_what_would_come_of_a_message_is_what_the_table_says(
    wire: Wire, table: Table, api: Api, engine: Engine, case: Any
) -> None:
    before, name, more, awaited, told = case
    order_id = (await engine.create(order_request())).order_id
    for signal in before:
        await engine.advance(Event(signal, order_id, event_id=uuid4()))
    body = {"eventId": str(uuid4()), "orderId": str(order_id), "message": "all is well"} | more
    await wire.publish(json.dumps(body).encode(), f"domain.{name}")
    await table.arrivals(1)
    (letter,) = await api.list()
    assert letter["safety"]["redrivable"]
    assert letter["safety"]["awaited"] is awaited
    assert letter["safety"]["detail"].endswith(told)


async def test_what_was_applied_before_is_told_to_change_nothing(
    wire: Wire, table: Table, api: Api, engine: Engine
) -> None:
    order_id, event_id = (await engine.create(order_request())).order_id, uuid4()
    await engine.advance(Event(Signal.INVENTORY_VALIDATED, order_id, event_id=event_id))
    body = json.dumps({"eventId": str(event_id), "orderId": str(order_id)}).encode()
    await wire.publish(body, "domain.inventory.InventoryValidated")
    await table.arrivals(1)
    (letter,) = await api.list()
    assert letter["safety"]["detail"].endswith("It would change nothing: already applied.")


async def test_a_long_message_is_read_where_it_is_shown_by_itself(
    wire: Wire, table: Table, api: Api, engine: Engine
) -> None:
    order_id = (await engine.create(order_request())).order_id
    body = {"eventId": str(uuid4()), "orderId": str(order_id), "message": "x" * SHORT_BODY_BYTES}
    await wire.publish(json.dumps(body).encode(), "domain.inventory.InventoryValidated")
    await table.arrivals(1)
    (listed,) = await api.list()
    assert "look at it by itself" in listed["safety"]["detail"]
    assert (await api.get(listed["id"]))["safety"]["awaited"]


async def test_many_are_redriven_by_filter_where_that_is_really_meant(wire: Wire, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY)
    for number in range(5):
        reason = "invalid" if number else "unreadable"
        await wire.publish(b"x", KEY, message_id=str(number), headers={"x-dead-letter-reason": reason})
    await table.arrivals(5)

    wanted: dict[str, Any] = {"reason": "invalid", "limit": 3}
    dry = await redriven(api, **wanted)
    assert [one["outcome"] for one in dry["items"]] == ["would_redrive"] * 3
    assert messages.empty()
    first = await redriven(api, **wanted, dryRun=False)
    assert [one["id"] for one in first["items"]] == [one["id"] for one in dry["items"]]
    assert [one["outcome"] for one in first["items"]] == ["redriven"] * 3
    rest = await redriven(api, **wanted, after=first["next"], dryRun=False)
    assert ([one["outcome"] for one in rest["items"]], rest["next"]) == (["redriven"], None)
    assert {(await take(messages)).message_id for _ in range(4)} == {"1", "2", "3", "4"}
    assert [letter["reason"] for letter in await api.list()] == ["unreadable"]


async def redriven(api: Api, **body: Any) -> dict[str, Any]:
    """What became of many."""
    answer = await api.call("POST", "/redrive", json=body)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def several(wire: Wire, table: Table, count: int = 3) -> None:
    for number in range(count):
        await wire.publish(b"x", KEY, message_id=str(number))
    await table.arrivals(count)


async def test_a_broker_that_goes_away_ends_the_page_and_the_next_one_begins_with_what_is_undone(
    wire: Wire, bus: Bus, table: Table, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = await wire.listen(KEY)
    await several(wire, table)
    answers = [None, "not now", "not now", None, None]

    async def republish(*of: Any) -> str | None:
        return answers.pop(0) or await Bus.republish(bus, *of)

    monkeypatch.setattr(bus, "republish", republish)
    first = await redriven(api, dryRun=False)
    assert [one["outcome"] for one in first["items"]] == ["redriven", "bus_away"]
    again = await api.call("POST", "/redrive", json={"dryRun": False, "after": first["next"]})
    assert problem(again, 503) == "bus-away"
    rest = await redriven(api, dryRun=False, after=first["next"])
    assert ([one["outcome"] for one in rest["items"]], rest["next"]) == (["redriven"] * 2, None)
    assert [(await take(messages)).message_id for _ in range(3)] == ["2", "1", "0"]


async def test_one_request_takes_its_time_and_the_next_one_goes_on(
    wire: Wire, table: Table, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await wire.listen(KEY)
    await several(wire, table)
    monkeypatch.setattr(redriving, "BULK_SECONDS", 0.0)
    pages = [await redriven(api, dryRun=False)]
    while following := pages[-1]["next"]:
        pages.append(await redriven(api, dryRun=False, after=following))
    assert [[one["outcome"] for one in page["items"]] for page in pages] == [["redriven"]] * 3
    assert await api.list() == []


async def test_redrives_that_wait_for_a_silent_broker_keep_nobody_from_reading(
    wire: Wire, table: Table, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are published at once, each for a short time, and whoever waits for a turn holds no connection."""
    for number in range(5):
        headers = {"x-dead-letter-reason": "invalid", "x-dead-letter-exchange": "domain"}
        await wire.publish(b"x", KEY, message_id=f"m{number}", headers=headers)
    ids = [row["id"] for row in await table.arrivals(5)]
    monkeypatch.setattr(redrive, "PUBLISH_WITHIN", timedelta(seconds=3))
    monkeypatch.setattr(redrive, "TURN_SECONDS", 0.1)
    pool = connect(migrated, connections=redrive.AT_ONCE + 1, name="test")

    async def all_turns_taken() -> bool:
        return isinstance(pool.pool, QueuePool) and pool.pool.checkedout() == redrive.AT_ONCE

    # it is connected to, and answers nothing
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with serving(pool, Bus(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/")) as api:
            asked = [asyncio.create_task(api.redrive(id_)) for id_ in ids]
            await until(all_turns_taken)
            assert {letter["id"] for letter in await api.list()} == {str(id_) for id_ in ids}
            assert await all_turns_taken(), "the list was answered when they had given up"
            answers = await asyncio.gather(*asked)
            assert sorted(problem(answer, 503) for answer in answers) == ["bus-away"] * 2 + ["busy"] * 3
            assert all(answer.headers["retry-after"] for answer in answers)
    await pool.dispose()


async def test_a_letter_that_is_redriven_while_it_comes_back_is_open_in_the_end(
    wire: Wire, table: Table, api: Api, bus: Bus
) -> None:
    """Its return waits until the redrive is committed, however quick it is."""
    messages = await wire.listen(KEY)
    id_ = await stored(wire, table)
    await asyncio.gather(api.redrive(id_), bounce(messages, bus))
    await table.arrivals(2)

    async def open_again() -> bool:
        return bool((await api.get(id_))["state"] == "open")

    await until(open_again)
    assert (await api.get(id_))["redrivenCount"] == 1


async def test_a_message_without_a_name_is_known_when_it_comes_back(
    wire: Wire, table: Table, api: Api, bus: Bus
) -> None:
    messages = await wire.listen(KEY)
    await wire.publish(b"x", KEY, headers={"x-dead-letter-message-id": "", "x-dead-letter-reason": "invalid"})
    (row,) = await table.arrivals(1)
    assert (await api.get(row["id"]))["messageId"] is None
    for count in (2, 3):
        await api.redrive(row["id"])
        await bounce(messages, bus)
        (again,) = await table.arrivals(count)
        assert (again["id"], again["count"]) == (row["id"], count)


async def bounce(messages: Any, bus: Bus) -> None:
    await bus.dead_letter(await take(messages), "invalid", "again")
