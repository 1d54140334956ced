"""The pages of webhooks: add one, see its secret once, look at its log, and everything that can be done there."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from saga.domain import Policy
from tests.dashboard.pages import Page
from tests.dashboard.test_forms import Desk
from tests.databases import Databases
from tests.http.conftest import HOOKS, running, without_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
ALL = dict.fromkeys(("order.created", "order.completed", "order.failed"), "yes")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(databases: Databases, template: str) -> AsyncIterator[Desk]:
    """One for all tests here."""
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield Desk(service)


async def ask(desk: Desk, path: str) -> Any:
    answer = await desk.service.client.get(f"/api/webhooks{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def added(desk: Desk, **fields: str) -> str:
    """The id of a new one."""
    page = Page.of(await desk.post("/webhooks", url=HOOKS, **({"order.completed": "yes"} | fields)))
    return page.one("button", class_="copy", aria_label="Copy the id").attributes["data-copy"]


async def seen(desk: Desk, id_: str, status: int = 200, **fields: str) -> Page:
    """The page that comes after a form was sent."""
    answer = await desk.post(f"/webhooks/{id_}", **fields)
    if answer.status_code == 303:
        answer = await desk.service.client.get(str(answer.url.join(answer.headers["location"])))
    return Page.of(answer, status)


async def test_the_secret_of_a_new_one_is_shown_on_that_page_alone(desk: Desk) -> None:
    answer = await desk.post("/webhooks", url=f" {HOOKS} ", description="<b>shop</b>", **ALL)
    page = Page.of(answer)
    secret = page.one("button", aria_label="Copy the secret").attributes["data-copy"]
    id_ = page.one("button", aria_label="Copy the id").attributes["data-copy"]
    assert secret.startswith("whsec_")
    assert (await ask(desk, f"/{id_}"))["description"] == "<b>shop</b>"
    for path in ("/webhooks", f"/webhooks/{id_}"):
        shown = await desk.service.client.get(path)
        assert "whsec_" not in shown.text
        assert HOOKS in Page.of(shown).words
    rotated = await seen(desk, id_, do="rotate")
    assert rotated.one("button", aria_label="Copy the secret").attributes["data-copy"] not in ("", secret)


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"url": ""}, "url", "must be filled in"),
        ({"url": "http://hooks.shop.com/"}, "url", "https://"),
        ({"url": "https://127.0.0.1/"}, "url", "public"),
        ({"url": "https://unknown.shop.com/"}, "url", "resolves"),
        ({"userId": "me"}, "userId", "UUID"),
        ({"description": "x" * 201}, "description", "200"),
        ({"description": "a\x00b"}, "description", "U+0000"),
        ({"order.completed": None}, "events", "choose one at least"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    desk: Desk, changed: dict[str, str | None], field: str, said: str
) -> None:
    before = await ask(desk, "")
    fields = {"url": HOOKS, "order.completed": "yes", "description": "my <words>"} | changed
    answer = await desk.post("/webhooks", **{name: value for name, value in fields.items() if value is not None})
    page = Page.of(answer, 422)
    assert said in page.one(id=f"{field}-said").words
    if field != "description":
        assert page.one(id="description").attributes["value"] == "my <words>"
    assert await ask(desk, "") == before


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "do: "),
        ({"do": "explode"}, "do: "),
        ({"do": "ping", "more": "1"}, "more: is not known here"),
        ({"do": "redeliver"}, "delivery: must be filled in"),
        ({"do": "redeliver", "delivery": "x"}, "delivery: must be a UUID"),
        ({"do": "redeliver-failed", "hours": "2"}, "hours: "),
        ({"do": "delete"}, "sure: must be filled in"),
        ({"do": "delete", "sure": "no"}, "sure: "),
        ({"do": "rotate", "more": "1"}, "more: is not known here"),
    ],
)
async def test_what_is_not_understood_does_nothing(desk: Desk, fields: dict[str, str], said: str) -> None:
    id_ = await added(desk)
    before = await ask(desk, f"/{id_}")
    page = await seen(desk, id_, 422, **fields)
    assert said in page.one(role="alert").words
    assert await ask(desk, f"/{id_}") == before
    assert (await ask(desk, f"/{id_}/deliveries"))["items"] == []


async def test_one_is_switched_off_and_on_and_taken_away(desk: Desk) -> None:
    id_ = await added(desk)
    page = await seen(desk, id_, do="disable")
    assert "disabled by operator@127.0.0.1" in page.one(class_="facts").words
    assert "Send a ping" not in [button.words for button in page.all("button")]
    assert "enable it first" in (await seen(desk, id_, 409, do="ping")).one(role="alert").words
    assert "is enabled" in (await seen(desk, id_, do="enable")).one(role="status", class_="notice").words
    page = await seen(desk, id_, do="delete", sure="yes")
    assert "taken away" in page.one(role="status", class_="notice").words
    assert id_ not in [row.attributes["id"].removeprefix("webhook-") for row in page.all("tr") if row.attributes]
    for answer in (await desk.service.client.get(f"/webhooks/{id_}"), await desk.post(f"/webhooks/{id_}", do="ping")):
        Page.of(answer, 404)


async def test_the_log_tells_of_each_attempt_and_has_it_delivered_again(desk: Desk) -> None:
    id_ = await added(desk)
    assert "on its way" in (await seen(desk, id_, do="ping")).one(role="status", class_="notice").words
    [ping] = (await ask(desk, f"/{id_}/deliveries"))["items"]
    await _fails(desk, ping["id"])
    page = Page.of(await desk.service.client.get(f"/webhooks/{id_}", params={"status": "failed"}))
    assert (page.column("State"), page.column("Attempts"), page.column("Took")) == (["failed"], ["1"], ["1.5 s"])
    assert page.column("Last answer") == ["500 <img src=x>"]
    assert (
        "No delivery is like that"
        in Page.of(await desk.service.client.get(f"/webhooks/{id_}", params={"status": "delivered"})).words
    )
    shown = await desk.service.client.get(f"/webhooks/{id_}/deliveries/{ping['id']}")
    page = Page.of(shown)
    assert "<img src=x>" in page.words
    assert "webhook.ping" in page.one("pre").words
    # the pings of a page are never among what failed
    assert (
        "Nothing" in (await seen(desk, id_, do="redeliver-failed", hours="1")).one(role="status", class_="notice").words
    )
    await seen(desk, id_, do="redeliver", delivery=ping["id"])
    assert (await ask(desk, f"/{id_}/deliveries"))["items"][0]["status"] == "pending"


async def test_what_failed_is_delivered_again_as_far_back_as_is_asked(desk: Desk) -> None:
    user = str(uuid4())
    id_ = await added(desk, userId=user, **ALL)
    await desk.service.place(userId=user)
    [created] = (await ask(desk, f"/{id_}/deliveries"))["items"]
    await _fails(desk, created["id"])
    page = await seen(desk, id_, do="redeliver-failed", hours="24")
    assert "delivered again" in page.one(role="status", class_="notice").words
    assert page.column("State")[0].startswith("pending")


async def test_deliveries_and_webhooks_are_shown_by_pages(desk: Desk) -> None:
    id_ = await added(desk)
    await desk.post(f"/webhooks/{id_}", do="ping")
    async with desk.service.sessions() as session, session.begin():
        await session.execute(
            text(
                "INSERT INTO webhook_deliveries"
                " (id, webhook_id, event_id, type, body, status, next_attempt_at, created_at)"
                " SELECT gen_random_uuid(), webhook_id, gen_random_uuid(), type, body, status, next_attempt_at,"
                " created_at FROM webhook_deliveries CROSS JOIN generate_series(1, 20) WHERE webhook_id = :id"
            ),
            {"id": id_},
        )
    page = Page.of(await desk.service.client.get(f"/webhooks/{id_}"))
    older = next(link for link in page.all("a") if link.words == "Older ones").attributes["href"]
    assert len(page.column("Attempts")) == 20
    following = await desk.service.client.get(older.replace("../", "/", 1))
    assert len(Page.of(following).column("Attempts")) == 1
    for _ in range(21):
        await added(desk)
    page = Page.of(await desk.service.client.get("/webhooks"))
    older = next(link for link in page.all("a") if link.words == "Older ones").attributes["href"]
    assert Page.of(await desk.service.client.get(f"/webhooks{older}")).column("Owner")


async def test_an_endpoint_for_which_too_much_waits_says_so(desk: Desk) -> None:
    id_ = await added(desk)
    async with desk.service.sessions() as session, session.begin():
        await session.execute(text("UPDATE webhooks SET overflowing = true WHERE id = CAST(:id AS uuid)"), {"id": id_})
    for path in ("/webhooks", f"/webhooks/{id_}"):
        assert "too much waits" in Page.of(await desk.service.client.get(path)).words


@pytest.mark.parametrize("path", ["/webhooks/x", f"/webhooks?after={'f' * 32}", "/webhooks?after=x"])
async def test_an_address_that_is_none_is_a_page(desk: Desk, path: str) -> None:
    Page.of(await desk.service.client.get(path), 422)


async def test_while_the_database_is_away_what_was_typed_is_kept() -> None:
    async with without_database(Policy()) as service:
        desk = Desk(service)
        body = f"url={HOOKS}&order.completed=yes&description=my+words".encode()
        page = Page.of(await desk.send("/webhooks", body, most=503), 503)
        assert page.one(id="description").attributes["value"] == "my words"
        assert "cannot be read" in page.words


async def _fails(desk: Desk, delivery_id: str) -> None:
    log = {"at": "2026-01-01T00:00:00.000000Z", "statusCode": 500, "seconds": 1.5, "error": None}
    async with desk.service.sessions() as session, session.begin():
        await session.execute(
            text(
                "UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL, attempts = 1,"
                " last_status_code = 500, log = CAST(:log AS jsonb) WHERE id = :id"
            ),
            {"id": delivery_id, "log": json.dumps([log | {"excerpt": "<img src=x>"}])},
        )
