"""Letters are published again unchanged, once; what the table knows is told before, and obeyed."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from saga.bus import Bus
from saga.cells import Signal
from saga.engine import Engine
from saga.outbox import DEAD_LETTER_EXCHANGE
from saga.values import Event, message_id
from tests.dead_letters.conftest import Api, Table, Wire, order_json, problem, serving, take
from tests.engine.conftest import order_request
from tests.relay.conftest import envelope
from tests.waiting import until

KEY = "domain.order.CreateOrder"
pytestmark = pytest.mark.usefixtures("subscriber")


async def stored(wire: Wire, table: Table, exchange: str = "domain") -> UUID:
    """A letter that is stored, and the only one."""
    headers = {"x-dead-letter-reason": "invalid", "x-dead-letter-exchange": exchange}
    await wire.publish(b"x", KEY, message_id="m1", headers=headers)
    (row,) = await table.arrivals(1)
    id_: UUID = row["id"]
    return id_


async def test_a_letter_is_published_again_as_it_was(wire: Wire, bus: Bus, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY)
    headers = {"traceparent": "00-x", "bytes": bytearray(b"\xff"), "NUL": "a\x00b", "nested": {"a": [1, None]}}
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
    assert again.headers == first.headers == headers
    assert again.delivery_mode == 2
    letter = await api.get(row["id"])
    assert (letter["state"], letter["redrivenCount"], letter["closedBy"]) == ("redriven", 1, "operator@127.0.0.1")


async def test_what_rabbitmq_wrote_into_the_headers_is_gone(wire: Wire, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY, **{"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE})
    await wire.publish(b"x", KEY, "domain", headers={"mine": 1})
    await (await take(messages)).reject(requeue=False)
    (row,) = await table.arrivals(1)
    assert "x-death" in row["headers"]
    assert (await api.redrive(row["id"])).status_code == 200
    assert (await take(messages)).headers == {"mine": 1}


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


@pytest.mark.parametrize("exchange", ["domain", "", "nowhere"])
async def test_what_no_queue_takes_stays_open_and_the_bus_goes_on(
    wire: Wire, bus: Bus, table: Table, api: Api, exchange: str
) -> None:
    id_ = await stored(wire, table, exchange=exchange)
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
        many = await api.call("POST", "/redrive", json={})
        assert [one["outcome"] for one in many.json()["items"]] == ["bus_away"]
        assert (await api.get(id_))["state"] == "open"


async def test_a_command_is_redriven_while_its_saga_waits_for_it_and_never_afterwards(
    wire: Wire, bus: Bus, table: Table, api: Api, engine: Engine
) -> None:
    accepted = await engine.create(order_request())
    messages = await wire.listen("domain.order.*")
    commands = {name: f"domain.order.{name}" for name in ("ValidateInventory", "ProcessPayment")}
    for key in commands.values():
        copy = envelope(key, exchange=DEAD_LETTER_EXCHANGE, body=order_json(accepted.order_id))
        assert await bus.publish([copy]) == {}
    await table.arrivals(2)
    letters = {letter["routingKey"]: letter for letter in await api.list()}

    open_, early = (letters[commands[name]] for name in ("ValidateInventory", "ProcessPayment"))
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

    await bus.publish([envelope(commands["ValidateInventory"], exchange=DEAD_LETTER_EXCHANGE,
                                message_id=message_id(accepted.saga_id, "ValidateInventory"),  # type: ignore[arg-type]
                                body=order_json(accepted.order_id))])  # fmt: skip
    await table.arrivals(3)
    await engine.advance(Event(Signal.INVENTORY_VALIDATED, accepted.order_id, event_id=uuid4()))
    late = next(one for one in await api.list(routingKey=commands["ValidateInventory"]) if one["state"] == "open")
    assert "does not wait" in late["safety"]["detail"]
    assert problem(await api.redrive(late["id"]), 409) == "redrive-refused"
    assert messages.empty()


async def test_a_command_for_an_order_that_is_not_there_is_not_published(
    wire: Wire, bus: Bus, table: Table, api: Api
) -> None:
    await bus.publish([envelope("domain.order.ProcessPayment", exchange=DEAD_LETTER_EXCHANGE)])
    (row,) = await table.arrivals(1)
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"


async def test_a_reply_shows_whether_its_saga_waits_for_it(wire: Wire, table: Table, api: Api, engine: Engine) -> None:
    accepted = await engine.create(order_request())
    for name in ("InventoryValidated", "InventoryReserved", "Nothing"):
        await wire.publish(order_json(accepted.order_id), f"domain.inventory.{name}")
    await table.arrivals(3)
    shown = {letter["routingKey"].rsplit(".")[-1]: letter["safety"] for letter in await api.list()}
    assert {name: one["awaited"] for name, one in shown.items()} == {
        "InventoryValidated": True,
        "InventoryReserved": False,
        "Nothing": None,
    }
    assert all(one["redrivable"] and one["sagaStatus"] == "Started" for one in shown.values())


async def test_many_are_redriven_by_filter_and_a_dry_run_only_tells(wire: Wire, table: Table, api: Api) -> None:
    messages = await wire.listen(KEY)
    for number in range(5):
        reason = "invalid" if number else "unreadable"
        await wire.publish(b"x", KEY, message_id=str(number), headers={"x-dead-letter-reason": reason})
    await table.arrivals(5)

    query: dict[str, Any] = {"reason": "invalid", "limit": 3}
    dry = (await api.call("POST", "/redrive", params=query, json={"dryRun": True})).json()
    assert [one["outcome"] for one in dry["items"]] == ["would_redrive"] * 3
    assert messages.empty()
    first = (await api.call("POST", "/redrive", params=query, json={})).json()
    assert [one["id"] for one in first["items"]] == [one["id"] for one in dry["items"]]
    assert [one["outcome"] for one in first["items"]] == ["redriven"] * 3
    rest = (await api.call("POST", "/redrive", params=query | {"after": first["next"]}, json={})).json()
    assert ([one["outcome"] for one in rest["items"]], rest["next"]) == (["redriven"], None)
    assert {(await take(messages)).message_id for _ in range(4)} == {"1", "2", "3", "4"}
    assert [letter["reason"] for letter in await api.list()] == ["unreadable"]


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
