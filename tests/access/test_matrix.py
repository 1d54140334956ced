"""Every operation, asked by everybody. What has to come of it is computed here, from the contract's own words (section
5), and not from the service's table of rules."""

from typing import Any
from uuid import uuid4

import pytest

from handlers.access.middleware import operations
from handlers.access.policy import RULES
from tests.access.conftest import OTHER, OWNER, VISITORS, House, header
from tests.access.operations import all_operations
from tests.http.conftest import order_body, problem
from tests.live.conversing import conversing

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPEN = {"/health/live", "/health/ready", "/docs", "/openapi.json", "/asyncapi", "/asyncapi.json", "/login"}
ASSETS = "/assets/"
NEEDS = (
    # the first that fits
    ("POST", "/api/orders", "orders:write"),
    ("", "/api/orders", "orders:read"),
    ("", "/api/sagas", "operate"),
    ("", "/api/dead-letters", "operate"),
    ("", "/api/webhooks", "webhooks"),
    ("", "/metrics", "metrics"),
    # the dashboard
    ("", "/", "operate"),
)
KNOWN = {
    "service": {"orders:write", "orders:read:any"},
    "service that may read its own, and has none": {"orders:read"},
    "writer": {"orders:write"},
    "operator": {"operate"},
    "scraper": {"metrics"},
    "subscriber": {"webhooks"},
    "owner": {"orders:read", "orders:write"},
    "other user": {"orders:read", "orders:write"},
    "person who may read any": {"orders:read:any"},
    # who is no customer has no orders
    "person without a customer's id": {"operate"},
    "person without a scope": set(),
}
"""Who is somebody, and what they may do; everybody else is nobody."""
PERSONS = {"owner": OWNER, "other user": OTHER, "person without a scope": OWNER, "person who may read any": OTHER}
OWN_PAGE = {"Origin": "http://localhost"}


def expected(visitor: str, method: str, path: str) -> set[int] | None:
    """The statuses that are right; None: whatever somebody gets who is let in."""
    if _is_open(path):
        # the form is sent with nothing in it
        return {401} if (method, path) == ("POST", "/login") else None
    needed = _needed(method, path)
    if visitor not in KNOWN:
        page = needed == "operate" and not path.startswith("/api/") and not path.endswith("/events")
        return {303} if page and visitor == "nobody" else {401}
    scopes, whole = KNOWN[visitor], {"orders:read": "orders:read:any"}.get(needed)
    if whole in scopes:
        return None
    if needed not in scopes or (needed == "orders:read" and visitor not in PERSONS):
        return {403}
    if visitor == "other user":
        # who orders for somebody else says so; whose an order is, nobody is told
        return {"/api/orders": {403}}.get(path, {404} if path.startswith("/api/orders/") else None)
    return None


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(ASSETS)


def _needed(method: str, path: str) -> str:
    return next(scope for verb, prefix, scope in NEEDS if verb in ("", method) and path.startswith(prefix))


def _full(house: House, path: str) -> str:
    """A path with ids in it. Parameters have lost their names; where they stand tells what they are."""
    first = OWNER if path.startswith("/api/orders/user/") else house.order_id
    if path.startswith(("/api/dead-letters", "/dead-letters", "/assets/", "/api/webhooks")):
        first = uuid4()
    return path.replace("{}", str(first), 1).replace("{}", str(uuid4()))


async def _status(house: House, visitor: str, method: str, path: str) -> tuple[int, dict[str, str]]:
    if method == "WS":
        shown = {name.lower(): value for name, value in header(VISITORS[visitor]).items()}
        async with conversing(house.service.app, house.order_id, **shown) as socket:
            heard = await socket.heard()
            if heard["type"] == "websocket.accept":
                return 101, {}
            return heard["status"], {name.decode(): value.decode() for name, value in heard["headers"]}
    more: dict[str, Any] = {}
    if method == "POST" and path.startswith("/api/"):
        more["json"] = order_body(userId=str(OWNER)) if path == "/api/orders" else {}
    elif method == "POST":
        # the form of a page
        more = {"data": {"x": "y"}, "headers": OWN_PAGE}
    answer = await house.ask(visitor, method, _full(house, path), **more)
    return answer.status_code, dict(answer.headers)


@pytest.mark.parametrize("visitor", VISITORS)
async def test_everybody_may_do_what_the_contract_says_and_no_more(house: House, visitor: str) -> None:
    operations_asked = all_operations()
    assert len(operations_asked) > 60
    assert [wrong for one in operations_asked for wrong in await _wrong(house, visitor, one)] == []


async def _wrong(house: House, visitor: str, operation: str) -> list[str]:
    """What is not right about an answer."""
    method, path = operation.split()
    status, headers = await _status(house, visitor, method, path)
    right = expected(visitor, method, path)
    let_in = status not in {401, 403, 500} and "login?" not in headers.get("location", "")
    rules = {
        "let in": let_in if right is None else {status} == right,
        "served": right is not None or not path.startswith("/api/orders") or status < 300,
        "told how": status != 401 or headers["www-authenticate"].startswith("Bearer"),
        "sent to the login": right is None or status != 303 or "login?to=/" in headers["location"],
    }
    return [f"{operation}: {status}, {right} is right: not {rule}" for rule, holds in rules.items() if not holds]


async def test_what_is_described_is_asked_too(house: House) -> None:
    document = (await house.ask("nobody", "GET", "/openapi.json")).json()
    described = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    assert len(described) > 15
    assert {
        one.replace(one[one.index("{") : one.rindex("}") + 1], "{}") if "{" in one else one for one in described
    } <= {*all_operations()}


async def test_every_operation_has_a_rule(house: House) -> None:
    assert [one for one in operations(house.service.api) if one not in RULES] == []


async def test_the_routes_that_tests_serve_are_those_that_are_asked(house: House) -> None:
    assert set(operations(house.service.api)) == set(all_operations())


@pytest.mark.parametrize("visitor", VISITORS)
async def test_an_operation_without_a_rule_is_refused_to_everybody(
    house: House, monkeypatch: pytest.MonkeyPatch, visitor: str
) -> None:
    monkeypatch.delitem(RULES, "GET /health/live")
    assert (await house.ask(visitor, "GET", "/health/live")).status_code == 403


async def test_the_contract_tells_what_each_operation_needs(house: House) -> None:
    document = (await house.ask("nobody", "GET", "/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if _is_open(path):
                assert described["security"] == []
                continue
            needed = _needed(method.upper(), path)
            assert described["security"] == [{"key": [needed]}, {"token": [needed]}], path
            assert {"401", "403"} <= described["responses"].keys()
    assert {scheme["scheme"] for scheme in document["components"]["securitySchemes"].values()} == {"bearer"}


async def test_another_persons_order_and_none_are_the_same(house: House) -> None:
    theirs, none = house.order_id, str(uuid4())
    for method, path in (
        ("GET", "/api/orders/{}"),
        ("GET", "/api/orders/{}/saga"),
        ("GET", "/api/orders/{}/events"),
        ("POST", "/api/orders/{}/cancel"),
    ):
        known, unknown = [await house.ask("other user", method, path.format(id_)) for id_ in (theirs, none)]
        assert known.status_code == unknown.status_code == 404
        assert known.text.replace(theirs, none) == unknown.text
        assert "etag" not in known.headers


async def test_an_etag_of_another_persons_order_tells_nothing(house: House) -> None:
    etag = (await house.ask("owner", "GET", f"/api/orders/{house.order_id}")).headers["etag"]
    for matching in (etag, "*"):
        headers = {"If-None-Match": matching, "Prefer": "wait=5"}
        for path in ("", "/saga"):
            answer = await house.ask("other user", "GET", f"/api/orders/{house.order_id}{path}", headers=headers)
            assert answer.status_code == 404


async def test_an_idempotency_key_of_another_person_is_another_key(house: House) -> None:
    mine = order_body(userId=str(OWNER))
    key = {"Idempotency-Key": "one of mine"}
    placed = await house.ask("owner", "POST", "/api/orders", json=mine, headers=key)
    assert placed.status_code == 201
    stolen = await house.ask("other user", "POST", "/api/orders", json=mine, headers=key)
    assert stolen.status_code == 403
    own = await house.ask("other user", "POST", "/api/orders", json=mine | {"userId": str(OTHER)}, headers=key)
    assert own.status_code == 201
    assert own.json()["id"] != placed.json()["id"]
    assert "idempotency-replayed" not in own.headers


async def test_another_person_cannot_cancel(house: House) -> None:
    order_id = await house.place()
    assert (await house.ask("other user", "POST", f"/api/orders/{order_id}/cancel")).status_code == 404
    assert (await house.ask("owner", "GET", f"/api/orders/{order_id}")).json()["status"] == "Pending"
    assert (await house.ask("owner", "POST", f"/api/orders/{order_id}/cancel")).status_code == 202


async def test_whose_id_is_no_customers_is_told_so(house: House) -> None:
    answer = await house.ask("person without a customer's id", "GET", f"/api/orders/{house.order_id}")
    assert "`orders:read` is for customers, and the `sub` of your token" in problem(answer, 403)["detail"]


async def test_an_operators_credential_is_in_the_history_and_beside_it_the_name(house: House) -> None:
    order_id, path = await house.place(), "/api/sagas/{}/retry"
    person = "person without a customer's id"
    await house.ask("operator", "POST", path.format(order_id))
    await house.ask("operator", "POST", path.format(order_id), headers={"X-Operator": "ann"})
    await house.ask(person, "POST", path.format(order_id))
    assert await _actors(house, order_id) == ["key:ops", "key:ops (ann)", "user:auth0|ann"]
    history = (await house.ask("owner", "GET", f"/api/orders/{order_id}/saga")).json()["history"]
    assert [entry for entry in history if "actor" in entry] == []


async def _actors(house: House, order_id: str) -> list[str]:
    """Who did what to a saga, as operators are told."""
    sagas = (await house.ask("operator", "GET", "/api/sagas", params={"limit": 100})).json()["items"]
    (history,) = [saga["history"] for saga in sagas if saga["orderId"] == order_id]
    return [entry["actor"] for entry in history if entry.get("actor")]


async def test_who_cancels_for_a_customer_is_in_the_history_and_the_customer_is_not(house: House) -> None:
    for visitor, actors in (("service", ["key:shop"]), ("owner", [])):
        order_id = await house.place()
        assert (await house.ask(visitor, "POST", f"/api/orders/{order_id}/cancel")).status_code == 202
        assert await _actors(house, order_id) == actors


async def test_who_may_cancel_and_not_read_is_told_of_the_state_alone(house: House) -> None:
    order_id = await house.place()
    told = (await house.ask("writer", "POST", f"/api/orders/{order_id}/cancel")).json()
    assert told.keys() == {"id", "orderId", "status", "currentStep", "cancelRequested"}
    assert (told["orderId"], told["status"], told["cancelRequested"]) == (order_id, "Failed", True)


async def test_whoever_is_refused_is_refused_before_the_body_is_read(house: House) -> None:
    heard: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body is read")

    async def send(message: Any) -> None:
        heard.append(message)

    for presented, status in ((None, 401), (VISITORS["scraper"], 403)):
        shown = [(name.lower().encode(), value.encode()) for name, value in header(presented).items()]
        scope = {
            "type": "http", "method": "POST", "path": "/api/orders", "raw_path": b"/api/orders", "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-length", b"99999999"), *shown], "root_path": "",
            "http_version": "1.1", "scheme": "http", "server": ("orders", 80), "client": ("127.0.0.1", 1),
            "asgi": {"version": "3.0"},
        }  # fmt: skip
        await house.service.app(scope, receive, send)
        assert heard[-2]["status"] == status


async def test_loopback_has_no_privilege_where_access_is_configured(house: House) -> None:
    for path in ("/api/sagas", "/metrics", f"/api/orders/{uuid4()}"):
        assert (await house.ask("nobody", "GET", path)).status_code == 401


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic b3BzOng=", "bearer", "Token x", "Bearer a b", "Bearer \t"]
)
async def test_what_is_no_bearer_is_nobody(house: House, authorization: str) -> None:
    answer = await house.ask("nobody", "GET", "/api/sagas", headers={"Authorization": authorization})
    assert answer.status_code == 401


async def test_of_two_credentials_none_counts(house: House) -> None:
    both = [("Authorization", f"Bearer {VISITORS[who]}") for who in ("operator", "scraper")]
    assert (await house.service.client.get("/api/sagas", headers=both)).status_code == 401


async def test_the_scheme_has_no_case(house: House) -> None:
    headers = {"Authorization": f"bEARER {VISITORS['operator']}"}
    assert (await house.service.client.get("/api/sagas", headers=headers)).status_code == 200
