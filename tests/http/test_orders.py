"""Placing orders, and looking at them."""

import asyncio
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from handlers.http.pagination import cursor, place
from handlers.queries import orders
from saga.transitions import Signal
from tests.http.conftest import Service, order_body, problem


async def test_an_order_is_accepted_and_can_be_read_where_the_answer_says(service: Service) -> None:
    body = order_body()
    created = await service.client.post("/api/orders", json=body)

    assert created.status_code == 201
    order = created.json()
    assert created.headers["location"] == f"/api/orders/{order['id']}"
    assert "idempotency-replayed" not in created.headers
    assert list(order) == ["id", "userId", "status", "items", "totalAmount", "createdAt", "updatedAt", "sagaId"]
    assert (order["userId"], order["status"], order["items"]) == (body["userId"], "Pending", body["items"])
    assert (order["totalAmount"], order["updatedAt"]) == ("1299.99", None)
    assert order["createdAt"].endswith("Z")
    read = await service.client.get(created.headers["location"])
    assert (read.status_code, read.json()) == (200, order)
    assert read.headers["etag"] == created.headers["etag"]


@pytest.mark.parametrize(
    ("price", "quantity", "shown", "total"),
    [
        ("0.1", 3, "0.10", "0.30"),
        ("1.50", 1, "1.50", "1.50"),
        ("9007199254740993.01", 1, "9007199254740993.01", "9007199254740993.01"),
        ("1e3", 1, "1000.00", "1000.00"),
        ("0", 1_000_000, "0.00", "0.00"),
        ("9999999999.99", 1_000_000, "9999999999.99", "9999999999990000.00"),
    ],
)
async def test_money_is_never_passed_through_a_binary_float(
    service: Service, price: str, quantity: int, shown: str, total: str
) -> None:
    item = f'{{"productId": "{uuid4()}", "productName": "x", "quantity": {quantity}, "price": {price}}}'
    response = await service.client.post(
        "/api/orders",
        content=f'{{"userId": "{uuid4()}", "items": [{item}]}}',
        headers={"content-type": "application/json; charset=utf-8"},
    )
    assert response.status_code == 201, response.text
    order = response.json()
    assert (order["items"][0]["price"], order["totalAmount"]) == (shown, total)
    assert Decimal(order["totalAmount"]) == Decimal(price) * quantity


async def test_what_is_not_in_the_contract_is_ignored(service: Service) -> None:
    order = await service.place(orderId="not even a UUID", discount={"deep": [[[]]]})
    assert "discount" not in order


async def test_the_same_key_and_body_give_the_same_order_again(service: Service) -> None:
    body, key = order_body(), {"Idempotency-Key": "once"}
    first = await service.client.post("/api/orders", json=body, headers=key)
    again = await service.client.post("/api/orders", json=body, headers=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_the_same_key_at_the_same_time_gives_one_order(service: Service) -> None:
    body, key = order_body(), {"Idempotency-Key": "at once"}
    answers = await asyncio.gather(*(service.client.post("/api/orders", json=body, headers=key) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 9


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(service: Service) -> None:
    body, key = order_body(), {"Idempotency-Key": "once"}
    await service.client.post("/api/orders", json=body, headers=key)
    before = await service.rows()
    other = await service.client.post("/api/orders", json=order_body(userId=body["userId"]), headers=key)
    refusal = problem(other, 422)
    assert refusal["type"] == "urn:order-service:different-content"
    assert refusal["detail"].startswith("This Idempotency-Key was already used")
    assert await service.rows() == before


async def test_a_key_counts_per_customer(service: Service) -> None:
    key = {"Idempotency-Key": "common"}
    one = await service.client.post("/api/orders", json=order_body(), headers=key)
    other = await service.client.post("/api/orders", json=order_body(), headers=key)
    assert one.json()["id"] != other.json()["id"]


async def test_without_a_key_every_request_is_an_order_of_its_own(service: Service) -> None:
    body = order_body()
    ids = [(await service.client.post("/api/orders", json=body)).json()["id"] for _ in range(2)]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("key", ["k", "k" * 255, "ключ", '"quoted, with: signs"', "key:other:one"])
async def test_a_key_may_be_any_text_of_1_to_255_characters(service: Service, key: str) -> None:
    body = order_body()
    headers = [(b"idempotency-key", key.encode())]
    ids = {(await service.client.post("/api/orders", json=body, headers=headers)).json()["id"] for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "a\x00b", "a\tb", "\x7f"])
async def test_a_key_that_cannot_be_one_is_refused(service: Service, key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    response = await service.client.post("/api/orders", json=order_body(), headers=headers)
    [error] = problem(response, 422)["errors"]
    assert (error["location"], error["field"]) == ("header", "Idempotency-Key")
    assert await service.rows() == 0


async def test_a_customers_orders_are_listed_newest_first_page_by_page(service: Service) -> None:
    user = str(uuid4())
    placed = [(await service.place(userId=user))["id"] for _ in range(5)]
    await service.place()
    listed, after, pages = [], None, 0
    while pages == 0 or after:
        params = {"limit": "2"} | ({"after": after} if after else {})
        page = (await service.client.get(f"/api/orders/user/{user}", params=params)).json()
        listed += [order["id"] for order in page["items"]]
        after, pages = page["next"], pages + 1
    assert listed == placed[::-1]
    assert pages == 3


async def test_a_last_page_that_is_full_has_no_next(service: Service) -> None:
    user = str(uuid4())
    placed = [await service.place(userId=user) for _ in range(2)]
    page = (await service.client.get(f"/api/orders/user/{user}", params={"limit": 2})).json()
    assert page == {"items": placed[::-1], "next": None}


async def test_a_customer_without_orders_has_an_empty_page(service: Service) -> None:
    response = await service.client.get(f"/api/orders/user/{uuid4()}")
    assert (response.status_code, response.json()) == (200, {"items": [], "next": None})


async def test_a_page_has_20_orders_unless_asked(service: Service) -> None:
    user = str(uuid4())
    for _ in range(21):
        await service.place(userId=user)
    page = (await service.client.get(f"/api/orders/user/{user}")).json()
    assert len(page["items"]) == 20
    rest = (await service.client.get(f"/api/orders/user/{user}", params={"after": page["next"]})).json()
    assert (len(rest["items"]), rest["next"]) == (1, None)


async def test_a_cursor_keeps_the_microseconds(service: Service) -> None:
    order = await service.place()
    async with service.sessions() as session:
        found = await orders.find_order(session, UUID(order["id"]))
    assert found
    assert place(cursor(found.created_at, found.id)) == (found.created_at, found.id)


async def test_the_order_follows_its_saga_to_the_end(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED)
    assert (await service.client.get(f"/api/orders/{order['id']}")).json() == order
    await service.happen(order["id"], Signal.PAYMENT_PROCESSED)
    ended = (await service.client.get(f"/api/orders/{order['id']}")).json()
    assert ended["updatedAt"] > order["createdAt"]
    assert ended == order | {"status": "Confirmed", "updatedAt": ended["updatedAt"]}
