"""The endpoints and their deliveries over HTTP: as the contract has it, to whom they belong, and never a 5xx."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text
from starlette.requests import HTTPConnection

from handlers.access.authenticator import Access
from handlers.access.principal import EVERY_SCOPE, LOCAL, Caller, Scope
from handlers.webhooks.caller import Asking, asking
from handlers.webhooks.service import MOST_ENDPOINTS, MOST_ENDPOINTS_OF_PERSON
from saga.domain import Policy
from tests.databases import Databases
from tests.http.conftest import HAPPY, HOOKS, RECEIVER, Service, problem, running, without_database

ME = UUID(int=1)
EVENTS = ["order.completed", "order.failed"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Door(Access):
    """Takes everybody for who the test says it is."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.asks: Caller

    async def caller(self, connection: HTTPConnection, *, asked_anew: bool = True) -> Caller:
        return self.asks


class Shop:
    """Asks as somebody."""

    def __init__(self, service: Service, door: Door) -> None:
        self.service = service
        self._door = door

    def now_is(self, owner: str, *more: Scope, user_id: UUID | None = None) -> None:
        self._door.asks = Caller(owner, frozenset({Scope.WEBHOOKS, Scope.ORDERS_WRITE, *more}), user_id)

    async def ask(self, method: str, path: str = "", status: int = 200, **more: Any) -> Any:
        answer = await self.call(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def call(self, method: str, path: str = "", **more: Any) -> httpx2.Response:
        return await self.service.client.request(method, f"/api/webhooks{path}", **more)

    async def subscribe(self, **changed: Any) -> dict[str, Any]:
        made: dict[str, Any] = await self.ask("POST", status=201, json={"url": HOOKS, "events": EVENTS} | changed)
        return made

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.service.sessions() as session, session.begin():
            await session.execute(text(statement), values)


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str, door: Door) -> AsyncIterator[Service]:
    """One for all tests here: each asks as an owner of its own."""
    with databases.lent(template) as url:
        async with running(url, Policy(), access=door) as service:
            yield service


@pytest_asyncio.fixture(loop_scope="module")
async def shop(service: Service, door: Door) -> Shop:
    shop = Shop(service, door)
    shop.now_is(f"key:{uuid4().hex}")
    return shop


async def test_a_secret_is_told_once(shop: Shop) -> None:
    answer = await shop.call("POST", json={"url": HOOKS, "events": EVENTS, "description": "Größe & <b>"})
    assert answer.status_code == 201
    made = answer.json()
    assert answer.headers["location"] == f"/api/webhooks/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert made["secret"].startswith("whsec_")
    assert (made["url"], made["events"], made["userId"], made["status"]) == (HOOKS, EVENTS, None, "enabled")
    assert (made["description"], made["disabledReason"], made["pending"]) == ("Größe & <b>", None, 0)
    shown = await shop.ask("GET", f"/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert await shop.ask("GET") == {"items": [shown], "next": None}
    rotated = await shop.call("POST", f"/{made['id']}/rotate-secret")
    assert (rotated.status_code, rotated.headers["cache-control"]) == (200, "no-store")
    assert rotated.json()["secret"] not in (made["secret"], "")
    for path in ("", f"/{made['id']}", f"/{made['id']}/deliveries"):
        assert "whsec_" not in (await shop.call("GET", path)).text


async def test_endpoints_are_listed_newest_first_by_pages(shop: Shop) -> None:
    made = [(await shop.subscribe())["id"] for _ in range(5)]
    first = await shop.ask("GET", params={"limit": 3})
    rest = await shop.ask("GET", params={"limit": 3, "after": first["next"]})
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None


async def test_an_endpoint_is_switched_off_and_on_and_taken_away(shop: Shop) -> None:
    path = f"/{(await shop.subscribe())['id']}"
    off = await shop.ask("PATCH", path, json={"status": "disabled"})
    assert (off["status"], off["disabledReason"].startswith("disabled by key:")) == ("disabled", True)
    assert await shop.ask("PATCH", path, json={"status": "disabled"}) == off
    assert problem(await shop.call("POST", f"{path}/ping"), 409)["type"] == "urn:order-service:webhook-disabled"
    again = {"since": "2026-01-01T00:00:00Z"}
    problem(await shop.call("POST", f"{path}/redeliver", json=again), 409)
    on = await shop.ask("PATCH", path, json={"status": "enabled"})
    assert (on["status"], on["disabledReason"], on["disabledAt"]) == ("enabled", None, None)
    assert await shop.ask("DELETE", path, 204) is None
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/ping"), ("GET", "/deliveries")):
        problem(await shop.call(method, f"{path}{more}"), 404)
    assert await shop.ask("GET") == {"items": [], "next": None}


async def test_a_ping_is_a_delivery(shop: Shop) -> None:
    id_ = (await shop.subscribe())["id"]
    ping = await shop.ask("POST", f"/{id_}/ping", 202)
    assert shop.service.announced.is_set()
    assert (ping["type"], ping["status"], ping["attempts"], ping["orderId"]) == ("webhook.ping", "pending", 0, None)
    assert json.loads(ping["body"])["data"] == {"webhookId": id_}
    assert await shop.ask("GET", f"/{id_}/deliveries/{ping['id']}") == ping
    [listed] = (await shop.ask("GET", f"/{id_}/deliveries"))["items"]
    assert listed.items() <= ping.items()
    assert (await shop.ask("GET", f"/{id_}"))["pending"] == 1


async def test_the_log_of_deliveries_is_filtered_and_tells_of_each_attempt(shop: Shop) -> None:
    user = str(uuid4())
    id_ = (await shop.subscribe(userId=user, events=["order.created", "order.completed"]))["id"]
    for _ in range(2):
        await shop.service.happen((await shop.service.place(userId=user))["id"], *HAPPY)
    first = await shop.ask("GET", f"/{id_}/deliveries", params={"limit": 3})
    rest = await shop.ask("GET", f"/{id_}/deliveries", params={"limit": 3, "after": first["next"]})
    listed = first["items"] + rest["items"]
    assert [one["type"] for one in listed] == ["order.completed", "order.created"] * 2
    log = [{"at": "2026-01-01T00:00:00Z", "statusCode": None, "seconds": 15.0, "error": "timed out after 15 s"}]
    log[0]["excerpt"] = ""
    failed = listed[1]["id"]
    await shop.execute(
        "UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL, attempts = 10,"
        " log = CAST(:log AS jsonb) WHERE id = :id",
        id=failed, log=json.dumps(log),
    )  # fmt: skip
    [one] = (await shop.ask("GET", f"/{id_}/deliveries", params={"status": "failed"}))["items"]
    assert (one["id"], one["attempts"], one["lastSeconds"]) == (failed, 10, 15.0)
    shown = await shop.ask("GET", f"/{id_}/deliveries/{failed}")
    assert shown["log"] == log
    assert json.loads(shown["body"])["type"] == "order.created"

    again = await shop.ask("POST", f"/{id_}/deliveries/{failed}/redeliver", 202)
    assert shop.service.announced.is_set()
    assert (again["id"], again["eventId"], again["status"], again["attempts"]) == (failed, one["eventId"], "pending", 0)
    await shop.execute(
        "UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL WHERE webhook_id = :id", id=id_
    )
    for since, count in ((timedelta(hours=1), 0), (timedelta(hours=-1), 4), (timedelta(hours=-1), 0)):
        asked = {"since": (datetime.now(UTC) + since).isoformat()}
        shop.service.announced.clear()
        assert await shop.ask("POST", f"/{id_}/redeliver", 202, json=asked) == {"count": count}
        assert shop.service.announced.is_set() == bool(count)


# whose


async def test_what_is_somebody_elses_is_not_there(shop: Shop) -> None:
    id_ = (await shop.subscribe())["id"]
    ping = (await shop.ask("POST", f"/{id_}/ping", 202))["id"]
    operations: list[tuple[str, str, Any]] = [
        ("GET", f"/{id_}", None),
        ("PATCH", f"/{id_}", {"status": "disabled"}),
        ("PATCH", f"/{id_}", {"status": "enabled"}),
        ("DELETE", f"/{id_}", None),
        ("POST", f"/{id_}/rotate-secret", None),
        ("POST", f"/{id_}/ping", None),
        ("GET", f"/{id_}/deliveries", None),
        ("GET", f"/{id_}/deliveries/{ping}", None),
        ("POST", f"/{id_}/deliveries/{ping}/redeliver", None),
        ("POST", f"/{id_}/redeliver", {"since": "2026-01-01T00:00:00Z"}),
    ]
    shop.now_is("key:another")
    own = (await shop.subscribe())["id"]
    for method, path, body in operations:
        answer = await shop.call(method, path, **({} if body is None else {"json": body}))
        assert problem(answer, 404)["type"] == "urn:order-service:unknown-webhook"
    assert [one["id"] for one in (await shop.ask("GET"))["items"]] == [own]
    # nor is a delivery within another endpoint
    problem(await shop.call("GET", f"/{own}/deliveries/{ping}"), 404)
    problem(await shop.call("POST", f"/{own}/deliveries/{ping}/redeliver"), 404)
    shop.now_is("key:ops", Scope.OPERATE)
    assert {own, id_} <= {one["id"] for one in (await shop.ask("GET", params={"limit": 100}))["items"]}
    for method, path, body in operations[4:] + operations[:4]:
        assert (await shop.call(method, path, **({} if body is None else {"json": body}))).status_code < 300


async def test_a_person_is_told_of_their_own_orders_alone(shop: Shop) -> None:
    me = uuid4()
    shop.now_is(f"user:{me}", user_id=me)
    assert (await shop.subscribe())["userId"] == str(me)
    assert (await shop.subscribe(userId=str(me)))["userId"] == str(me)
    told = problem(await shop.call("POST", json={"url": HOOKS, "events": EVENTS, "userId": str(uuid4())}), 422)
    assert [one["field"] for one in told["errors"]] == ["userId"]


async def test_nobody_has_endpoints_without_end(shop: Shop) -> None:
    for _ in range(MOST_ENDPOINTS):
        last = await shop.subscribe()
    told = problem(await shop.call("POST", json={"url": HOOKS, "events": EVENTS}), 409)
    assert told["type"] == "urn:order-service:too-many-webhooks"
    await shop.ask("DELETE", f"/{last['id']}", 204)
    await shop.subscribe()


async def test_a_person_has_fewer_endpoints_than_a_service(shop: Shop) -> None:
    me = uuid4()
    shop.now_is(f"user:{me}", user_id=me)
    for _ in range(MOST_ENDPOINTS_OF_PERSON):
        await shop.subscribe()
    told = problem(await shop.call("POST", json={"url": HOOKS, "events": EVENTS}), 409)
    assert told["detail"].startswith(f"You have {MOST_ENDPOINTS_OF_PERSON} webhooks")


@pytest.mark.parametrize(
    ("caller", "asks"),
    [
        (Caller("key:shop", frozenset({Scope.WEBHOOKS})), Asking("key:shop", "key:shop")),
        (Caller("user:u", frozenset({Scope.WEBHOOKS}), ME), Asking("user:u", "user:u", person=True, user_id=ME)),
        (
            Caller("user:u", frozenset({Scope.WEBHOOKS, Scope.ORDERS_READ_ANY}), ME),
            Asking("user:u", "user:u", person=True),
        ),
        (Caller("user:u", frozenset({Scope.OPERATE}), ME), Asking("user:u", "user:u", sees_all=True, person=True)),
        (Caller("operator@127.0.0.1", EVERY_SCOPE, local=True), Asking("operator@127.0.0.1", LOCAL, sees_all=True)),
        (Caller("operator@::1", EVERY_SCOPE, local=True), Asking("operator@::1", LOCAL, sees_all=True)),
    ],
)
async def test_whose_endpoints_and_orders_somebody_may_deal_with(caller: Caller, asks: Asking) -> None:
    assert asking(caller) == asks


async def test_nobody_has_more_by_asking_all_at_once(shop: Shop) -> None:
    body = {"url": HOOKS, "events": EVENTS}
    answers = await asyncio.gather(*[shop.call("POST", json=body) for _ in range(MOST_ENDPOINTS + 10)])
    assert sorted(answer.status_code for answer in answers) == [201] * MOST_ENDPOINTS + [409] * 10


# what is refused


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": "http://hooks.shop.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://in.shop.com/"}, "url"),
        ({"url": "https://unknown.shop.com/"}, "url"),
        ({"url": "https://localhost/"}, "url"),
        ({"url": "https://user:secret@hooks.shop.com/"}, "url"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": HOOKS + "#x"}, "url"),
        ({"url": HOOKS + "\u0000"}, "url"),
        ({"url": ""}, "url"),
        ({"url": HOOKS + "x" * 2048}, "url"),
        ({"url": None}, "url"),
        ({"url": [HOOKS]}, "url"),
        ({"events": []}, "events"),
        ({"events": ["webhook.ping"]}, "events.0"),
        ({"events": ["order.completed", "order.lost"]}, "events.1"),
        ({"events": ["order.completed"] * 4}, "events"),
        ({"events": "order.completed"}, "events"),
        ({"events": [1]}, "events.0"),
        ({"userId": "me"}, "userId"),
        ({"userId": 1}, "userId"),
        ({"description": "x" * 201}, "description"),
        ({"description": "a\u0000b"}, "description"),
        ({"userid": str(uuid4())}, "userid"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"owner": "key:other"}, "owner"),
    ],
)
async def test_what_is_wrong_is_named(shop: Shop, changed: dict[str, Any], field: str) -> None:
    answer = await shop.call(
        "POST",
        content=json.dumps({"url": HOOKS, "events": EVENTS} | changed),
        headers={"Content-Type": "application/json"},
    )
    told = problem(answer, 422)
    assert [one["field"] for one in told["errors"]] == [field]
    assert "secret@" not in answer.text
    assert await shop.ask("GET") == {"items": [], "next": None}


ONE = f"/{UUID(int=7)}"
REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/x", {}, 422),
    ("GET", ONE, {}, 404),
    ("GET", "", {"params": {"limit": 0}}, 422),
    ("GET", "", {"params": {"after": "f" * 32}}, 422),
    ("GET", "", {"params": {"after": "x"}}, 422),
    ("GET", f"{ONE}/deliveries", {"params": {"status": "lost"}}, 422),
    ("GET", f"{ONE}/deliveries/x", {}, 422),
    ("PATCH", ONE, {"json": {}}, 422),
    ("PATCH", ONE, {"json": {"status": "perhaps"}}, 422),
    ("PATCH", ONE, {"json": {"status": "enabled", "url": HOOKS}}, 422),
    ("PATCH", ONE, {"json": {"status": "enabled"}}, 404),
    ("PATCH", ONE, {"content": b"{}"}, 415),
    ("POST", "", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "", {"content": b'{"url":"a","url":"b"}', "headers": {"Content-Type": "application/json"}}, 400),
    ("POST", "", {"json": []}, 422),
    ("POST", "", {"json": {"url": "x" * 1_100_000, "events": EVENTS}}, 413),
    *(
        ("POST", f"{ONE}/redeliver", {"json": {"since": since}}, 422)
        for since in (
            None, 0, 1e300, "", "yesterday", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59", "1999-12-31T23:59:59Z", "2026-13-01T00:00:00Z", "1700000000", ["x"],
        )
    ),
    ("POST", f"{ONE}/redeliver", {"json": {"since": "2026-01-01T00:00:00+01:00"}}, 404),
    ("POST", f"{ONE}/redeliver", {"json": {"since": "2026-01-01T00:00:00Z", "dryRun": True}}, 422),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "more", "status"), REQUESTS)
async def test_whatever_is_asked_is_answered_with_a_problem(
    shop: Shop, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    problem(await shop.call(method, path, **more), status)


async def test_what_a_setting_allows_may_be_subscribed(shop: Shop) -> None:
    assert (await shop.subscribe(url=RECEIVER))["url"] == RECEIVER


async def test_while_the_database_is_away_that_is_said() -> None:
    async with without_database(Policy()) as service:
        shop = Shop(service, Door())
        problem(await shop.call("GET"), 503)
        problem(await shop.call("POST", json={"url": HOOKS, "events": EVENTS}), 503)
