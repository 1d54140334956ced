"""The login with a real browser: its pages, what they listen to, and how they end."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from handlers.access.api_keys import make_key, parse_keys
from handlers.access.principal import Scope
from tests.access.conftest import asking
from tests.dashboard.conftest import browser  # noqa: F401 - the fixture
from tests.dashboard.visitor import Visitor
from tests.databases import Databases
from tests.http.conftest import Service, listening, order_body

KEY, ENTRY = make_key("ops", [Scope.OPERATE])
PLACES, PLACED = make_key("shop", [Scope.ORDERS_WRITE])

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def closed(databases: Databases, template: str) -> AsyncIterator[tuple[Service, str]]:
    """A service that asks for keys, and its address."""
    with databases.lent(template) as dsn:
        async with asking(dsn, parse_keys(f"{ENTRY} {PLACED}")) as service, listening(service.app) as url:
            yield service, url


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without"])
async def test_an_operator_logs_in_looks_acts_and_logs_out(
    browser: Browser,  # noqa: F811 - the fixture
    closed: tuple[Service, str],
    script: bool,
) -> None:
    service, url = closed
    placed = await service.client.post("/api/orders", json=order_body(), headers={"Authorization": f"Bearer {PLACES}"})
    order_id = placed.json()["id"]
    async with Visitor(browser, url, script=script) as visitor:
        await visitor.open(f"/sagas/{order_id}")
        assert await visitor.page.text_content("h1") == "Log in"
        if script:
            assert await visitor.faults() == []
        visitor.expected.append("status of 401")
        await visitor.field("API key or token").fill("ok_ops_mistyped")
        await visitor.button("Log in").click()
        await visitor.sees("There is no such API key.")
        await visitor.field("API key or token").fill(KEY)
        if script:
            async with visitor.page.expect_response("**/events") as stream:
                await visitor.button("Log in").click()
            assert (await stream.value).status == 200
        else:
            await visitor.button("Log in").click()
        await visitor.sees("key:ops")
        assert visitor.page.url == f"{url}/sagas/{order_id}"
        await visitor.link("Ask again…").click()
        await visitor.button("Ask again now").click()
        await visitor.sees("key:ops")
        assert await _actors(service) == ["key:ops"]
        if script:
            # nothing of it is for scripts
            kept = "document.cookie + JSON.stringify({...localStorage, ...sessionStorage})"
            assert await visitor.page.evaluate(kept) == "{}"
            assert await visitor.faults() == []
        await visitor.button("Log out").click()
        await visitor.sees("API key or token")
        await visitor.open("/sagas")
        assert await visitor.page.text_content("h1") == "Log in"
        assert visitor.unexpected() == []


async def _actors(service: Service) -> list[str]:
    """Whom the newest saga's history names."""
    shown = {"Authorization": f"Bearer {KEY}"}
    page = (await service.client.get("/api/sagas", params={"limit": 1}, headers=shown)).json()
    return [entry["actor"] for entry in page["items"][0]["history"] if entry.get("actor")]
