"""Logging a browser in: what it gets, what that is good for, and how it ends."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import text

from handlers.access.api_keys import Key, make_key, parse_keys
from handlers.access.authenticator import Access, Credential
from handlers.access.principal import Caller, Scope
from handlers.access.tokens import LEEWAY_SECONDS
from saga.domain import Policy
from tests.access.conftest import KEYS, OWNER, VISITORS, asking, header
from tests.access.issuer import token
from tests.dashboard.pages import Page
from tests.databases import Databases
from tests.http.conftest import Service, running
from tests.live.conversing import conversing

HERE = {"Origin": "http://localhost"}
NAME = "order-service-login"
OPERATOR = VISITORS["operator"] or ""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(databases: Databases, template: str) -> AsyncIterator[Service]:
    with databases.lent(template) as url:
        async with asking(url) as service:
            yield service


@asynccontextmanager
async def browser(service: Service, scheme: str = "http") -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody who has no cookie yet."""
    transport = httpx2.ASGITransport(app=service.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://localhost") as client:
        yield client


async def _log_in(client: httpx2.AsyncClient, presented: str = OPERATOR, **form: str) -> httpx2.Response:
    origin = {"Origin": str(client.base_url).rstrip("/")}
    return await client.post("/login", data={"credential": presented, **form}, headers=origin)


async def _rows(service: Service) -> list[tuple[str, str, bytes]]:
    async with service.sessions() as session:
        found = await session.execute(text("SELECT name, credential, digest FROM sessions ORDER BY created_at"))
        return [(row.name, row.credential, row.digest) for row in found]


async def _change(service: Service, what: str) -> None:
    async with service.sessions() as session, session.begin():
        await session.execute(text(f"UPDATE sessions SET {what}"))


# ------------------------------------------------------------------------------------------------------ the way there


async def test_a_page_leads_to_the_login_and_from_there_back(service: Service) -> None:
    async with browser(service) as client:
        sent_away = await client.get("/sagas?status=Started&limit=5")
        assert sent_away.status_code == 303
        login = sent_away.headers["location"]
        assert login == "./login?to=/sagas%3Fstatus%3DStarted%26limit%3D5"
        page = Page.of(await client.get(login), 200)
        to = page.one("input", name="to").attributes["value"]
        assert to == "/sagas?status=Started&limit=5"
        back = await _log_in(client, to=to)
        assert back.status_code == 303
        assert back.headers["location"] == "./sagas?status=Started&limit=5"
        assert (await client.get("/sagas")).status_code == 200


async def test_a_page_further_down_leads_to_the_same_login(service: Service) -> None:
    async with browser(service) as client:
        path = f"/sagas/{uuid4()}/retry"
        for answer in (await client.get(path), await client.post(path, data={"a": "b"}, headers=HERE)):
            assert answer.status_code == 303
            assert answer.headers["location"] == f"../../login?to={path}"


async def test_behind_a_prefix_the_way_is_the_same(service: Service) -> None:
    transport = httpx2.ASGITransport(app=service.app, root_path="/shop")
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost/shop") as client:
        answer = await client.get("/sagas?limit=5")
        login = httpx2.URL("http://localhost/shop/sagas").join(answer.headers["location"])
        assert (login.path, login.params["to"]) == ("/shop/login", "/sagas?limit=5")
        back = await client.post(
            "/login", data={"credential": OPERATOR, "to": "/sagas?limit=5"}, headers={"Origin": "http://localhost"}
        )
        assert login.join(back.headers["location"]).path == "/shop/sagas"
        assert (await client.get("/sagas")).status_code == 200


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "/\r\nSet-Cookie: x=y",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/" + "x" * 3000,
        "///evil.example",
        "/ä",
    ],
)
async def test_nobody_is_led_elsewhere(service: Service, to: str) -> None:
    async with browser(service) as client:
        assert (await _log_in(client, to=to)).headers["location"] == "./"
        assert (
            Page.of(await client.get("/login", params={"to": to}), 200).one("input", name="to").attributes["value"]
            == "/"
        )


@pytest.mark.parametrize("to", ["/sagas/../../../evil", "/./.", "/@evil.example", "/:80/"])
async def test_an_address_stays_below_ours_however_odd(service: Service, to: str) -> None:
    async with browser(service) as client:
        answer = await _log_in(client, to=to)
        assert answer.headers["location"].startswith("./")
        assert httpx2.URL("http://localhost/login").join(answer.headers["location"]).host == "localhost"


async def test_what_is_typed_is_nowhere_in_the_page(service: Service) -> None:
    async with browser(service) as client:
        answer = await _log_in(client, "ok_ops_mistyped")
        page = Page.of(answer, 401)
        assert "mistyped" not in answer.text
        assert page.one("input", id="credential").attributes["type"] == "password"
        assert "There is no such API key." in page.one(role="alert").words
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("visitor", ["service", "scraper", "subscriber", "owner"])
async def test_who_may_not_operate_is_not_logged_in(service: Service, visitor: str) -> None:
    async with browser(service) as client:
        answer = await _log_in(client, VISITORS[visitor] or "")
        assert answer.status_code == 403
        assert "operate" in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("visitor", ["expired key", "unknown key", "expired token", "wrong audience", "wrong issuer"])
async def test_who_is_nobody_is_not_logged_in(service: Service, visitor: str) -> None:
    async with browser(service) as client:
        answer = await _log_in(client, VISITORS[visitor] or "")
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "form", ["", "credential=", "to=/", "credential=%00", "credential=%FF", "credential=a&credential=b"]
)
async def test_a_form_with_something_else_in_it_logs_nobody_in(service: Service, form: str) -> None:
    async with browser(service) as client:
        headers = HERE | {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await client.post("/login", content=form, headers=headers)
        assert answer.status_code in {400, 401}
        assert "set-cookie" not in answer.headers


# -------------------------------------------------------------------------------------------------------- the cookie


@pytest.mark.parametrize(("scheme", "name"), [("http", NAME), ("https", f"__Host-{NAME}")])
async def test_the_cookie_is_for_our_own_pages_and_no_script(service: Service, scheme: str, name: str) -> None:
    async with browser(service, scheme) as client:
        answer = await _log_in(client)
        assert answer.status_code == 303, answer.text
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert cookie.key == name
        assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "strict", "/", "")
        assert bool(cookie["secure"]) is (scheme == "https")
        assert cookie["max-age"] == "43200"
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}\.[0-9a-f]{64}", cookie.value)
        assert ("strict-transport-security" in answer.headers) is (scheme == "https")
        assert answer.headers["cache-control"] == "no-store"


async def test_what_is_stored_is_neither_the_cookie_nor_the_credential(service: Service) -> None:
    async with browser(service) as client:
        cookie = SimpleCookie((await _log_in(client)).headers["set-cookie"])[NAME].value
        stored = repr(await _rows(service))
        assert "key:ops" in stored
        assert cookie not in stored
        assert OPERATOR.removeprefix("ok_ops_") not in stored


async def test_two_logins_are_two_and_an_old_cookie_is_not_kept(service: Service) -> None:
    """Nobody can give a browser a cookie beforehand, and be logged in with it."""
    async with browser(service) as client:
        client.cookies.set(NAME, "planted", domain="localhost.local")
        first = SimpleCookie((await _log_in(client)).headers["set-cookie"])[NAME].value
        second = SimpleCookie((await _log_in(client)).headers["set-cookie"])[NAME].value
        assert len({first, second, "planted"}) == 3


@pytest.mark.parametrize("value", ["", "x", "\x01", "ä", "x" * 60_000, "0" * 64])
async def test_a_cookie_that_is_none_leads_to_the_login(service: Service, value: str) -> None:
    async with browser(service) as client:
        cookie = {b"cookie": f"{NAME}={value}".encode()}
        assert (await client.get("/sagas", headers=cookie)).status_code == 303
        assert (await client.get("/api/sagas", headers=cookie)).status_code == 401


async def test_a_login_is_good_for_what_its_credential_is(service: Service) -> None:
    async with browser(service) as client:
        await _log_in(client)
        assert (await client.get("/api/sagas")).status_code == 200
        assert (await client.get("/metrics")).status_code == 403
        assert (await client.get(f"/api/orders/{uuid4()}")).status_code == 403
        # of another address than the page's
        assert (await client.get(f"/sagas/{uuid4()}/events")).status_code == 404


async def test_a_header_counts_before_the_cookie(service: Service) -> None:
    async with browser(service) as client:
        await _log_in(client)
        assert (await client.get("/api/sagas", headers=header(VISITORS["scraper"]))).status_code == 403
        assert (await client.get("/api/sagas", headers=header("nonsense"))).status_code == 401


async def test_a_person_logs_in_with_a_token(service: Service) -> None:
    async with browser(service) as client:
        assert (await _log_in(client, token(OWNER, "operate orders:read"))).status_code == 303
        page = Page.of(await client.get("/sagas"), 200)
        assert page.one("form", class_="who").words.startswith(f"user:{OWNER}")
        # still a person: of others' orders nothing is told
        assert (await client.get(f"/api/orders/{uuid4()}")).status_code == 404
        assert (await client.get(f"/api/orders/user/{uuid4()}")).status_code == 404


# ---------------------------------------------------------------------------------------------------------- the end


async def test_who_logs_out_is_out_and_so_is_whoever_copied_the_cookie(service: Service) -> None:
    async with browser(service) as client, browser(service) as thief:
        await _log_in(client)
        thief.cookies = client.cookies
        answer = await client.post("/logout", headers=HERE, data={"": ""})
        assert (answer.status_code, answer.headers["location"]) == (303, "./login")
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert (cookie.value, cookie["max-age"]) == ("", "0")
        assert (await thief.get("/sagas")).status_code == 303


async def test_every_page_has_a_way_out_and_says_who_is_in(service: Service) -> None:
    async with browser(service) as client:
        await _log_in(client)
        form = Page.of(await client.get("/sagas"), 200).one("form", class_="who")
        assert form.attributes["action"] == "./logout"
        assert form.words.startswith("key:ops")


async def test_a_login_ends_after_twelve_hours_and_no_row_stays(service: Service) -> None:
    async with browser(service) as client, browser(service) as other:
        await _log_in(client)
        await _change(service, "created_at = clock_timestamp() - interval '12 h', expires_at = clock_timestamp()")
        assert (await client.get("/sagas")).status_code == 303
        await _log_in(other)
        assert len(await _rows(service)) == 1


async def test_a_login_lasts_no_longer_than_its_credential(service: Service) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    async with browser(service) as client:
        await _log_in(client)
        await _log_in(client, token(OWNER, "operate", exp=soon))
    async with service.sessions() as session:
        rows = await session.execute(text("SELECT name, expires_at, created_at FROM sessions"))
        ends = {row.name: (row.expires_at, row.created_at) for row in rows}
    until, since = ends["key:ops"]
    assert timedelta(hours=11, minutes=59) < until - since <= timedelta(hours=12)
    assert abs(ends[f"user:{OWNER}"][0] - soon - timedelta(seconds=LEEWAY_SECONDS)) < timedelta(seconds=2)


async def test_a_token_logs_in_as_long_as_it_is_taken(service: Service) -> None:
    late = token(OWNER, "operate", exp=datetime.now(UTC) - timedelta(seconds=LEEWAY_SECONDS / 2))
    async with browser(service) as client:
        assert (await client.get("/api/sagas", headers=header(late))).status_code == 200
        assert (await _log_in(client, late)).status_code == 303
        assert (await client.get("/sagas")).status_code == 200


async def test_what_has_expired_by_the_databases_clock_logs_nobody_in(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def credential(*_: object) -> Credential:
        return Credential(Caller("key:ops", frozenset({Scope.OPERATE})), "ops", datetime.now(UTC))

    monkeypatch.setattr(Access, "credential", credential)
    before = await _rows(service)
    async with browser(service) as client:
        answer = await _log_in(client)
    assert answer.status_code == 401
    assert "expired" in answer.text
    assert "set-cookie" not in answer.headers
    assert await _rows(service) == before


async def test_a_removed_key_ends_its_logins_and_one_that_may_less_may_less(migrated: str) -> None:
    presented, entry = make_key("ops", [Scope.OPERATE, Scope.METRICS])
    kept, another = make_key("ops", [Scope.OPERATE])
    everything = parse_keys(f"{entry} {another}")
    narrow = tuple(Key(key.id, key.digest, key.scopes - {Scope.METRICS}, key.expires_at) for key in everything)
    wide = tuple(Key(key.id, key.digest, frozenset(Scope), key.expires_at) for key in everything)
    past = tuple(Key(key.id, key.digest, key.scopes, datetime(2020, 1, 1, tzinfo=UTC)) for key in everything)
    async with asking(migrated, everything) as service, browser(service) as client, browser(service) as other:
        await _log_in(client, presented)
        await _log_in(other, kept)
        cookies, others = client.cookies, other.cookies
    for keys, page, metrics in (
        (everything, 200, 200),
        (narrow, 200, 403),
        # what a key may since is for whoever logs in since
        (wide, 200, 200),
        (past, 303, 401),
        (everything[1:], 303, 401),
    ):
        async with asking(migrated, keys) as service, browser(service) as client:
            client.cookies = cookies
            assert (await client.get("/sagas")).status_code == page
            assert (await client.get("/metrics")).status_code == metrics
            assert (await client.get(f"/api/orders/{uuid4()}")).status_code == (401 if page == 303 else 403)
            client.cookies = others
            assert (await client.get("/sagas")).status_code == (303 if keys is past else 200)


async def test_while_the_database_is_away_nobody_is_out(migrated: str) -> None:
    async with asking("postgresql+asyncpg://nobody@127.0.0.1:1/nothing") as homeless, browser(homeless) as client:
        client.cookies.set(NAME, f"{'x' * 43}.{'0' * 64}", domain="localhost.local")
        assert (await client.get("/sagas")).status_code == 503
        assert (await client.get("/api/sagas")).status_code == 503
        assert (await _log_in(client)).status_code == 503
        # a key needs no database
        assert (await client.get("/health/live")).status_code == 200


# ------------------------------------------------------------------------------------------------------ other pages


ELSEWHERE: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "same-site"},
)


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
async def test_a_page_from_elsewhere_logs_nobody_in_or_out(service: Service, headers: dict[str, str]) -> None:
    async with browser(service) as client:
        form = {"credential": OPERATOR}
        answer = await client.post("/login", data=form, headers=headers)
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        await _log_in(client)
        assert (await client.post("/logout", data={}, headers=headers)).status_code == 403
        assert (await client.get("/sagas")).status_code == 200


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/sagas/{}/retry"),
        ("POST", "/api/sagas/retry"),
        ("DELETE", "/api/dead-letters/{}?reason=x"),
        ("POST", "/sagas/{}/retry"),
        ("POST", "/try"),
    ],
)
async def test_what_a_browser_keeps_does_nothing_for_pages_from_elsewhere(
    service: Service, method: str, path: str, headers: dict[str, str]
) -> None:
    async with browser(service) as client:
        await _log_in(client)
        answer = await client.request(method, path.format(uuid4()), headers=headers)
        assert answer.status_code == 403
        ours = await client.request(method, path.format(uuid4()), headers=HERE)
        assert ours.status_code != 403


async def test_a_page_of_ours_follows_over_a_websocket_and_no_other(service: Service, migrated: str) -> None:
    presented, entry = make_key("ops", [Scope.OPERATE, Scope.ORDERS_READ_ANY])
    async with asking(migrated, (*KEYS, *parse_keys(entry))) as reading, browser(reading) as client:
        await _log_in(client, presented)
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        for headers, status in (
            ({"origin": "http://localhost:5002"}, 404),
            ({"origin": "http://evil.example"}, 403),
            ({}, 403),
        ):
            async with conversing(reading.app, str(uuid4()), cookie=cookie, **headers) as socket:
                assert (await socket.denied())["status"] == status


# ----------------------------------------------------------------------------------------------------- without access


async def test_where_nothing_is_configured_there_is_no_login(migrated: str) -> None:
    async with running(migrated, Policy()) as service, browser(service) as client:
        for answer in (await client.get("/login"), await _log_in(client)):
            assert (answer.status_code, answer.headers["location"]) == (303, "./")
            assert "set-cookie" not in answer.headers
        assert not Page.of(await client.get("/sagas"), 200).all("form", class_="who")
