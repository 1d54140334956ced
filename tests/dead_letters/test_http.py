"""The list, one letter, and giving it up: over HTTP, for operators."""

import base64
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.bus.publisher import Bus
from tests.dead_letters.conftest import Api, Table, Wire, order_json, problem, serving

KEY = "domain.order.CreateOrder"
pytestmark = pytest.mark.usefixtures("subscriber")


async def test_letters_are_listed_newest_first_by_pages_and_filters(wire: Wire, table: Table, api: Api) -> None:
    order_id = uuid4()
    await wire.publish(order_json(order_id), KEY, headers={"x-dead-letter-reason": "invalid"})
    await table.arrivals(1)
    for number in range(4):
        await wire.publish(b"x", f"key.{number}", headers={"x-dead-letter-reason": "unreadable"})
        await table.arrivals(2 + number)

    first = (await api.call("GET", "", params={"limit": 3})).json()
    assert [one["routingKey"] for one in first["items"]] == ["key.3", "key.2", "key.1"]
    rest = (await api.call("GET", "", params={"limit": 3, "after": first["next"]})).json()
    assert [one["routingKey"] for one in rest["items"]] == ["key.0", KEY]
    assert rest["next"] is None
    for query in ({"reason": "invalid"}, {"routingKey": KEY}, {"orderId": str(order_id)}):
        assert [one["orderId"] for one in await api.list(**query)] == [str(order_id)]
    assert await api.list(state="redriven") == await api.list(state="discarded") == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        ('{"name": "Größe"}\r\n\t'.encode(), '{"name": "Größe"}\r\n\t'),
        (b"\xff{", None),
        (b"a\x00b", None),
        (b"\x1b[2J", None),
        ("\u009b".encode(), None),
    ],
)
async def test_a_body_is_shown_safely_whatever_bytes_it_has(
    wire: Wire, table: Table, api: Api, body: bytes, text: str | None
) -> None:
    await wire.publish(body, KEY, headers={"bytes": bytearray(b"\xff"), "NUL": "\x00"})
    (row,) = await table.arrivals(1)
    letter = await api.get(row["id"])
    assert letter["body"] == text
    assert letter["bodyBase64"] == (base64.b64encode(body).decode() if text is None else None)
    assert letter["bodySize"] == len(body)
    assert letter["headers"] == {"bytes": {"$bytes": "/w=="}, "NUL": {"$text": "\\u0000"}}
    (listed,) = await api.list()
    assert letter | listed == letter


async def test_a_letter_is_given_up_with_a_reason_and_stays_so_until_it_comes_again(
    wire: Wire, table: Table, api: Api
) -> None:
    await wire.publish(b"x", KEY, message_id="m1")
    (row,) = await table.arrivals(1)
    path = f"/{row['id']}"
    letter = (await api.call("DELETE", path, params={"reason": "a test"}, headers={"X-Operator": "ann"})).json()
    assert (letter["state"], letter["discardReason"]) == ("discarded", "a test")
    assert letter["closedBy"] == "operator@127.0.0.1 (ann)"
    again = (await api.call("DELETE", path, params={"reason": "another"})).json()
    assert again == letter
    assert problem(await api.redrive(row["id"]), 409) == "redrive-refused"
    assert await api.list() == []
    assert [one["id"] for one in await api.list(state="discarded")] == [str(row["id"])]

    await wire.publish(b"x", KEY, message_id="m1")
    await table.arrivals(2)
    (letter,) = await api.list()
    assert (letter["state"], letter["discardReason"], letter["count"]) == ("open", None, 2)


async def test_a_letter_is_given_up_without_a_reason_too(wire: Wire, table: Table, api: Api) -> None:
    await wire.publish(b"x", KEY)
    (row,) = await table.arrivals(1)
    letter = (await api.call("DELETE", f"/{row['id']}")).json()
    assert (letter["state"], letter["discardReason"]) == ("discarded", "no reason was given")


async def test_what_was_redriven_is_not_given_up(wire: Wire, table: Table, api: Api) -> None:
    await wire.listen(KEY)
    await wire.publish(b"x", KEY)
    (row,) = await table.arrivals(1)
    await api.redrive(row["id"])
    assert problem(await api.call("DELETE", f"/{row['id']}", params={"reason": "a test"}), 409) == "redriven"


REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", f"/{uuid4()}", {}, 404),
    ("POST", f"/{uuid4()}/redrive", {}, 404),
    ("DELETE", f"/{uuid4()}", {"params": {"reason": "x"}}, 404),
    ("GET", "/x", {}, 422),
    ("GET", "", {"params": {"state": "lost"}}, 422),
    ("GET", "", {"params": {"reason": "a\x00b"}}, 422),
    ("GET", "", {"params": {"routingKey": "x" * 256}}, 422),
    ("GET", "", {"params": {"orderId": "x"}}, 422),
    ("GET", "", {"params": {"limit": 101}}, 422),
    ("GET", "", {"params": {"after": "f" * 32}}, 422),
    ("DELETE", f"/{uuid4()}", {"params": {"reason": "\x00"}}, 422),
    ("POST", "/redrive", {"json": {"dryRun": "yes"}}, 422),
    ("POST", "/redrive", {"json": []}, 422),
    ("POST", "/redrive", {"json": {"dryrun": True}}, 422),
    ("POST", "/redrive", {"json": {"state": "discarded"}}, 422),
    ("POST", "/redrive", {"json": {"routingKey": ""}}, 422),
    ("POST", "/redrive", {"json": {"after": "f" * 32}}, 422),
    ("POST", "/redrive", {"json": {"limit": 101}}, 422),
    ("POST", "/redrive", {"json": {}, "params": {"reason": "invalid"}}, 422),
    ("POST", "/redrive", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "/redrive", {"content": b"{}"}, 415),
]


async def test_whatever_is_asked_is_answered_with_a_problem_and_never_a_5xx(api: Api) -> None:
    for method, path, more, status in REQUESTS:
        problem(await api.call(method, path, **more), status)


async def test_only_operators_may_look_or_act(pool: AsyncEngine, bus: Bus) -> None:
    async with serving(pool, bus, host="192.0.2.1") as api:
        for method, path in (
            ("GET", ""),
            ("GET", f"/{uuid4()}"),
            ("POST", f"/{uuid4()}/redrive"),
            ("DELETE", f"/{uuid4()}?reason=x"),
        ):
            problem(await api.call(method, path), 401)
        problem(await api.call("POST", "/redrive", json={}), 401)
