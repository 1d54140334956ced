"""The page `/`: what needs a person stands first, and numbers are those of the database."""

import re
from typing import Any

import pytest
from sqlalchemy import text

from saga.runtime.database import statements
from saga.telemetry.activity import ACTIVITY, Recorder
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service

LETTER = """
INSERT INTO dead_letters (id, identity, reason, error, routing_key, exchange, headers, properties, body,
                          first_at, last_at)
VALUES (gen_random_uuid(), sha256('x'), :reason, '', '', '', '{}', '{}', '', now(), now())
"""


@pytest.fixture(autouse=True)
def nothing_happened() -> None:
    ACTIVITY.take()


async def page(service: Service) -> str:
    response = await service.client.get("/")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/html")
    return response.text


def figures(html: str) -> dict[str, str]:
    """The numbers that the page shows, by their words."""
    rows = re.findall(r"<dt>(.*?)</dt>\s*<dd>(?:<a [^>]*>)?(.*?)(?:</a>)?</dd>", html)
    return {words.split(",")[0]: number for words, number in rows}


async def say(service: Service, statement: str, **values: Any) -> None:
    async with service.sessions() as session, session.begin():
        await session.execute(text(statement), values)


async def test_an_empty_service_says_what_to_do(service: Service) -> None:
    html = await page(service)
    assert "Nothing needs a person" in html
    assert 'href="./try"' in html
    assert figures(html)["running"] == "0"


async def test_figures_and_charts_are_what_happened(service: Service) -> None:
    for signals in (HAPPY, HAPPY, (Signal.INVENTORY_VALIDATION_FAILED,), HAPPY[:1]):
        order = await service.place()
        await service.happen(order["id"], *signals)
    await Recorder(statements(service.sessions.kw["bind"])).note()
    html = await page(service)
    shown = figures(html)
    assert (shown["running"], shown["completed"], shown["failed"], shown["compensated"]) == ("1", "2", "1", "0")
    assert shown["parked"] == "0"
    assert re.fullmatch(r"[\d.]+ m?s", shown["oldest running"])
    assert "4 began, 2 completed, 0 compensated, 1 failed" in html
    assert len(re.findall(r'<rect class="good"', html)) in (1, 2)


async def test_what_needs_a_person_is_named_with_where_to_go(service: Service) -> None:
    order = await service.place()
    await service.expire(order["id"], 7)
    await say(service, LETTER, reason="<b>unreadable</b>")
    await say(service, "UPDATE order_sagas SET created_at = created_at - interval '1 hour'")
    await say(
        service,
        "UPDATE outbox SET last_error = 'unroutable: no queue is bound for it' WHERE routing_key LIKE '%Validate%'",
    )
    html = await page(service)
    assert "What needs a person" in html
    assert html.index("What needs a person") < html.index("<dl")
    assert f'href="./sagas/{order["id"]}"' in html
    assert "validation unanswered" in html
    assert 'href="./sagas?incident=true"' in html
    assert "&lt;b&gt;unreadable&lt;/b&gt;" in html
    assert "domain.order.ValidateInventory" in html
    assert "1 saga older than 5 min 00 s" in html
    assert figures(html)["parked"] == "1"


async def test_without_the_database_the_page_says_so(homeless: Service) -> None:
    response = await homeless.client.get("/")
    assert response.status_code == 503
    assert "The database cannot be reached" in response.text
    assert response.headers["retry-after"]
