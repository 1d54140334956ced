"""The list of sagas: every filter, every page, and what is said where there is nothing to list."""

from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import event, text

from saga.domain import Policy
from saga.transitions import Signal
from tests.dashboard.pages import Page
from tests.databases import Databases
from tests.http.conftest import HAPPY, Service, running

G = Signal
USER = str(UUID(int=7))
FOREVER = "after=f" + "_" * 31
"""A place that no list has: in the year 294,247 and beyond."""

NONE = "\N{EN DASH}"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(databases: Databases, template: str) -> AsyncIterator[Service]:
    """One without any order."""
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    """One with thirty orders: ten that wait, one parked, five that failed, and fourteen that ended well."""
    with databases.lent(template) as url:
        async with running(url, Policy(retry_attempts=0, saga_timeout=timedelta(days=1))) as service:
            for number in range(30):
                order = await service.place(**({"userId": USER} if number % 3 == 0 else {}))
                if number < 14:
                    await service.happen(order["id"], *HAPPY)
                elif number < 19:
                    await service.happen(order["id"], G.INVENTORY_VALIDATION_FAILED)
                elif number == 19:
                    await service.happen(order["id"], *HAPPY[:2])
                    await service.expire(order["id"])
            yield service


async def listed(service: Service, query: str = "") -> Page:
    return Page.of(await service.client.get(f"/sagas{query}"))


def orders(page: Page) -> list[str]:
    return page.column("Order")


async def ids(service: Service, query: str = "") -> list[str]:
    """What the API lists."""
    response = await service.client.get(f"/api/sagas?limit=100{query}")
    return [saga["orderId"] for saga in response.json()["items"]]


@pytest.mark.parametrize(
    ("query", "many"),
    [
        ("status=Completed", 14),
        ("status=Failed", 5),
        ("status=Started", 10),
        ("step=ProcessPayment", 1),
        ("incident=true", 1),
        ("incident=false&status=InProgress", 0),
        (f"userId={USER}", 10),
        (f"userId={USER}&status=Completed", 5),
        ("olderThan=0", 25),
        ("olderThan=3600", 0),
    ],
)
async def test_what_is_asked_for_is_listed_and_stands_in_the_form(service: Service, query: str, many: int) -> None:
    page = await listed(service, f"?{query}")
    assert orders(page) == (await ids(service, f"&{query}"))[:25]
    assert len(orders(page)) == many
    form = page.one(id="filters")
    chosen = {select.attributes["name"]: select.all("option", selected="") for select in form.all("select")}
    shown = {name: options[0].attributes["value"] for name, options in chosen.items() if options}
    if value := form.one("input").attributes["value"]:
        shown["userId"] = value
    assert shown == {name: values[0] for name, values in parse_qs(query).items()}


async def test_a_row_says_how_a_saga_stands_and_links_to_it_and_to_its_customer(service: Service) -> None:
    page = await listed(service, "?incident=true")
    (row,) = page.one(id="list").one("tbody").all("tr")
    order_id = orders(page)[0]
    assert row.attributes["id"] == f"order-{order_id}"
    assert [link.attributes["href"] for link in row.all("a")] == [
        f"./sagas/{order_id}", f"./sagas?userId={page.column('Customer')[0]}",
    ]  # fmt: skip
    cells = {cell.attributes["data-label"]: cell.words for cell in row.having("data-label")}
    assert (cells["Status"], cells["Step"], cells["Attempt"]) == ("InProgress", "ProcessPayment", "1 of 1")
    assert cells["Incident"] == "payment outcome unknown"
    assert cells["Waiting"].endswith("parked, then send ProcessPayment again")
    assert cells["Age"].endswith("s")


async def test_a_saga_that_has_ended_says_how_long_it_took(service: Service) -> None:
    page = await listed(service, "?status=Completed")
    assert all(waiting.startswith("ended after ") for waiting in page.column("Waiting"))
    assert set(page.column("Attempt")) == {NONE}


async def test_every_saga_is_on_one_page_and_the_filters_stay(service: Service) -> None:
    seen: list[str] = []
    address: str | None = "?limit=4&incident=false&userId=" + USER
    while address:
        page = await listed(service, address)
        seen += orders(page)
        assert bool(page.all("a", rel="next")) == (len(seen) < 10)
        firsts = [link for link in page.all("a") if link.words == "First page"]
        assert bool(firsts) == (len(seen) > 4)
        for first in firsts:
            assert orders(await listed(service, first.attributes["href"].removeprefix("./sagas"))) == seen[:4]
        following = page.all("a", rel="next")
        address = f"?{urlsplit(following[0].attributes['href']).query}" if following else None
    assert seen == await ids(service, f"&incident=false&userId={USER}")


async def test_where_there_is_nothing_it_is_said_what_to_do(service: Service, empty: Service) -> None:
    nothing = (await listed(empty)).one(class_="empty")
    assert "There is no order yet." in nothing.words
    assert [link.attributes["href"] for link in nothing.all("a")] == ["./try", "./docs"]
    none_like_that = (await listed(service, f"?userId={uuid4()}")).one(class_="empty")
    assert "No saga is like that." in none_like_that.words
    beyond = (await listed(service, "?after=" + "A" * 32)).one(class_="empty")
    assert "There is nothing behind this page." in beyond.words
    never = await listed(service, "?status=Completed&step=ProcessPayment")
    assert "No saga is like that." in never.one(class_="empty").words


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=Lost", "The status must be one of those in the list."),
        ("step=%00", "The step must be one of those in the list."),
        ("incident=perhaps", "Incidents are true, false, or not asked for."),
        ("userId=%3Cscript%3Ealert(1)%3C/script%3E", "The customer is a UUID"),
        ("userId=%ED%A0%80", "The customer is a UUID"),
        ("olderThan=NaN", "The age is a number of seconds"),
        ("olderThan=1e999", "The age is a number of seconds"),
        ("olderThan=-1", "The age is a number of seconds"),
        ("limit=0", "A page has 1 to 100 sagas."),
        ("limit=101&status=Lost", "A page has 1 to 100 sagas."),
        ("after=nonsense", "There is no page that begins there."),
        (FOREVER, "There is no page that begins there."),
    ],
)
async def test_what_cannot_be_looked_for_is_said_beside_the_form_as_it_was(
    service: Service, query: str, said: str
) -> None:
    page = Page.of(await service.client.get(f"/sagas?{query}"), 422)
    assert said in page.one(role="alert").words
    assert not page.all("table")
    invalid = {field.attributes["name"] for field in page.one("form", id="filters").having("aria-invalid")}
    assert invalid == set(parse_qs(query)) - {"limit", "after"}
    if "userId" in query:
        assert page.one("input", id="userId").attributes["value"] == parse_qs(query)["userId"][0]


@pytest.mark.parametrize(
    "query", ["status=&step=&incident=&olderThan=&userId=", "unknown=1", "status=%20", "=", "limit=25"]
)
async def test_what_is_not_asked_for_does_not_matter(service: Service, query: str) -> None:
    page = await listed(service, f"?{query}")
    assert len(orders(page)) == 25
    assert not [link for link in page.all("a") if link.words == "Show all"]


async def test_an_age_of_its_own_stays_in_the_form(service: Service) -> None:
    ages = (await listed(service, "?olderThan=77.5")).one("select", id="olderThan")
    assert ages.one("option", selected="").words == "77.5 s"


async def test_a_page_costs_two_queries_however_long_it_is(service: Service) -> None:
    engine, told = service.sessions.kw["bind"].sync_engine, []
    event.listen(engine, "before_cursor_execute", count := lambda *call: told.append(call[2]))
    await listed(service, "?limit=30")
    event.remove(engine, "before_cursor_execute", count)
    assert len(told) == 2


async def test_a_saga_of_another_release_is_listed_as_well(empty: Service) -> None:
    order = await empty.place()
    async with empty.sessions() as session, session.begin():
        other = text("UPDATE order_sagas SET table_version = 99 WHERE order_id = :id")
        await session.execute(other, {"id": UUID(order["id"])})
    page = await listed(empty, f"?userId={order['userId']}")
    assert "another release knows it" in page.column("Waiting")[0]


async def test_an_order_is_gone_straight_to_by_its_id(service: Service) -> None:
    order_id = str((await service.place())["id"])
    page = await listed(service)
    form = page.one("form", id="straight")
    assert (form.attributes["method"], form.one("input").attributes["name"]) == ("get", "orderId")
    there = await service.client.get("/sagas", params={"orderId": f" {order_id.upper()} "})
    assert (there.status_code, str(there.url.join(there.headers["location"]).path)) == (303, f"/sagas/{order_id}")
    wrong = Page.of(await service.client.get("/sagas", params={"orderId": "<b>"}), 422)
    assert "The order's id is a UUID" in wrong.one(role="alert").words
    assert wrong.one("input", id="orderId").attributes["value"] == "<b>"
