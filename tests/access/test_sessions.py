"""What a session is: where it counts, when it ends, and that streams end with it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from starlette.routing import Mount
from starlette.types import ASGIApp

from handlers.access.api_keys import make_key, parse_keys
from handlers.access.authenticator import Access
from handlers.access.middleware import guarded
from handlers.access.principal import Scope
from handlers.access.rate_limits import Limits
from handlers.access.site import Site
from handlers.dashboard.pages.login import refusing_pages
from handlers.http.connections import server_config
from saga.domain import Policy
from saga.engine import Engine
from saga.errors import ConfigurationError
from saga.runtime.database import connect, sessions, statements
from settings import Settings
from tests.access.conftest import header
from tests.http.conftest import Service, order_body, problem, serving

PUBLIC = "https://orders.example"
BOTH = [Scope.OPERATE, Scope.ORDERS_READ_ANY, Scope.ORDERS_WRITE]
KEY, ENTRY = make_key("ops", BOTH)
NAME = "__Host-order-service-login"


class _Door(Access):
    """Says how often the database was asked."""

    statements = 0


@pytest.fixture
async def service(migrated: str) -> AsyncIterator[tuple[Service, _Door]]:
    """A service behind a proxy that ends TLS elsewhere; its streams look again all the time."""
    database = connect(migrated, connections=4, name="tests")
    engine = Engine(sessions(database), Policy(), lambda _: None)
    task = asyncio.create_task(engine.run())
    door = _Door(statements(database), parse_keys(ENTRY), site=Site(PUBLIC))
    async with serving(engine, sessions(database), Policy(), access=door) as service:
        service.followers.keep_alive = 0.05

        @event.listens_for(database.sync_engine, "before_cursor_execute")
        def count(*_: object) -> None:
            door.statements += 1

        yield service, door
    task.cancel()
    await asyncio.wait([task])
    await database.dispose()


def _browser(service: Service) -> httpx2.AsyncClient:
    """It speaks TLS to the proxy; the service sees plain HTTP."""
    transport = httpx2.ASGITransport(app=_plain(service.app), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=PUBLIC, headers={"Origin": PUBLIC})


def _plain(app: ASGIApp):  # type: ignore[no-untyped-def]
    return lambda scope, receive, send: app({**scope, "scheme": "http"}, receive, send)


async def _log_in(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/login", data={"credential": KEY})


async def test_the_public_address_decides_and_not_the_connection(service: tuple[Service, _Door]) -> None:
    async with _browser(service[0]) as client:
        answer = await _log_in(client)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{NAME}=")
        assert "Secure" in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert (await client.get("/sagas")).status_code == 200
        for headers in (
            {"Origin": "http://orders.example"},
            {"Origin": "https://evil.example"},
            {"Host": "evil.example"},
        ):
            assert (await client.post("/login", data={"credential": KEY}, headers=headers)).status_code == 403
        assert (await client.get("/sagas", headers={"Host": "evil.example"})).status_code == 403
        # probes and programs know the service by other names
        other = {"Host": "10.0.0.7:5002"}
        assert (await client.get("/health/live", headers=other)).status_code == 200
        client.cookies.clear()
        assert (await client.get("/api/sagas", headers=other | header(KEY))).status_code == 200


async def test_what_came_in_plain_text_over_a_network_is_refused(service: tuple[Service, _Door]) -> None:
    async with _browser(service[0]) as client:
        for hops in ("http", "http, https"):
            answer = await client.get("/api/sagas", headers=header(KEY) | {"X-Forwarded-Proto": hops})
            assert problem(answer, 403)["detail"].startswith("This came over plain HTTP")
        for hops in ("https", "https, http"):
            answer = await client.get("/api/sagas", headers=header(KEY) | {"X-Forwarded-Proto": hops})
            assert answer.status_code == 200
        assert (await client.get("/health/live", headers={"X-Forwarded-Proto": "http"})).status_code == 200


async def test_logging_in_again_ends_the_login_before(service: tuple[Service, _Door]) -> None:
    async with _browser(service[0]) as client:
        await _log_in(client)
        first = dict(client.cookies.items())
        await _log_in(client)
        assert (await client.get("/sagas")).status_code == 200
        client.cookies.clear()
        client.cookies.update(first)
        assert (await client.get("/sagas")).status_code == 303


async def test_a_browser_that_nobody_uses_is_logged_out(service: tuple[Service, _Door]) -> None:
    async def back(minutes: int) -> None:
        async with service[0].sessions() as session, session.begin():
            used = f"UPDATE sessions SET used_at = clock_timestamp() - interval '{minutes} min'"
            await session.execute(text(used))

    async with _browser(service[0]) as client:
        await _log_in(client)
        await back(29)
        # a page that keeps itself fresh is nobody's use
        assert (await client.get("/sagas", headers={"Sec-Fetch-Dest": "empty"})).status_code == 200
        async with service[0].sessions() as session:
            unused = text("SELECT used_at < clock_timestamp() - interval '28 min' FROM sessions")
            assert (await session.execute(unused)).scalar_one()
        assert (await client.get("/sagas")).status_code == 200
        async with service[0].sessions() as session:
            assert not (await session.execute(unused)).scalar_one()
        await back(31)
        assert (await client.get("/sagas")).status_code == 303


async def test_cookies_that_are_made_up_do_not_reach_the_database(service: tuple[Service, _Door]) -> None:
    api, door = service
    async with _browser(api) as client:
        await _log_in(client)
        real = next(iter(client.cookies.values()))
        client.cookies.clear()
        door.statements = 0
        for value in ("x", "x" * 43, f"{'x' * 43}.{'0' * 64}", f"{real[:-1]}{'0' if real[-1] != '0' else '1'}"):
            answer = await client.get("/api/sagas", headers={"Cookie": f"{NAME}={value}"})
            assert answer.status_code == 401
        assert door.statements == 0
        assert (await client.get("/api/sagas", headers={"Cookie": f"{NAME}={real}"})).status_code == 200
        assert door.statements > 0


async def test_logging_out_has_the_browser_forget(service: tuple[Service, _Door]) -> None:
    async with _browser(service[0]) as client:
        await _log_in(client)
        answer = await client.post("/logout", data={"": ""})
        assert answer.headers["clear-site-data"] == '"cache", "storage"'


async def _order(service: Service) -> str:
    placed = await service.client.post("/api/orders", json=order_body(), headers=header(KEY))
    assert placed.status_code == 201
    return str(placed.json()["id"])


async def test_a_stream_of_the_dashboard_ends_with_the_login(service: tuple[Service, _Door]) -> None:
    api, _ = service
    order_id = await _order(api)
    async with _browser(api) as client, _browser(api) as other:
        await _log_in(client)
        other.cookies.update(dict(client.cookies.items()))
        stream = asyncio.create_task(client.get(f"/sagas/{order_id}/events"))
        assert not (await asyncio.wait([stream], timeout=0.3))[0], "it goes on while the login does"
        await other.post("/logout", data={"": ""})
        async with asyncio.timeout(30):
            assert (await stream).status_code == 200


async def test_a_stream_ends_with_the_key_that_opened_it(service: tuple[Service, _Door]) -> None:
    api, door = service
    order_id = await _order(api)
    stream = asyncio.create_task(api.client.get(f"/api/orders/{order_id}/events", headers=header(KEY)))
    assert not (await asyncio.wait([stream], timeout=0.3))[0]
    door.replace_keys(())
    async with asyncio.timeout(30):
        assert (await stream).status_code == 200
    assert (await api.client.get("/api/sagas", headers=header(KEY))).status_code == 401


async def test_a_stream_ends_when_the_key_expires(service: tuple[Service, _Door]) -> None:
    api, door = service
    order_id = await _order(api)
    presented, entry = make_key("short", BOTH)
    soon = datetime.now(UTC) + timedelta(seconds=1)
    (key,) = parse_keys(entry)
    door.replace_keys([type(key)(key.id, key.digest, key.scopes, soon)])
    async with asyncio.timeout(30):
        answer = await api.client.get(f"/api/orders/{order_id}/events", headers=header(presented))
    assert answer.status_code == 200
    assert datetime.now(UTC) >= soon


async def test_a_stream_ends_after_an_hour(service: tuple[Service, _Door], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.live.streams.MOST_SECONDS", 0.2)
    order_id = await _order(service[0])
    async with asyncio.timeout(30):
        answer = await service[0].client.get(f"/api/orders/{order_id}/events", headers=header(KEY))
    assert answer.status_code == 200


def test_a_route_that_no_rule_can_be_about_stops_the_start() -> None:
    async def open_to_all(*_: object) -> None:
        raise AssertionError

    app = FastAPI(openapi_url=None, routes=[Mount("/internal", open_to_all)])
    access = Access(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no operation"):
        guarded(app, access, Limits(), refusing_pages(access))


def test_without_limits_of_connections_nothing_starts() -> None:
    with pytest.raises(ConfigurationError, match="faststream run"):
        server_config(lambda: None)


KEYS = {"api_keys": ENTRY}


@pytest.mark.parametrize(
    ("given", "host", "said"),
    [
        ({}, "127.0.0.1", "ACCESS: nobody is named"),
        ({"access": "local"}, "0.0.0.0", None),
        (KEYS, "127.0.0.1", None),
        (KEYS, "localhost", None),
        (KEYS, "0.0.0.0", "PUBLIC_URL is not set"),
        (KEYS, "", "PUBLIC_URL is not set"),
        (KEYS | {"public_url": PUBLIC}, "0.0.0.0", None),
    ],
)
def test_a_service_starts_only_where_it_is_said_who_may_ask(given: dict[str, str], host: str, said: str | None) -> None:
    settings = Settings.model_validate(given)
    if said is None:
        settings.require_access(host)
    else:
        with pytest.raises(ConfigurationError, match=f"^{said}"):
            settings.require_access(host)


async def test_who_did_it_and_why_is_told_to_operators_alone(service: tuple[Service, _Door]) -> None:
    api, door = service
    customers, entry = make_key("shop", [Scope.ORDERS_READ_ANY, Scope.ORDERS_WRITE])
    door.replace_keys(parse_keys(f"{ENTRY} {entry}"))
    order_id = await _order(api)
    await api.client.post(f"/api/sagas/{order_id}/retry", json={"reason": "a note"}, headers=header(KEY))
    cancelled = await api.client.post(f"/api/orders/{order_id}/cancel", headers=header(customers))
    assert cancelled.status_code == 202
    path = f"/api/orders/{order_id}"
    for visitor, told in ((KEY, True), (customers, False)):
        for shown in (f"{path}/saga", f"{path}/events"):
            answer = await api.client.get(shown, headers=header(visitor))
            assert ("key:ops" in answer.text) is told, shown
            assert ("a note" in answer.text) is told, shown
    assert "key:ops" not in cancelled.text
    assert "a note" not in cancelled.text
