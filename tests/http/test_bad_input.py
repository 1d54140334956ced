"""No input whatever gives a 5xx, and no bad one writes anything."""

import base64
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from handlers.http.json_body import MAX_ACTION_BYTES, MAX_ORDER_BYTES
from handlers.http.pagination import cursor
from handlers.http.problems import MEDIA_TYPE
from saga.domain import Policy
from tests.databases import Databases
from tests.http.conftest import Service, order_body, problem, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
NOBODY = "8f14e45f-ceea-4672-9b5a-3c1d6b0a7e21"
"""The name of a test must be the same wherever it runs."""
ITEM: dict[str, Any] = order_body()["items"][0]
FOREVER = "9" * 5000
LARGEST = [
    ("/api/orders", MAX_ORDER_BYTES),
    ("/api/webhooks", MAX_ACTION_BYTES),
    ("/api/sagas/retry", MAX_ACTION_BYTES),
    ("/api/dead-letters/redrive", MAX_ACTION_BYTES),
    (f"/api/sagas/{NOBODY}/resolve", MAX_ACTION_BYTES),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    """One for all tests here: what each may write is counted, and it has to stand all of them."""
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield service


@pytest_asyncio.fixture(loop_scope="module")
async def refusing(service: Service) -> AsyncIterator[Service]:
    """The API, which must not have written anything when the test ends."""
    before = await service.rows()
    yield service
    assert await service.rows() == before


def _with_item(**changed: Any) -> dict[str, Any]:
    return order_body(items=[ITEM | changed])


def _without(field: str) -> dict[str, Any]:
    return order_body(items=[{name: value for name, value in ITEM.items() if name != field}])


INVALID: list[tuple[Any, str]] = [
    ([], "body"),
    ("text", "body"),
    (None, "body"),
    (17, "body"),
    (True, "body"),
    ({"userId": NOBODY}, "items"),
    (order_body(userId=None), "userId"),
    (order_body(userId=1), "userId"),
    (order_body(userId=10**40), "userId"),
    (order_body(userId=True), "userId"),
    (order_body(userId=""), "userId"),
    (order_body(userId="me"), "userId"),
    (order_body(userId=["x"]), "userId"),
    (order_body(userId="\x00"), "userId"),
    (order_body(userId=NOBODY + "0"), "userId"),
    (order_body(userId=f"{NOBODY}' OR 1=1 --"), "userId"),
    (order_body(items=None), "items"),
    (order_body(items=[]), "items"),
    (order_body(items={}), "items"),
    (order_body(items="Laptop"), "items"),
    (order_body(items=[ITEM] * 101), "items"),
    (order_body(items=[ITEM | {"price": "9999999999999999.99"}] * 2), "items"),
    (order_body(items=[ITEM | {"price": "9999999999999999.99", "quantity": 2}]), "items"),
    (order_body(items=[None]), "items.0"),
    (order_body(items=[[]]), "items.0"),
    (order_body(items=[ITEM, 1]), "items.1"),
    (_without("productId"), "items.0.productId"),
    (_without("productName"), "items.0.productName"),
    (_without("quantity"), "items.0.quantity"),
    (_without("price"), "items.0.price"),
    (_with_item(productId="x"), "items.0.productId"),
    (_with_item(productId=7), "items.0.productId"),
    (_with_item(productId=None), "items.0.productId"),
    (_with_item(productName=""), "items.0.productName"),
    (_with_item(productName="x" * 201), "items.0.productName"),
    (_with_item(productName="a\x00b"), "items.0.productName"),
    (_with_item(productName=5), "items.0.productName"),
    (_with_item(productName=None), "items.0.productName"),
    (_with_item(quantity=0), "items.0.quantity"),
    (_with_item(quantity=-1), "items.0.quantity"),
    (_with_item(quantity=1_000_001), "items.0.quantity"),
    (_with_item(quantity=10**300), "items.0.quantity"),
    (_with_item(quantity=1.5), "items.0.quantity"),
    (_with_item(quantity=1e300), "items.0.quantity"),
    (_with_item(quantity=1e-300), "items.0.quantity"),
    (_with_item(quantity=-0.0), "items.0.quantity"),
    (_with_item(quantity="1.0"), "items.0.quantity"),
    (_with_item(quantity="1"), "items.0.quantity"),
    (_with_item(quantity=True), "items.0.quantity"),
    (_with_item(quantity=None), "items.0.quantity"),
    (_with_item(price=-0.01), "items.0.price"),
    (_with_item(price="-1"), "items.0.price"),
    (_with_item(price=0.005), "items.0.price"),
    (_with_item(price="1.999"), "items.0.price"),
    (_with_item(price=10**16), "items.0.price"),
    (_with_item(price=1e300), "items.0.price"),
    (_with_item(price=1e-300), "items.0.price"),
    (_with_item(price="1e5"), "items.0.price"),
    (_with_item(price=FOREVER), "items.0.price"),
    (_with_item(price="NaN"), "items.0.price"),
    (_with_item(price="Infinity"), "items.0.price"),
    (_with_item(price="\uff11"), "items.0.price"),
    (_with_item(price=" 1"), "items.0.price"),
    (_with_item(price="1,00"), "items.0.price"),
    (_with_item(price=""), "items.0.price"),
    (_with_item(price=True), "items.0.price"),
    (_with_item(price=None), "items.0.price"),
    (_with_item(price=[]), "items.0.price"),
    (_with_item(price={"amount": 1}), "items.0.price"),
]
UNREADABLE: list[bytes] = [
    b"",
    b" ",
    b"{",
    b"order",
    b"{'userId': 1}",
    b'{"userId": 1,}',
    b"{} {}",
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"userId": "\xff"}',
    b'{"userId": "\xed\xa0\x80"}',
    b'{"userId": "\xc0\x80"}',
    b'{"userId": "\\ud83d"}',
    b'{"userId": "\\udc00 low first"}',
    b'{"unknown": "\\ud800"}',
    b'{"userId": "a\x00b"}',
    b"\x00",
    b'{"price": NaN}',
    b'{"price": -Infinity}',
    b'{"price": 1e99999999999999999999}',
    b'{"price": ' + FOREVER.encode() + b"}",
    b'{"userId": 1, "userId": 2}',
    b'{"\\ud800": 1, "\\ud800": 2}',
    b"[" * 100_000,
    b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    b'{"userId": 01}',
    b'"\\x"',
    b"<order/>",
]


def name_of(value: Any) -> str:
    """The end of a body, without the ids in it: a test must have the same name wherever it runs."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "id", json.dumps(value))[-60:]


@pytest.mark.parametrize(("body", "field"), INVALID, ids=name_of)
async def test_an_invalid_order_is_refused_with_the_field_named(refusing: Service, body: Any, field: str) -> None:
    response = await refusing.client.post("/api/orders", content=json.dumps(body), headers=JSON)
    errors = problem(response, 422)["errors"]
    assert {error["field"] for error in errors} == {field}
    assert {error["location"] for error in errors} == {"body"}


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:40]))
async def test_a_body_that_cannot_be_read_is_refused(refusing: Service, body: bytes) -> None:
    response = await refusing.client.post("/api/orders", content=body, headers=JSON)
    assert problem(response, 400)["type"] == "urn:order-service:unreadable"


@pytest.mark.parametrize("one", ["1", "1.0", "1E0", "10e-1", "1.000"])
async def test_an_integer_may_be_written_as_any_number(service: Service, one: str) -> None:
    body = json.dumps(order_body()).replace('"quantity": 1', f'"quantity": {one}')
    response = await service.client.post("/api/orders", content=body, headers=JSON)
    assert response.status_code == 201, response.text
    assert response.json()["items"][0]["quantity"] == 1


async def test_every_field_that_is_wrong_is_named(service: Service) -> None:
    body = {"userId": 1, "items": [ITEM | {"price": -1, "quantity": 0}, {}]}
    errors = problem(await service.client.post("/api/orders", json=body), 422)["errors"]
    wrong = {"userId", "items.0.price", "items.0.quantity"}
    missing = {f"items.1.{name}" for name in ("productId", "productName", "quantity", "price")}
    assert {error["field"] for error in errors} == wrong | missing


async def test_a_text_has_characters(service: Service) -> None:
    body = {"userId": str(NOBODY), "items": [ITEM | {"productName": "x" * 201}]}
    (error,) = problem(await service.client.post("/api/orders", json=body), 422)["errors"]
    assert error["detail"].startswith("Value should have at most 200 characters")


async def test_an_empty_object_lacks_both_fields(service: Service) -> None:
    errors = problem(await service.client.post("/api/orders", json={}), 422)["errors"]
    assert {error["field"] for error in errors} == {"userId", "items"}


async def test_a_problem_repeats_nothing_of_what_the_client_sent(service: Service) -> None:
    response = await service.client.post("/api/orders", json=_with_item(price="4111-1111"))
    assert "4111" not in response.text
    assert "price" in response.text


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "application",
        "json",
        "/",
        "application/json, text/plain",
        b"\xff\xfe",
        b"\x00",
        ";",
        "application/json\x00",
    ],
    ids=repr,
)
async def test_another_content_type_is_refused(refusing: Service, content_type: Any) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await refusing.client.post("/api/orders", content=json.dumps(order_body()), headers=headers)
    assert problem(response, 415)["type"] == "urn:order-service:unsupported-media-type"


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json;charset=UTF-8"])
async def test_json_is_taken_however_it_is_written(service: Service, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = await service.client.post("/api/orders", content=json.dumps(order_body()), headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize(("path", "most"), LARGEST)
async def test_a_body_that_is_too_large_is_refused_by_its_announced_length(
    refusing: Service, path: str, most: int
) -> None:
    response = await refusing.client.post(path, content=b" " * (most + 1), headers=JSON)
    assert problem(response, 413)["type"] == "urn:order-service:too-large"


@pytest.mark.parametrize(("path", "most"), LARGEST)
async def test_a_body_that_is_too_large_is_refused_without_an_announced_length_and_not_read_to_its_end(
    refusing: Service, path: str, most: int
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    response = await refusing.client.post(path, content=endless(), headers=JSON)
    problem(response, 413)
    assert sent <= most + 65_536


@pytest.mark.parametrize(("path", "most"), LARGEST)
async def test_a_body_that_is_just_not_too_large_is_read(refusing: Service, path: str, most: int) -> None:
    problem(await refusing.client.post(path, content=b"[]".ljust(most), headers=JSON), 422)


async def test_the_largest_order_that_there_can_be_is_taken(service: Service) -> None:
    largest = {"productName": "\N{GRINNING FACE}" * 200, "quantity": 1_000_000, "price": "99999999.99"}
    response = await service.client.post("/api/orders", json=order_body(items=[ITEM | largest] * 100))
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("path", [path for path, _ in LARGEST])
async def test_many_unknown_fields_are_one_error_or_none(refusing: Service, path: str) -> None:
    body = {f"x{number}": 0 for number in range(5_000)}
    errors = problem(await refusing.client.post(path, json=body), 422)["errors"]
    assert len(errors) <= 2


@pytest.mark.parametrize("length", ["-1", "abc", "1e9", "²", FOREVER])
async def test_an_announced_length_that_is_none_does_no_harm(service: Service, length: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode())]
    response = await service.client.post("/api/orders", content=json.dumps(order_body()), headers=headers)
    assert response.status_code in {201, 413}


def _cursor(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()


AFTER = [
    "",
    "x",
    "null",
    "%00",
    "%F0%9F%92%A9",
    "%ED%A0%80",
    "%FF",
    "A" * 31,
    "A" * 33,
    "=" * 32,
    "/" * 32,
    "+" * 32,
    _cursor(b"\x7f" + b"\xff" * 23),
    _cursor(b"\x80" + b"\x00" * 23),
    "A" * 60_000,
]


@pytest.mark.parametrize("after", AFTER, ids=lambda text: text[:40])
async def test_a_cursor_that_is_none_of_ours_is_refused(service: Service, after: str) -> None:
    response = await service.client.get(f"/api/orders/user/{uuid4()}?after={after}")
    [error] = problem(response, 422)["errors"]
    assert (error["location"], error["field"]) == ("query", "after")


@pytest.mark.parametrize("year", [1, 1969, 2026, 9999])
async def test_a_cursor_of_any_time_is_served(service: Service, year: int) -> None:
    after = cursor(datetime(year, 12, 31, tzinfo=UTC), uuid4())
    response = await service.client.get(f"/api/orders/user/{uuid4()}?after={after}")
    assert response.status_code == 200


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1.5", "x", "", "%00", "%FF", FOREVER, "1e1", "NaN"])
async def test_a_limit_outside_1_to_100_is_refused(service: Service, limit: str) -> None:
    response = await service.client.get(f"/api/orders/user/{uuid4()}?limit={limit}")
    [error] = problem(response, 422)["errors"]
    assert (error["location"], error["field"]) == ("query", "limit")


@pytest.mark.parametrize("path", ["/api/orders/{}", "/api/orders/{}/saga", "/api/orders/user/{}"])
@pytest.mark.parametrize(
    "text", ["1", "x", "%00", "%FF", "%ED%A0%80", "%F0%9F%92%A9", "%20", "..%2F..", "a" * 10_000, "null", "{}", "'"]
)
async def test_an_id_that_is_none_is_refused(service: Service, path: str, text: str) -> None:
    response = await service.client.get(path.replace("{}", text))
    assert response.status_code in {404, 422}
    assert response.headers["content-type"] == MEDIA_TYPE


@pytest.mark.parametrize("query", ["%00=%00", "&&&&", "=", "limit&after", "%FF=%FE", "a=" + "b" * 60_000, "&" * 5_000])
async def test_what_else_is_in_a_query_does_no_harm(service: Service, query: str) -> None:
    order = await service.place()
    response = await service.client.get(f"/api/orders/{order['id']}?{query}")
    assert response.status_code == 200


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x00", b'"', b"W/", b",,,", b'W/"a", "b', b"*, *", b"x" * 65_536])
@pytest.mark.parametrize(
    "name", ["if-none-match", "prefer", "accept", "cookie", "traceparent", "authorization", "range"]
)
async def test_odd_headers_do_no_harm(service: Service, name: str, value: bytes) -> None:
    order = await service.place()
    response = await service.client.get(f"/api/orders/{order['id']}", headers=[(name.encode(), value)])
    assert response.status_code == 200


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x00", b"http://[", b",,,", b"[::1", b"x" * 65_536])
async def test_an_odd_host_is_not_this_machine(service: Service, value: bytes) -> None:
    problem(await service.client.get(f"/api/orders/{uuid4()}", headers=[(b"host", value)]), 403)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/orders/"),
        ("POST", "/api/orders/"),
        ("GET", "/api/orders//saga"),
        ("GET", "/assets/../settings.py"),
        ("GET", "/assets/..%2f..%2fsettings.py"),
        ("GET", "/assets/unknown"),
        ("GET", "/%00"),
        ("GET", "/%FF"),
    ],
)
async def test_an_unknown_path_is_404(service: Service, method: str, path: str) -> None:
    problem(await service.client.request(method, path), 404)


@pytest.mark.parametrize("path", ["/api/orders/{}", "/api/orders/{}/saga"])
async def test_an_unknown_order_is_404(service: Service, path: str) -> None:
    missing = str(uuid4())
    body = problem(await service.client.get(path.replace("{}", missing)), 404)
    assert body["type"] == "urn:order-service:unknown-order"
    assert missing in body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/orders", "POST"),
        ("DELETE", "/api/orders", "POST"),
        ("PUT", f"/api/orders/{NOBODY}", "GET"),
        ("POST", f"/api/orders/{NOBODY}/saga", "GET"),
        ("POST", "/health/live", "GET"),
        ("BREW", "/metrics", "GET"),
    ],
)
async def test_a_method_that_a_path_does_not_know_is_405(service: Service, method: str, path: str, allow: str) -> None:
    response = await service.client.request(method, path)
    problem(response, 405)
    assert response.headers["allow"] == allow
    # behind a proxy that leaves its prefix in the path, too
    transport = httpx2.ASGITransport(app=service.app, root_path="/shop", raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost/shop") as client:
        assert (await client.request(method, path)).headers["allow"] == allow


async def test_a_client_that_goes_away_in_the_middle_of_its_body_writes_nothing(refusing: Service) -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(_: Any) -> None:
        pass

    url = httpx2.URL("http://orders/api/orders")
    scope = {
        "type": "http", "method": "POST", "path": url.path, "raw_path": url.raw_path, "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")], "root_path": "",
        "http_version": "1.1", "scheme": "http", "server": ("orders", 80), "client": ("127.0.0.1", 1),
        "asgi": {"version": "3.0"},
    }  # fmt: skip
    await refusing.app(scope, receive, send)
