"""Nothing that somebody shows to be let in comes out of the service, nor anything of webhooks and who gets them.

As in `test_canaries`, with keys, tokens, logins, an issuer, and a receiver that answers all kinds of things.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from starlette.responses import Response

from handlers.access.api_keys import make_key
from handlers.access.principal import Scope
from tests.access.conftest import PAST, header
from tests.access.issuer import AUDIENCE, ISSUER, token
from tests.access.test_published_keys import Issuer
from tests.collector import Collector
from tests.http.conftest import listening
from tests.logs.crowd import Crowd
from tests.service import Service, told
from tests.waiting import until
from tests.webhooks.receiving import receiver

BREAK = """
    CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE it text := to_jsonb(NEW)::text;
    BEGIN
        IF it LIKE '%break-mistake%' THEN
            RAISE EXCEPTION 'cannot take %', it USING DETAIL = it, HINT = it;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER mistake BEFORE INSERT ON webhooks FOR EACH ROW EXECUTE FUNCTION break();
    CREATE TRIGGER mistake BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION break();
"""
EVERY = " ".join(Scope)
MADE = {"right": make_key("right", Scope), "old": make_key("old", Scope, PAST), "few": make_key("few", [Scope.METRICS])}


class Newcomers(Crowd):
    """A crowd that shows something to be let in."""

    def key(self, name: str) -> str:
        """A key: whose it is may be told, and nothing else of it."""
        presented, entry = MADE[name]
        self.canaries.secret(f"key {name}", presented.removeprefix(f"ok_{name}_"))
        self.canaries.secret(f"digest of key {name}", entry.split(":")[1])
        return presented

    def token(self, where: str, sub: str | None = None, **changed: object) -> str:
        """A token with canaries in it; it is one itself."""
        sub = sub or str(self.canaries.id(f"{where}: sub"))
        presented = token(sub, EVERY, email=self.word(f"{where}: email"), jti=self.word(f"{where}: jti"), **changed)
        for part in presented.split(".")[1:]:
            self.canaries.secret(f"{where}: token", part)
        return presented


@pytest.fixture
async def issuer() -> AsyncIterator[tuple[Issuer, str]]:
    issuer = Issuer()
    async with listening(issuer.app) as url:
        yield issuer, f"{url}/keys"


@pytest.fixture
def answers() -> list[bytes]:
    """What the receiver of webhooks says, one after the other, the last for ever."""
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]


@pytest.fixture
async def received(answers: list[bytes]) -> AsyncIterator[int]:
    """The port of a receiver of webhooks."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0) if len(answers) > 1 else answers[0])
        await writer.drain()
        writer.close()

    async with receiver(say) as here:
        yield here.port


@pytest.fixture
async def crowd(  # noqa: PLR0917 - the whole town
    migrated: str, vhost: str, tmp_path: Path, collector: Collector, issuer: tuple[Issuer, str], received: int
) -> AsyncIterator[Newcomers]:
    asked, garbled = (f"canary{uuid4().hex}" for _ in range(2))
    secrets = {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost}
    access = {
        "API_KEYS": " ".join(entry for _, entry in MADE.values()),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_JWKS_URL": f"{issuer[1]}?{asked}",
    }
    others = {
        "WEBHOOK_ALLOW": f"127.0.0.1:{received}",
        "WEBHOOK_RETRY_SECONDS": ",".join(["0.1"] * 20),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    issuer[0].answer = Response(f'{{"{garbled}'.encode())
    async with _running(tmp_path, secrets | access | others) as service, await aio_pika.connect(vhost) as connection:
        database = await asyncpg.connect(migrated.replace("+asyncpg", ""))
        await database.execute(BREAK)
        crowd = Newcomers(service, database, await connection.channel(), secrets)
        crowd.canaries.secret("JWT_JWKS_URL", asked)
        crowd.canaries.secret("the issuer's answer", garbled)
        await crowd.hears("the keys that tokens are signed with cannot be fetched; those known are kept")
        issuer[0].answer = None
        async with crowd.client:
            yield crowd
        await database.close()


@asynccontextmanager
async def _running(home: Path, environment: dict[str, str]) -> AsyncIterator[Service]:
    service = Service(home, environment, app="tests.logs.verbose:app")
    try:
        await service.ready()
        yield service
    finally:
        service.stop()


async def credentials(crowd: Newcomers) -> None:
    """Keys and tokens, right and wrong."""
    word, body = crowd.word, crowd.order("order")
    right = header(crowd.key("right"))
    placed = await crowd.ask("POST", "/api/orders", "with a key", body, right)
    assert placed.status_code == 201, placed.text
    here = f"/api/orders/{placed.json()['id']}"
    person = crowd.token("a person", sub=body["userId"])

    async def let_in() -> bool:
        return (await crowd.ask("GET", here, "with a token", headers=header(person))).status_code == 200

    await until(let_in)
    named = right | {"X-Operator": word("X-Operator of an operator")}
    retried = await crowd.ask("POST", f"/api/sagas/{placed.json()['id']}/retry", "retry", {}, named)
    assert retried.status_code in (200, 409), retried.text
    cancelled = await crowd.ask("POST", f"{here}/cancel", "cancel", {}, header(person))
    assert cancelled.status_code == 202, cancelled.text
    odd = crowd.token("no customer", sub=f"auth0|{word('sub')}")
    assert (await crowd.ask("GET", "/api/sagas", "no customer", headers=header(odd))).status_code == 200
    assert (await crowd.ask("GET", here, "another's", headers=header(crowd.token("another")))).status_code == 200
    assert (await crowd.ask("GET", here, "too few scopes", headers=header(crowd.key("few")))).status_code == 403
    signature = crowd.token("a spoilt token")[:-8] + "AAAAAAAA"
    for presented in (
        crowd.key("old"),
        f"ok_right_{word('mistyped')}",
        f"ok_{word('an id')}_secret",
        word("no credential"),
        crowd.token("expired", exp=PAST),
        crowd.token("for others", aud=word("aud")),
        crowd.token("of others", iss=word("iss")),
        signature,
    ):
        assert (await crowd.ask("GET", here, "refused", headers=header(presented))).status_code == 401


async def logins(crowd: Newcomers) -> None:
    """Browsers that log in and out, and some that try to."""
    ours = {"Origin": crowd.service.url}
    for presented in (MADE["right"][0], crowd.token("who logs in")):
        form = {"credential": presented, "to": f"/sagas?{crowd.word('to')}", crowd.word("field"): crowd.word("value")}
        entered = await crowd.client.post("/login", data=form, headers=ours)
        assert entered.status_code == 303, entered.text
        cookie = crowd.canaries.secret("cookie", next(iter(crowd.client.cookies.values())))
        for path in ("/", "/sagas", f"/{crowd.word('path of a page')}"):
            await crowd.client.get(path)
        crowd.client.cookies.clear()
        shown = ours | {"Cookie": f"order-service-login={cookie}"}
        assert (await crowd.client.post("/logout", data={"a": "b"}, headers=shown)).status_code == 303
        assert (await crowd.client.get("/sagas", headers=shown)).headers["location"].startswith("./login?to=")
    crowd.client.cookies.clear()
    for presented, status in (
        (crowd.word("no credential"), 401),
        (MADE["old"][0], 401),
        (MADE["few"][0], 403),
        # PostgreSQL refuses to keep it, and quotes it
        (crowd.token("a mistake", sub=f"break-mistake {crowd.word('sub')}"), 500),
    ):
        answer = await crowd.client.post("/login", data={"credential": presented}, headers=ours)
        assert answer.status_code == status, answer.text


async def webhooks(crowd: Newcomers, answers: list[bytes], port: int) -> None:
    """Endpoints, some of which cannot be; and what a receiver says to what it is sent."""
    word, right = crowd.word, header(MADE["right"][0])
    wanted = {"events": ["order.created", "order.failed"], "description": word("description")}
    for host, status in (
        (f"{word('user')}:{word('password')}@127.0.0.1:{port}", 422),
        (f"{word('host')}.invalid", 422),
        ("127.0.0.1:1", 422),
        (f"127.0.0.1:{port}", 201),
    ):
        url = f"http://{host}/{word('path of a webhook')}?{word('query of a webhook')}"
        made = await crowd.ask("POST", "/api/webhooks", "webhook", wanted | {"url": url}, right)
        assert made.status_code == status, made.text
    crowd.canaries.secret("secret", made.json()["secret"].removeprefix("whsec_"))
    here = f"/api/webhooks/{made.json()['id']}"
    broken = wanted | {"url": f"http://127.0.0.1:{port}/", "description": f"break-mistake {word('broken webhook')}"}
    assert (await crowd.ask("POST", "/api/webhooks", "mistake", broken, right)).status_code == 500
    again = await crowd.ask("POST", f"{here}/rotate-secret", "rotate", headers=right)
    crowd.canaries.secret("new secret", again.json()["secret"].removeprefix("whsec_"))
    head = f"Content-Type: {word('content type')}\r\nSet-Cookie: a={word('set-cookie')}\r\nContent-Length: 60\r\n\r\n"
    answers[:0] = [
        f"HTTP/1.1 500 {word('reason phrase')}\r\n{head}{word('body of 500'):60}".encode(),
        f"HTTP/1.1 302 Found\r\nLocation: /{word('location')}\r\n{head}{word('body of 302'):60}".encode(),
        f"HTTP/1.1 {word('no status')}\r\n\r\n".encode(),
        f"{word('no HTTP')}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{word('no header')}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nContent-Length: {word('no length')}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n{head}{word('not gzip'):60}".encode(),
    ]
    placed = await crowd.ask("POST", "/api/orders", "order with a webhook", crowd.order("order with a webhook"), right)
    assert placed.status_code == 201, placed.text

    async def delivered() -> bool:
        log = (await crowd.client.get(f"{here}/deliveries", headers=right)).json()["items"]
        return bool(log) and log[-1]["status"] == "delivered"

    await until(delivered)
    assert len(answers) == 1
    for action in ("ping", "deliveries"):
        await crowd.ask("POST" if action == "ping" else "GET", f"{here}/{action}", action, headers=right)
    assert (await crowd.ask("DELETE", here, "delete", headers=right)).status_code == 204


async def test_no_canary_of_what_is_shown_or_sent_comes_out(
    crowd: Newcomers, collector: Collector, answers: list[bytes], received: int
) -> None:
    await credentials(crowd)
    await logins(crowd)
    await webhooks(crowd, answers, received)
    metrics = await crowd.client.get("/metrics", headers=header(MADE["few"][0]))
    assert metrics.status_code == 200
    crowd.service.stop()
    readable = {
        "the log": crowd.service.log.read_bytes(),
        "/metrics": metrics.content,
        "the traces": b"".join(collector.raw),
    }
    assert crowd.canaries.found_in(readable) == []
    assert {span.service for span in collector.spans} == {"order-service"}
    loggers = {line["logger"] for line in told(crowd.service.log)}
    assert {"httpcore2.connection", "sqlalchemy.engine.Engine", "handlers.http.access_log"} <= loggers
