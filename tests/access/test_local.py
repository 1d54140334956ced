"""Where nothing is configured: whoever is on this machine may do all, and everybody else is told what to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from handlers.access.principal import EVERY_SCOPE, LOCAL, Caller
from saga.domain import Policy
from tests.access.operations import over_http
from tests.databases import Databases
from tests.http.conftest import Service, listening, order_body, problem, running
from tests.live.conversing import conversing

OPEN = ("/health/", "/docs", "/openapi.json", "/asyncapi", "/assets/", "/login")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield service


@asynccontextmanager
async def at(service: Service, host: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client at this address."""
    transport = httpx2.ASGITransport(app=service.app, client=(host, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def of_orders(service: Service) -> list[tuple[str, str]]:
    """Method and path of all that is asked about an order, but for what goes on."""
    asked = [one.split() for one in over_http(service.api) if "/api/orders" in one and "/events" not in one]
    assert len(asked) > 4
    return [(method, path.replace("{}", str(uuid4()))) for method, path in asked]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
async def test_whoever_is_here_may_do_all(service: Service, host: str) -> None:
    async with at(service, host) as client:
        placed = await client.post("/api/orders", json=order_body())
        assert placed.status_code == 201
        for path in (f"/api/orders/{placed.json()['id']}", "/api/sagas", "/metrics", "/sagas", "/api/dead-letters"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("host", ["203.0.113.9", "10.0.0.1", "::2", "testclient", ""])
async def test_whoever_is_elsewhere_may_do_nothing(service: Service, host: str) -> None:
    async with at(service, host) as client:
        for one in over_http(service.api):
            method, path = one.split()
            answer = await client.request(method, path.replace("{}", str(uuid4())))
            if path.startswith(OPEN):
                assert answer.status_code not in {401, 500}, one
            else:
                assert answer.status_code == 401, one
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "No access is configured here" in answer.text
                assert "API_KEYS" in answer.text


async def test_whoever_is_elsewhere_follows_nothing(service: Service) -> None:
    order_id = (await service.place())["id"]

    async def elsewhere(scope: object, receive: object, send: object) -> None:
        await service.app({**scope, "client": ("203.0.113.9", 1)}, receive, send)  # type: ignore[arg-type, dict-item]

    async with conversing(elsewhere, order_id) as socket:
        assert (await socket.denied())["status"] == 401


@pytest.mark.parametrize(
    "header",
    [
        *("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host", "X-Forwarded-Proto"),
        *("X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix", "X-Envoy-External-Address"),
        *("CF-Connecting-IP", "True-Client-IP", "Fly-Client-IP", "Tailscale-User-Login", "X-Client-IP"),
    ],
)
async def test_a_proxy_on_this_machine_does_not_make_everybody_local(service: Service, header: str) -> None:
    async with listening(service.app, forwarded_allow_ips="*") as url, httpx2.AsyncClient(base_url=url) as client:
        for method, path in of_orders(service):
            answer = await client.request(method, path, headers={header: "127.0.0.1"})
            assert header.lower() in problem(answer, 401)["detail"], path


async def test_nor_does_one_that_says_nothing_but_asks_as_nginx_does(service: Service) -> None:
    async with listening(service.app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(
            f"GET /api/sagas HTTP/1.0\r\nHost: {url.removeprefix('http://')}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
    assert b" 401 " in answer.split(b"\r\n")[0]
    assert b"HTTP/1.0" in answer


@pytest.mark.parametrize(
    "header", ["User-Agent", "Accept", "Sec-Fetch-Site", "Idempotency-Key", "X-Request-ID", "X-Operator"]
)
async def test_what_programs_and_browsers_say_is_no_proxy(service: Service, header: str) -> None:
    answer = await service.client.get("/api/sagas", headers={header: "same-origin"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}], ids=str
)
async def test_a_page_from_elsewhere_may_do_nothing_through_a_browser_here(
    service: Service, headers: dict[str, str]
) -> None:
    for method, path in of_orders(service):
        problem(await service.client.request(method, path, headers=headers), 403)


async def test_a_credential_is_not_asked_for_and_not_looked_at(service: Service) -> None:
    for authorization in ("Bearer nonsense", "Basic eDp5", ""):
        answer = await service.client.get("/api/sagas", headers={"Authorization": authorization})
        assert answer.status_code == 200


async def test_what_is_made_here_is_the_machine_s_whoever_is_named_beside_it() -> None:
    here = [Caller(f"operator@{host}", EVERY_SCOPE, local=True) for host in ("127.0.0.1", "::1")]
    assert [caller.owner for caller in here] == [LOCAL, LOCAL]
    assert Caller("key:shop", frozenset()).owner == "key:shop"
