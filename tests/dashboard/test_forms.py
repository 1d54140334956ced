"""The forms of the pages: taken from a page of the dashboard alone, as they are meant, or answered in words."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.dashboard.forms import MAX_FORM_BYTES
from handlers.dead_letters.store import Arrival, Filter, identity_of, keep, list_letters
from saga.domain import Policy
from tests.dashboard.pages import Page
from tests.databases import Databases
from tests.http.conftest import HAPPY, Service, running

OURS = "http://127.0.0.1:5002"
WISHES = ("retry", "resolve", "compensate", "cancel")
PATHS = (
    *(f"/sagas/{{id}}/{wish}" for wish in WISHES),
    "/sagas/retry",
    "/dead-letters/{id}",
    "/dead-letters/redrive",
    "/webhooks",
    "/webhooks/{id}",
    "/try",
)
FORM = "application/x-www-form-urlencoded"


class Desk:
    """Sends forms as a browser would that has a page of the dashboard open."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def send(self, path: str, body: bytes, *, most: int = 499, **headers: Any) -> httpx2.Response:
        told = {"Origin": OURS, "Content-Type": FORM, "Host": "127.0.0.1:5002"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in told.items() if value is not None}
        answer = await self.service.client.post(path, content=body, headers=kept)
        assert answer.status_code <= most, answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
        return answer

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        return await self.send(path, urlencode(fields).encode())

    async def refuses(self, path: str, status: int, words: str, body: bytes, **headers: Any) -> None:
        answer = await self.send(path, body, **headers)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert words in answer.text


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(databases: Databases, template: str) -> AsyncIterator[Desk]:
    """One for all tests here: none minds the orders of the others."""
    with databases.lent(template) as url:
        async with running(url, Policy()) as service:
            yield Desk(service)


async def _order(desk: Desk) -> str:
    return str((await desk.service.place())["id"])


async def _orders(desk: Desk) -> int:
    """How many rows there are of what orders write."""
    return await desk.service.rows()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost:5002"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://evil.example:5002", "Host": "evil.example:5002"},
        {"Origin": "http://["},
        *({"Sec_Fetch_Site": site} for site in ("cross-site", "same-site", "none")),
    ],
)
async def test_a_form_that_another_site_has_is_not_taken(desk: Desk, path: str, headers: dict[str, str | None]) -> None:
    """A browser sends such a form unasked, without asking the service first."""
    order_id = await _order(desk)
    before = await _orders(desk)
    body = urlencode({"meant": "ValidateInventory", "answer": "yes", "reason": "r", "do": "happy"}).encode()
    await desk.refuses(path.format(id=order_id), 403, "page", body, **headers)
    assert (await desk.service.saga(order_id))["history"] == []
    assert await _orders(desk) == before


async def test_a_browser_that_says_nothing_but_where_it_comes_from_is_ours(desk: Desk) -> None:
    path, body = f"/sagas/{await _order(desk)}/retry", b"meant=ValidateInventory&answer=yes"
    told: dict[str, Any] = {"Origin": None, "Sec_Fetch_Site": "same-origin"}
    assert (await desk.send(path, body, **told)).status_code == 303


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"x" * (MAX_FORM_BYTES + 1), 413, "at most"),
        (b"reason", 400, "cannot be read"),
        (b"reason=%ff", 400, "cannot be read"),
        ("reason=ä".encode(), 400, "cannot be read"),
        (b"&".join(b"f%d=1" % number for number in range(60)), 400, "cannot be read"),
        (b"reason=a&reason=b", 400, "twice"),
    ],
)
async def test_what_is_no_form_is_said_so(desk: Desk, path: str, body: bytes, status: int, words: str) -> None:
    await desk.refuses(path.format(id=await _order(desk)), status, words, body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", [None, "application/json", "multipart/form-data; boundary=x", "text/plain"])
async def test_a_form_comes_as_one(desk: Desk, path: str, content_type: str | None) -> None:
    await desk.refuses(path.format(id=uuid4()), 415, FORM, b"a=b", Content_Type=content_type)


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"more": "1"}, "more: is not known here"),
        ({"meant": ""}, "meant: must be filled in"),
        ({"meant": "Everything"}, "meant: "),
        ({"answer": "perhaps"}, "answer: "),
        ({"reason": "a\x00b"}, "reason: must not contain"),
        ({"reason": "a\x1b[31mb"}, "reason: must not contain control characters"),
        ({"reason": "a\nb"}, "reason: must not contain control characters"),
        ({"reason": "x" * 501}, "at most 500"),
    ],
)
async def test_a_wish_that_is_not_understood_does_nothing_and_keeps_what_was_typed(
    desk: Desk, wish: str, changed: dict[str, str], said: str
) -> None:
    order_id = await _order(desk)
    fields = {"meant": "ValidateInventory", "answer": "succeeded", "reason": "<b>because</b>"} | changed
    answer = await desk.post(f"/sagas/{order_id}/{wish}", **fields)
    assert answer.status_code == 422
    assert said in answer.text
    if "reason" not in changed:
        assert 'value="&lt;b&gt;because&lt;/b&gt;"' in answer.text
    assert (await desk.service.saga(order_id))["history"] == []


@pytest.mark.parametrize("wish", ["resolve", "compensate"])
@pytest.mark.parametrize("reason", [{}, {"reason": " "}])
async def test_what_cannot_be_taken_back_needs_a_reason(desk: Desk, wish: str, reason: dict[str, str]) -> None:
    order_id = await _order(desk)
    answer = await desk.post(f"/sagas/{order_id}/{wish}", meant="ValidateInventory", answer="failed", **reason)
    assert (answer.status_code, "reason: must be filled in" in answer.text) == (422, True)
    assert (await desk.service.saga(order_id))["history"] == []


@pytest.mark.parametrize("wish", WISHES)
async def test_a_wish_about_an_order_that_is_not_there_is_a_page(desk: Desk, wish: str) -> None:
    for path in (f"/sagas/{uuid4()}/{wish}", f"/sagas/{uuid4()}/{wish}?x=1"):
        body = b"meant=ValidateInventory&answer=succeeded&reason=r"
        await desk.refuses(path, 404, "order", body)


async def test_what_was_said_of_one_command_is_not_said_of_another(desk: Desk) -> None:
    order_id = await _order(desk)
    await desk.service.happen(order_id, HAPPY[0])
    answer = await desk.post(
        f"/sagas/{order_id}/resolve", meant="ValidateInventory", answer="succeeded", reason="my words"
    )
    page = Page.of(answer, 409)
    assert page.one("input", name="meant").attributes["value"] == "ReserveInventory"
    assert page.one("input", name="reason").attributes["value"] == "my words"
    assert len(page.all("input", name="answer")) == 2
    assert not [choice for choice in page.all("input", name="answer") if "checked" in choice.attributes]
    # of the same command it stays
    page = Page.of(await desk.post(f"/sagas/{order_id}/resolve", meant="ReserveInventory", answer="failed"), 422)
    assert "checked" in page.one("input", name="answer", value="failed").attributes


@pytest.mark.parametrize("said", [{}, {"answer": "yes"}])
async def test_what_really_happened_has_to_be_said(desk: Desk, said: dict[str, str]) -> None:
    order_id = await _order(desk)
    answer = await desk.post(f"/sagas/{order_id}/resolve", meant="ValidateInventory", reason="r", **said)
    group = Page.of(answer, 422).one("fieldset")
    assert group.attributes["aria-invalid"] == "true"
    assert group.attributes["aria-describedby"] == "answer-said"
    assert (await desk.service.saga(order_id))["history"] == []


async def test_a_letter_that_was_given_up_before_keeps_its_reason_and_the_page_says_so(desk: Desk) -> None:
    arrival = Arrival(identity_of("key", None, b"x"), "invalid", "a test", "key", "domain", {}, {}, b"x", None)
    async with desk.service.sessions() as session, session.begin():
        await keep(session, arrival)
        [letter] = await list_letters(session, Filter(), 1, None)
    for reason, said in (("first", "was given up"), ("first", "was given up"), ("second", "had been given up before")):
        answer = await desk.post(f"/dead-letters/{letter.id}", do="discard", reason=reason)
        page = Page.of(await desk.service.client.get(str(answer.url.join(answer.headers["location"]))))
        assert said in page.one(role="status", class_="notice").words
        assert page.one("main").words.count(": first") == 2, "where it stands, and what is known of it"


async def test_of_a_letter_that_was_too_large_the_page_shows_the_beginning_and_offers_no_redrive(desk: Desk) -> None:
    beginning = "ä".encode()[:1]
    arrival = Arrival(
        identity_of("key", None, b"large"), "too_large", "a test", "domain.order.CreateOrder", "domain", {}, {},
        b"so it begins: " + beginning, None, "order-service.CreateOrder", 2_000_000, b"\x0f" * 32,
    )  # fmt: skip
    async with desk.service.sessions() as session, session.begin():
        await keep(session, arrival)
        [letter] = await list_letters(session, Filter(), 1, None)
    page = Page.of(await desk.service.client.get(f"/dead-letters/{letter.id}"))
    words = page.one("main").words
    for told in ("2000000 bytes, text", "so it begins:", "0f" * 32, "order-service.CreateOrder", "only the beginning"):
        assert told in words
    assert "Redrive it" not in words


async def test_the_next_step_waits_as_long_as_the_rate_says(desk: Desk) -> None:
    user = str(uuid4())
    for _ in range(3):
        await desk.service.place(userId=user)
    for rate, wait in (("0.1", "10000"), ("0.7", "1429")):
        page = Page.of(await desk.post("/sagas/retry", userId=user, ratePerSecond=rate))
        assert len(page.column("Outcome")) == 1
        assert [form.attributes["data-next"] for form in page.having("data-next")] == [wait]


async def test_a_look_behind_the_newest_speaks_of_those_it_shows(desk: Desk) -> None:
    user = str(uuid4())
    for _ in range(2):
        await desk.service.place(userId=user)
    listed = await desk.service.client.get("/api/sagas", params={"userId": user, "limit": 1})
    for after in (listed.json()["next"], None):
        asked = {"userId": user} | ({"after": after} if after else {})
        page = Page.of(await desk.service.client.get("/sagas/retry", params=asked))
        words = page.one("form").words
        assert ("1 of the 1 shown here would be done." in words) is bool(after)
        assert ("begins with the newest again" in words) is bool(after)
        assert ("2 of the 2 that are meant would be done." in words) is not after
        assert not page.all("input", name="after")


async def test_a_look_behind_the_newest_at_nothing_that_can_be_done_does_not_say_there_is_nothing(desk: Desk) -> None:
    user = str(uuid4())
    last = str((await desk.service.place(userId=user))["id"])
    await desk.service.happen(last, *HAPPY)
    await desk.service.place(userId=user)
    listed = await desk.service.client.get("/api/sagas", params={"userId": user, "limit": 1})
    asked = {"userId": user, "after": listed.json()["next"]}
    page = Page.of(await desk.service.client.get("/sagas/retry", params=asked))
    assert "0 of the 1 shown here would be done." in page.one("form").words
    assert "There is nothing" not in page.words


@pytest.mark.parametrize("age", ["300", "0.5", "1234567", "1000000000"])
async def test_an_age_is_meant_as_it_was_typed(desk: Desk, age: str) -> None:
    await _order(desk)
    page = Page.of(await desk.service.client.get("/sagas/retry", params={"olderThan": age}))
    assert f"older than (seconds) {age} Choose" in page.one("main").words


async def test_while_nothing_can_be_committed_what_was_typed_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await _order(desk)
    monkeypatch.setattr("handlers.api.saga_actions.ACCEPT_SECONDS", 0.0)
    body = b"meant=ValidateInventory&answer=yes&reason=my+words"
    answer = await desk.send(f"/sagas/{order_id}/cancel", body, most=503)
    assert (answer.status_code, 'value="my words"' in answer.text) == (503, True)
    assert "could not be committed in time" in answer.text


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/sagas/retry", {"stats": "Failed"}, "stats: is not known here"),
        ("/sagas/retry", {"status": "Lost"}, "status: "),
        ("/sagas/retry", {"ratePerSecond": "0"}, "ratePerSecond: "),
        ("/sagas/retry", {"ratePerSecond": "nan"}, "ratePerSecond: "),
        ("/sagas/retry", {"done": "-1"}, "done: "),
        ("/sagas/retry", {"after": "f" * 32}, "after: "),
        ("/sagas/retry", {"reason": "a\tb"}, "reason: must not contain control characters"),
        ("/dead-letters/redrive", {"state": "open"}, "state: is not known here"),
        ("/dead-letters/redrive", {"orderId": "x"}, "orderId: "),
        ("/try", {"do": "order"}, "productName: must be filled in"),
        ("/try", {"do": "order", "more": "1"}, "more: is not known here"),
        ("/try", {"do": "happy", "price": "1"}, "does not have"),
        ("/try", {"do": "silence"}, "no stand-in"),
        ("/try", {"do": "tell", "inventory.ValidateInventory": "mute"}, "no stand-in"),
        ("/try", {"do": "tell", "inventory": "mute"}, "does not have"),
        ("/try", {"do": "tell", "inventory.ValidateInventory": "dead"}, "does not have"),
        ("/try", {}, "does not have"),
    ],
)
async def test_what_is_not_understood_does_nothing(desk: Desk, path: str, fields: dict[str, str], said: str) -> None:
    order_id = await _order(desk)
    answer = await desk.post(path, **fields)
    assert (answer.status_code, said in answer.text) == (422, True), answer.text
    assert (await desk.service.saga(order_id))["history"] == []


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"quantity": "0"}, "quantity", "greater than or equal to 1"),
        ({"quantity": "1.5"}, "quantity", "integer"),
        ({"quantity": "many"}, "quantity", "integer"),
        ({"quantity": "1000001"}, "quantity", "1000000"),
        ({"quantity": "9" * 40}, "quantity", "integer"),
        ({"price": "1299,99"}, "price", "must be a decimal"),
        ({"price": "-1"}, "price", "must not be negative"),
        ({"price": "0.005"}, "price", "at most 2 decimals"),
        ({"price": "9999999999999999", "quantity": "1000"}, "price", "the total must have"),
        ({"productName": " "}, "productName", "must be filled in"),
        ({"productName": "x" * 201}, "productName", "at most 200"),
        ({"productName": "a\x00b"}, "productName", "U+0000"),
    ],
)
async def test_what_is_wrong_with_an_order_is_said_beside_its_field(
    desk: Desk, changed: dict[str, str], field: str, said: str
) -> None:
    before = await _orders(desk)
    typed = {"productName": "Laptop", "quantity": "1", "price": "1299.99"} | changed
    answer = await desk.post("/try", do="order", **typed)
    assert answer.status_code == 422
    _, _, beside = answer.text.partition(f'id="{field}-said">')
    assert said in beside.partition("</p>")[0], answer.text
    assert "aria-invalid" in answer.text.partition(f'id="{field}"')[2].partition(">")[0]
    assert await _orders(desk) == before


async def test_an_order_that_is_typed_is_the_one_that_is_placed(desk: Desk) -> None:
    name = "  <script>alert(1)</script> & “Söhne”  "
    answer = await desk.post("/try", do="order", productName=name, quantity="3", price=" 0.10 ")
    assert answer.status_code == 303
    order = (await desk.service.client.get(f"/api/orders/{answer.headers['location'].rpartition('/')[2]}")).json()
    [item] = order["items"]
    assert (item["productName"], item["quantity"], order["totalAmount"]) == (name, 3, "0.30")


async def test_a_saga_that_has_ended_says_why_nothing_can_be_done(desk: Desk) -> None:
    order_id = await _order(desk)
    await desk.service.happen(order_id, *HAPPY)
    for wish, why in (
        ("retry", "there is nothing to ask"),
        ("resolve", "no command is open"),
        ("compensate", "a completed order is not undone here"),
        ("cancel", "too late to cancel"),
    ):
        shown = await desk.service.client.get(f"/sagas/{order_id}/{wish}")
        assert (shown.status_code, "Not possible: " in shown.text, why in shown.text) == (200, True, True)
        assert "<button" not in shown.text.partition("<main")[2]


_NAMES = st.sampled_from(
    ["meant", "answer", "reason", "do", "after", "status", "ratePerSecond", "done", "productName", "quantity", "price",
     "inventory.ValidateInventory", "orderId", "routingKey", "x"]
)  # fmt: skip
_VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "nothing", "ValidateInventory", "yes", "failed", "order", "tell", "calm", "discard", "redrive",
                     "1", "1e308", "inf", "-0", "f" * 32, "\ud7ff", "\U0010ffff", "{{7*7}}", "<b>"]),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_sent_is_answered_in_words(desk: Desk, data: Any) -> None:
    """`Desk.send` sees that no answer is a 5xx."""
    fields = data.draw(st.dictionaries(_NAMES, _VALUES, max_size=5))
    raw = data.draw(st.one_of(st.none(), st.binary(max_size=30)))
    path = data.draw(st.sampled_from(PATHS)).format(id=uuid4())
    await desk.send(path, urlencode(fields).encode() if raw is None else raw)
