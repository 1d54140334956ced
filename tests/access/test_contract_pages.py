"""The contract pages run other people's scripts: in a real browser they cannot act for an operator who is logged in."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from handlers.access.api_keys import make_key, parse_keys
from handlers.access.principal import Scope
from tests.access.conftest import asking
from tests.dashboard.conftest import browser  # noqa: F401 - the fixture
from tests.dashboard.visitor import Visitor
from tests.databases import Databases
from tests.http.conftest import ASYNCAPI, Service, listening

KEY, ENTRY = make_key("ops", [Scope.OPERATE])
CONTRACTS = {"/docs": "/api/orders", "/asyncapi": ASYNCAPI["info"]["title"]}
"""What each page shows of its contract."""
DOCUMENTS = ("/openapi.json", "/asyncapi.json")
ATTACK = """async () => {
  const outcome = async (attempt) => { try { return String(await attempt()); } catch (error) { return error.name; } };
  const answer = async (path, options) => (await fetch(path, { credentials: "include", ...options })).status;
  return {
    origin: self.origin,
    cookie: await outcome(() => document.cookie),
    storage: await outcome(() => localStorage.length),
    read: await outcome(() => answer("/api/sagas")),
    write: await outcome(() => answer("/api/sagas/retry", { method: "POST", body: "{}" })),
    blind: await outcome(() => answer("/logout", { method: "POST", mode: "no-cors" })),
    page: await outcome(() => new Promise((loaded) => {
      const frame = Object.assign(document.createElement("iframe"), { src: "/sagas" });
      frame.onload = () => loaded(frame.contentDocument);
      document.body.append(frame);
    })),
  };
}"""
"""What a script of a stranger would try on these pages."""

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def closed(databases: Databases, template: str) -> AsyncIterator[tuple[Service, str]]:
    """A service that asks for keys, and its address."""
    with databases.lent(template) as dsn:
        async with asking(dsn, parse_keys(ENTRY)) as service, listening(service.app) as url:
            yield service, url


@pytest.mark.parametrize("path", CONTRACTS)
async def test_a_script_of_a_contract_page_cannot_use_the_operator_s_login(
    browser: Browser,  # noqa: F811 - the fixture
    closed: tuple[Service, str],
    path: str,
) -> None:
    _, url = closed
    async with Visitor(browser, url) as visitor:
        await visitor.open("/login")
        await visitor.field("API key or token").fill(KEY)
        await visitor.button("Log in").click()
        await visitor.sees("key:ops")

        await visitor.open(path)
        await visitor.sees(CONTRACTS[path])
        assert visitor.unexpected() == []
        sent: list[dict[str, str]] = []
        visitor.page.on("request", lambda request: sent.append(request.headers))
        assert await visitor.page.evaluate(ATTACK) == {
            "origin": "null",
            "cookie": "SecurityError",
            "storage": "SecurityError",
            # neither is answered to this page, and what it sends without an answer has no cookie: see below
            "read": "TypeError",
            "write": "TypeError",
            "blind": "TypeError",
            "page": "null",
        }
        assert not [headers for headers in sent if "cookie" in headers]

        # the login is as good as before
        await visitor.open("/sagas")
        await visitor.sees("key:ops")


@pytest.mark.parametrize("path", CONTRACTS)
async def test_a_contract_page_gives_its_scripts_no_origin_and_no_forms(closed: tuple[Service, str], path: str) -> None:
    service, _ = closed
    policy = (await service.client.get(path)).headers["content-security-policy"].split("; ")
    assert "sandbox allow-scripts" in policy
    assert "form-action 'none'" in policy


async def test_contracts_are_for_every_origin_and_nothing_else_is(closed: tuple[Service, str]) -> None:
    service, _ = closed

    async def shared(path: str) -> tuple[Any, Any]:
        headers = (await service.client.get(path, headers={"Origin": "null"})).headers
        return headers.get("access-control-allow-origin"), headers["cross-origin-resource-policy"]

    for path in DOCUMENTS:
        assert await shared(path) == ("*", "same-origin"), path
    for name in ("swagger-ui.js", "swagger-ui.css", "docs.js", "page.css", "favicon.svg", "asyncapi-viewer.js"):
        assert await shared(f"/assets/{name}") == (None, "cross-origin"), name
    for path in (*CONTRACTS, "/", "/login", "/api/sagas", "/assets/style.css", "/assets/none", "/health/live", "/none"):
        assert await shared(path) == (None, "same-origin"), path
