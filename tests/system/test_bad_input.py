"""Whatever arrives on the bus, nothing is lost, nothing crashes, and what cannot be handled is a dead letter, once."""

import json
from typing import Any
from uuid import uuid4

from tests.system.conftest import System, order_body


def request(**changed: Any) -> dict[str, Any]:
    return order_body() | {"eventId": str(uuid4())} | changed


def item(**changed: Any) -> list[dict[str, Any]]:
    return [order_body()["items"][0] | changed]


def raw(text: str, **changed: Any) -> bytes:
    """A request whose price is this very text."""
    return json.dumps(request(**{"items": item(price="PRICE")} | changed)).replace('"PRICE"', text).encode()


POISON: dict[str, tuple[str, Any]] = {
    "nothing": ("unreadable", b""),
    "not JSON": ("unreadable", b"{"),
    "not UTF-8": ("unreadable", b'{"a": "\xff"}'),
    "UTF-16": ("unreadable", json.dumps(request()).encode("utf-16")),
    "a byte order mark": ("unreadable", json.dumps(request()).encode("utf-8-sig")),
    "a key twice": ("unreadable", b'{"eventId": 1, "eventId": 2}'),
    "NaN": ("unreadable", raw("NaN")),
    "infinity": ("unreadable", raw("Infinity")),
    "nested too deeply": ("unreadable", b"[" * 100_000),
    "a number of 5,000 digits": ("unreadable", raw("9" * 5000)),
    "over 1 MiB": ("too_large", request(note="x" * 1_048_576)),
    "an array": ("invalid", [1, 2, 3]),
    "null": ("invalid", b"null"),
    "no event id": ("invalid", order_body()),
    "an event id that is none": ("invalid", request(eventId="x")),
    "a number for a user": ("invalid", request(userId=7)),
    "no items": ("invalid", request(items=[])),
    "101 items": ("invalid", request(items=item() * 101)),
    "true for a quantity": ("invalid", request(items=item(quantity=True))),
    "half a piece": ("invalid", request(items=item(quantity=0.5))),
    "no pieces": ("invalid", request(items=item(quantity=0))),
    "too many pieces": ("invalid", request(items=item(quantity=1_000_001))),
    "a price with three decimals": ("invalid", raw("0.001")),
    "a negative price": ("invalid", raw("-1")),
    "a price of 17 digits": ("invalid", raw("12345678901234567")),
    "an astronomic price": ("invalid", raw("1e400")),
    "a price in words": ("invalid", request(items=item(price="much"))),
    "a total of 17 digits": ("invalid", raw("9999999999999999.99", items=item(price="PRICE", quantity=10))),
    "U+0000 in a name": ("invalid", request(items=item(productName="a\x00b"))),
    "a lone surrogate in a name": ("unreadable", request(items=item(productName="\ud800"))),
    "a name of 201 characters": ("invalid", request(items=item(productName="x" * 201))),
}


async def test_poison_is_dead_lettered_once_with_its_reason(system: System) -> None:
    for name, (_, body) in POISON.items():
        await system.ear.publish("domain.order.CreateOrder", body, message_id=name)
    # taken after all of them, and well
    good = request(orderId=str(uuid4()))
    await system.ear.publish("domain.order.CreateOrder", good)
    await system.ended(good["orderId"])

    letters = await system.dead_letters(len(POISON))
    reasons = {letter.message_id: letter.reason for letter in letters}
    assert reasons == {name: reason for name, (reason, _) in POISON.items()}
    assert len(letters) == len(POISON)
    bodies = {letter.message_id: letter.body for letter in letters}
    for name, (_, body) in POISON.items():
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert bodies[name] == sent[: 64 * 1024 if name == "over 1 MiB" else None]
    for letter in letters:
        assert (letter.shown["routingKey"], letter.shown["exchange"]) == ("domain.order.CreateOrder", "domain")
        assert letter.shown["error"]
        assert letter.count == 1
    assert [row["count"] for row in await system.rows("SELECT count(*) FROM orders")] == [1]


async def test_replies_that_cannot_be_handled_are_dead_lettered(system: System) -> None:
    order_id = await system.order(order_body())
    await system.ended(order_id)
    reply = {"eventId": str(uuid4()), "orderId": order_id}
    poison = {
        "unknown order": ("unknown_order", reply | {"orderId": str(uuid4())}),
        "no order": ("invalid", {"eventId": str(uuid4())}),
        "a message that is none": ("invalid", reply | {"message": 7}),
        "U+0000": ("invalid", reply | {"message": "a\x00b"}),
        "retryable in words": ("invalid", reply | {"retryable": "yes"}),
    }
    for name, (_, body) in poison.items():
        await system.ear.publish("domain.inventory.InventoryReleaseFailed", body, message_id=name)
    letters = await system.dead_letters(len(poison))
    assert {letter.message_id: letter.reason for letter in letters} == {
        name: reason for name, (reason, _) in poison.items()
    }


async def test_different_content_under_the_same_identity_is_dead_lettered(system: System) -> None:
    first = request(orderId=str(uuid4()))
    await system.ear.publish("domain.order.CreateOrder", first)
    await system.ended(first["orderId"])
    await system.ear.publish("domain.order.CreateOrder", first | {"items": item(quantity=2)}, message_id="event")
    await system.ear.publish("domain.order.CreateOrder", request(orderId=first["orderId"]), message_id="order")
    letters = await system.dead_letters(2)
    assert {letter.message_id: letter.reason for letter in letters} == {
        "event": "different_content",
        "order": "different_content",
    }
    order = (await system.client.get(f"/api/orders/{first['orderId']}")).json()
    assert order["items"][0]["quantity"] == 1


async def test_fields_that_nobody_knows_are_ignored(system: System) -> None:
    body = request(orderId=str(uuid4()), colour="blue")
    await system.ear.publish("domain.order.CreateOrder", body)
    assert (await system.ended(body["orderId"]))["status"] == "Completed"


async def test_amounts_stay_exact(system: System) -> None:
    """Never through a binary float: 0.1 + 0.2 is 0.30, and 16 digits stay 16 digits."""
    for price, total in (("0.30", "0.90"), ("1e2", "300.00"), ("3333333333333333.33", "9999999999999999.99")):
        order_id = str(uuid4())
        lines = item(price="PRICE", quantity=3)
        await system.ear.publish("domain.order.CreateOrder", raw(price, items=lines, orderId=order_id))
        await system.ended(order_id)
        assert (await system.client.get(f"/api/orders/{order_id}")).json()["totalAmount"] == total
