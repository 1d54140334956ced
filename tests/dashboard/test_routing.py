"""What goes wrong on a page is said on a page, and what pages load is served."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI, HTTPException

from handlers import dashboard
from handlers.dashboard.page_route import pages
from saga.domain import Policy
from tests.dashboard.pages import Page
from tests.databases import Databases
from tests.http.conftest import Service, problem, running, without_database

ASSETS = {file.name: file.read_bytes() for file in (Path(dashboard.__file__).parent / "assets").iterdir()}
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript"}
PAGES = ("/sagas", "/sagas/5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11")
OURS = {"Origin": "http://127.0.0.1:5002", "Host": "127.0.0.1:5002"}
"""What a browser says of a form that a page of ours sends."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeless() -> AsyncIterator[Service]:
    """One whose database is away."""
    async with without_database(Policy()) as service:
        yield service


@pytest.mark.parametrize("path", PAGES)
async def test_while_the_database_is_away_the_page_says_so_and_goes_on_by_itself(homeless: Service, path: str) -> None:
    response = await homeless.client.get(path)
    page = Page.of(response, 503)
    assert response.headers["retry-after"] == "2"
    assert page.one("h1").words == "Not now"
    assert "The database cannot be reached at the moment." in page.one("main").words
    assert page.one("main").attributes["data-live"] == "2"


async def test_while_the_database_is_away_the_reason_to_give_a_letter_up_stays(homeless: Service) -> None:
    form = {"do": "discard", "reason": "<my> words"}
    page = Page.of(await homeless.client.post(f"/dead-letters/{uuid4()}", data=form, headers=OURS), 503)
    assert "The database cannot be reached at the moment." in page.one("main").one(role="alert").words
    assert page.one("input", id="reason").attributes["value"] == "<my> words"
    assert "open" in page.one("details").attributes
    assert [one.attributes["value"] for one in page.all("input", name="do")] == ["redrive", "discard"]
    assert "data-live" not in page.one("main").attributes


async def test_a_page_that_stands_in_for_an_answer_to_a_form_is_not_looked_at_again(homeless: Service) -> None:
    """By GET that would be another page."""
    page = Page.of(await homeless.client.post("/sagas/retry", data={"ratePerSecond": "0"}, headers=OURS), 503)
    assert "data-live" not in page.one("main").attributes
    assert "Go back" in page.one("main").words


@pytest.mark.parametrize("said", ["failed", ""])
async def test_while_a_saga_cannot_be_read_nothing_is_said_of_it_that_was_not_said(
    homeless: Service, said: str
) -> None:
    form = {"meant": "ProcessPayment", "answer": said, "reason": "my words"}
    answer = await homeless.client.post(f"/sagas/{uuid4()}/resolve", data=form, headers=OURS)
    page = Page.of(answer, 503 if said else 422)
    fields = {name: page.one("input", name=name).attributes["value"] for name in form}
    assert fields == form
    assert ("It was not carried out" in page.one("form").words) is bool(said)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/sagas/5b1f7f0e-9a3e-4c40-8d1f-0f6f2a6e0c11", 404, "there is no order"),
        ("/sagas/nonsense", 422, "order_id"),
        ("/sagas/%3Cscript%3E", 422, "order_id"),
        ("/sagas/%00", 422, "order_id"),
    ],
)
async def test_what_is_not_there_is_said_on_a_page(service: Service, path: str, status: int, said: str) -> None:
    page = Page.of(await service.client.get(path), status)
    assert said in page.one("main").words
    # nothing to wait for
    assert "data-live" not in page.one("main").attributes
    assert page.one("main").one("a").attributes["href"].endswith("/sagas")


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_for_operators(service: Service, path: str) -> None:
    transport = httpx2.ASGITransport(app=service.app, client=("192.0.2.7", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as stranger:
        page = Page.of(await stranger.get(path), 401)
    assert page.one("h1").words == "Not from here"
    assert "192.0.2.7" in page.one("main").words
    Page.of(await service.client.get(path, headers={"X-Forwarded-For": "127.0.0.1"}), 401)


async def test_what_is_no_page_is_a_problem_as_ever(service: Service) -> None:
    problem(await service.client.get("/nothing"), 404)
    problem(await service.client.get("/assets/nothing.css"), 404)
    problem(await service.client.post("/sagas"), 405)
    problem(await service.client.get(f"/api/orders/{uuid4()}"), 404)


async def test_pages_are_no_part_of_the_contract(service: Service) -> None:
    paths = (await service.client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if not path.startswith(("/api", "/health", "/metrics"))]


@pytest.mark.parametrize(
    ("error", "status", "title", "said"),
    [
        (RuntimeError("secret"), 500, "A mistake of ours", "it has been logged"),
        (HTTPException(409, "not as it stands"), 409, "Conflict", "not as it stands"),
    ],
)
async def test_a_mistake_is_a_page_that_tells_nothing_of_it(
    error: Exception, status: int, title: str, said: str
) -> None:
    router = pages()

    @router.get("/wrong")
    async def wrong() -> None:
        raise error

    app = FastAPI()
    app.include_router(router)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/wrong")
    # that is for the application to add
    response.headers["x-content-type-options"] = "nosniff"
    page = Page.of(response, status)
    assert page.one("h1").words == title
    assert said in page.one("main").words
    assert "secret" not in response.text


@pytest.mark.parametrize("name", ASSETS)
async def test_what_pages_load_is_sent_once_and_asked_about_afterwards(service: Service, name: str) -> None:
    response = await service.client.get(f"/assets/{name}")
    assert response.content == ASSETS[name]
    assert response.headers["content-type"].split(";")[0] == MEDIA_TYPES[name.rsplit(".", 1)[-1]]
    assert response.headers["cache-control"] == "no-cache"
    etag = response.headers["etag"]
    again = await service.client.get(f"/assets/{name}", headers={"If-None-Match": f'"old", W/{etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    changed = await service.client.get(f"/assets/{name}", headers={"If-None-Match": '"old"'})
    assert changed.status_code == 200


@pytest.mark.parametrize("path", ["/sagas", "/sagas/nonsense", "/sagas?status=Lost"])
async def test_all_that_a_page_loads_is_there(service: Service, path: str) -> None:
    response = await service.client.get(path)
    page = Page.of(response, response.status_code)
    loaded = [link.attributes["href"] for link in page.all("link")] + [page.one("script").attributes["src"]]
    for address in loaded:
        assert (await service.client.get(str(response.url.join(address)))).status_code == 200
