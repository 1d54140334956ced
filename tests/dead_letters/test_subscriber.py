"""The subscriber on a real RabbitMQ and a real PostgreSQL: whatever comes is stored, and acked only then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from handlers.bus import subscribe as subscribing
from handlers.bus.publisher import Bus
from saga.outbox.message import DEAD_LETTER_EXCHANGE
from saga.runtime.database import Sessions, sessions
from tests.dead_letters.conftest import Table, Wire, order_json, subscribed, take
from tests.relay.conftest import envelope
from tests.waiting import until

KEY = "domain.order.CreateOrder"


class BytesInText(str):
    """A text that goes onto the wire as bytes that are no UTF-8: any other client can send that."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"deeper": [value]}
    return value


async def test_what_the_service_could_not_handle_is_stored_with_its_reason(
    wire: Wire, bus: Bus, table: Table, subscriber: None
) -> None:
    order_id = uuid4()
    messages = await wire.listen(KEY)
    await wire.publish(order_json(order_id), KEY, "domain", message_id="m1", type=KEY, headers={"traceparent": "00-x"})
    message = await take(messages)
    await bus.dead_letter(message, "invalid", "items: missing")
    await message.ack()

    (row,) = await table.arrivals(1)
    assert (row["reason"], row["error"], row["order_id"]) == ("invalid", "items: missing", order_id)
    assert (row["routing_key"], row["exchange"], row["body"]) == (KEY, "domain", order_json(order_id))
    assert row["headers"]["traceparent"] == "00-x"
    assert row["properties"] | {"message_id": "m1", "type": KEY} == row["properties"]
    assert row["count"] == 1
    assert row["first_at"] == row["last_at"]


async def test_what_rabbitmq_gave_up_is_stored_with_the_reason_that_rabbitmq_tells(
    wire: Wire, table: Table, subscriber: None
) -> None:
    messages = await wire.listen(KEY, **{"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE})
    await wire.publish(b"{}", KEY, "domain")
    await (await take(messages)).reject(requeue=False)
    (row,) = await table.arrivals(1)
    assert (row["reason"], row["routing_key"], row["exchange"]) == ("rejected", KEY, "domain")
    assert "RabbitMQ" in row["error"]


async def test_what_a_stranger_says_in_our_headers_is_not_believed_where_rabbitmq_gave_his_message_up(
    wire: Wire, table: Table, subscriber: None
) -> None:
    messages = await wire.listen(KEY, **{"x-dead-letter-exchange": DEAD_LETTER_EXCHANGE})
    forged = {
        "x-dead-letter-reason": "refused_by_database",
        "x-dead-letter-error": "forged",
        "x-dead-letter-exchange": "elsewhere",
        "x-dead-letter-queue": "order-service.InventoryValidated",
        "x-dead-letter-message-id": "forged",
    }
    await wire.publish(b"{}", KEY, "domain", message_id="m1", headers=forged)
    await (await take(messages)).reject(requeue=False)
    (row,) = await table.arrivals(1)
    assert (row["reason"], row["exchange"], row["queue"]) == ("rejected", "domain", None)
    assert row["properties"]["message_id"] == "m1"
    assert "forged" not in row["error"]


async def test_what_a_stranger_says_in_our_headers_is_gone_from_the_copy(
    wire: Wire, bus: Bus, table: Table, subscriber: None
) -> None:
    messages = await wire.listen(KEY)
    await wire.publish(b"{}", KEY, "domain", headers={"x-dead-letter-reason": "forged", "x-dead-letter-more": 1})
    await bus.dead_letter(await take(messages), "invalid", "why", queue="order-service.CreateOrder")
    (row,) = await table.arrivals(1)
    assert (row["reason"], row["queue"]) == ("invalid", "order-service.CreateOrder")
    assert "x-dead-letter-more" not in row["headers"]


async def test_a_command_that_was_parked_is_stored_as_unanswered(bus: Bus, table: Table, subscriber: None) -> None:
    copy = envelope("domain.order.ProcessPayment", exchange=DEAD_LETTER_EXCHANGE)
    assert await bus.publish([copy]) == {}
    (row,) = await table.arrivals(1)
    assert (row["reason"], row["exchange"], row["routing_key"]) == ("unanswered", "domain", copy.routing_key)
    assert row["properties"]["message_id"] == str(copy.message_id)


async def test_the_same_letter_again_is_counted_and_another_is_another(
    wire: Wire, table: Table, subscriber: None
) -> None:
    for body, message_id in ((b"a", "1"), (b"a", "1"), (b"b", "1"), (b"a", "2")):
        await wire.publish(body, KEY, message_id=message_id)
    rows = await table.arrivals(4)
    assert sorted(row["count"] for row in rows) == [1, 1, 2]
    assert all(row["first_at"] <= row["last_at"] for row in rows)


HEADERS: dict[str, Any] = {
    "bytes": bytearray(b"\x00\xff"),
    "no UTF-8": BytesInText(""),
    "NUL": "a\x00b",
    "\x00\x01": "a key",
    "$bytes": "not ours",
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "decimal": Decimal("1.25"),
    "float": 2.5,
    "nothing": None,
    "big": 2**62,
    "nested": nested(60),
    "table": {"a": [1, "two", None, True, {"b": []}]},
    "x-death": "no list",
    "x-dead-letter-reason": {"a": "table"},
    "x-dead-letter-error": [1],
    "x-dead-letter-exchange": 7,
}


async def test_whatever_headers_it_has_it_is_stored(wire: Wire, table: Table, subscriber: None) -> None:
    for name, value in HEADERS.items():
        await wire.publish(name.encode(), KEY, headers={name: value})
    rows = await table.arrivals(len(HEADERS))
    assert {row["body"].decode() for row in rows} == HEADERS.keys()
    assert await wire.waiting() == 0


MESSAGES: list[tuple[bytes, dict[str, Any]]] = [
    (b"", {}),
    (b"\x00\xff", {"message_id": "a\x00b", "type": "\x00", "app_id": "\u2028", "content_type": "\x00"}),
    (b"[" * 100_000, {}),
    (b'{"orderId": 7}', {"expiration": 60, "priority": 9, "timestamp": datetime(2100, 1, 1, tzinfo=UTC)}),
    (b'{"orderId": "x"}', {"reply_to": "nobody", "correlation_id": "\x7f"}),
    (b"x" * 1_048_576, {"headers": {"long": "y" * 119_000}}),
    (b"9" * 5_000, {"headers": {"x-death": [{"reason": "\x00", "queue": 7, "count": {}}]}}),
]


async def test_whatever_body_and_properties_it_has_it_is_stored(wire: Wire, table: Table, subscriber: None) -> None:
    for body, properties in MESSAGES:
        await wire.publish(body, "\x00 any key\u2028", **properties)
    rows = await table.arrivals(len(MESSAGES))
    assert {row["body"] for row in rows} == {body for body, _ in MESSAGES}


@pytest.mark.parametrize(
    "headers",
    [{"odd": BytesInText("")}, {"odd": Decimal("1.25")}, {"odd": "y" * 125_000}, {"CC": [BytesInText("")]}],
    ids=["bytes", "decimal", "large", "no routing key"],
)
async def test_a_message_with_headers_that_our_client_cannot_send_is_dead_lettered_all_the_same(
    wire: Wire, bus: Bus, table: Table, subscriber: None, headers: dict[str, Any]
) -> None:
    messages = await wire.listen(KEY)
    await wire.publish(b"x", KEY, "domain", headers=headers)
    await bus.dead_letter(await take(messages), "invalid", "why")
    (row,) = await table.arrivals(1)
    assert row["reason"] == "invalid"


class Faulty:
    """Sessions of which the first ones fail."""

    def __init__(self, good: Sessions, *errors: Exception) -> None:
        self._good = good
        self._errors = list(errors)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncSession]:
        if self._errors:
            raise self._errors.pop(0)
        async with self._good() as session:
            yield session


async def test_while_the_database_is_away_a_letter_is_held_and_tried_again_in_its_place(
    wire: Wire, bus: Bus, vhost: str, pool: AsyncEngine, table: Table
) -> None:
    pauses: list[float] = []
    held = asyncio.Event()
    back = asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        held.set()
        await back.wait()

    faulty: Any = Faulty(sessions(pool), *(ConnectionError() for _ in range(8)))
    async with subscribed(vhost, bus, faulty, pause):
        await wire.publish(b"x", KEY)
        await held.wait()
        assert (await table.rows(), await wire.waiting()) == ([], 0)
        back.set()
        (row,) = await table.arrivals(1)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert row["count"] == 1
    # what was not acked would be back in the queue now
    assert await wire.waiting() == 0


async def test_a_letter_that_is_not_committed_when_the_worker_stops_stays(
    wire: Wire, bus: Bus, vhost: str, table: Table
) -> None:
    held = asyncio.Event()

    async def pause(_: float) -> None:
        held.set()
        raise asyncio.CancelledError

    faulty: Any = Faulty(None, ConnectionError())  # type: ignore[arg-type]
    async with subscribed(vhost, bus, faulty, pause):
        await wire.publish(b"x", KEY)
        await held.wait()

    async def back() -> bool:
        return await wire.waiting() == 1

    await until(back)
    assert await table.rows() == []


async def test_a_mistake_of_ours_gives_the_letter_back_and_never_dead_letters_it(  # noqa: PLR0917 - its fixtures
    wire: Wire, bus: Bus, vhost: str, pool: AsyncEngine, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "_PAUSE", 0.0)
    faulty: Any = Faulty(sessions(pool), ZeroDivisionError(), ZeroDivisionError())
    async with subscribed(vhost, bus, faulty):
        await wire.publish(b"x", KEY, headers={"x-dead-letter-reason": "invalid"})
        (row,) = await table.arrivals(1)
    assert (row["count"], row["reason"], await wire.waiting()) == (1, "invalid", 0)


async def test_many_letters_are_stored_by_two_workers_once_each(
    wire: Wire, bus: Bus, vhost: str, pool: AsyncEngine, table: Table
) -> None:
    for number in range(200):
        await wire.publish(b"x", KEY, message_id=str(number))
    async with subscribed(vhost, bus, sessions(pool)), subscribed(vhost, bus, sessions(pool)):
        rows = await table.arrivals(200)
    assert [row["count"] for row in rows] == [1] * 200
    assert await wire.waiting() == 0
