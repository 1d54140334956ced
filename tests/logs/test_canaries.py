"""No name, item, price, reason or secret comes out of the service where it does not belong, whatever goes wrong.

Every field in which somebody else can write has a word of its own; whatever can break is broken, since that is when
values leak; every logger of every library says all that it can. Then none of the words is in what operators read.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import aio_pika
import asyncpg
import pytest

from saga.telemetry.redaction import KNOWN
from tests.collector import Collector
from tests.logs.crowd import Crowd
from tests.service import Service, told

# what PostgreSQL refuses it quotes, in its message and beside it
BREAK = """
    CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE it text := to_jsonb(NEW)::text;
    BEGIN
        IF TG_TABLE_NAME = 'order_sagas' THEN
            it := (SELECT items::text FROM orders WHERE id = NEW.order_id);
        END IF;
        IF it LIKE '%' || TG_ARGV[0] || '%' THEN
            RAISE EXCEPTION 'cannot take %', it USING ERRCODE = TG_ARGV[1], DETAIL = it, HINT = it;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER mistake BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION break('break-mistake', 'P0001');
    CREATE TRIGGER data BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION break('break-data', '22023');
    CREATE TRIGGER due BEFORE UPDATE ON order_sagas FOR EACH ROW EXECUTE FUNCTION break('break-deadline', 'P0001');
    CREATE TRIGGER data BEFORE INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION break('break-letter', '22023');
"""
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
SPOIL = "UPDATE orders SET items = jsonb_set(items, '{0,productId}', to_jsonb($1::text)) WHERE id = $2"
SOON = {"SAGA_STEP_TIMEOUT_SECONDS": "0.3", "SAGA_RETRY_DELAY_SECONDS": "0.1", "SAGA_REASK_SECONDS": "1"}
CREATE = "domain.order.CreateOrder"


@pytest.fixture
def service(tmp_path: Path, migrated: str, vhost: str, collector: Collector) -> Iterator[Service]:
    addresses = {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    service = Service(tmp_path, addresses | SOON, app="tests.logs.verbose:app")
    yield service
    service.stop()


@pytest.fixture
async def crowd(service: Service, migrated: str, vhost: str) -> AsyncIterator[Crowd]:
    database = await asyncpg.connect(migrated.replace("+asyncpg", ""))
    await database.execute(BREAK)
    await service.ready()
    async with await aio_pika.connect(vhost) as connection:
        secrets = {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost}
        crowd = Crowd(service, database, await connection.channel(), secrets)
        async with crowd.client:
            yield crowd
    await database.close()


async def orders(crowd: Crowd) -> None:
    """What clients and operators ask for over HTTP, understood and not."""
    word = crowd.word
    key = {"Idempotency-Key": word("Idempotency-Key")}
    body = crowd.order("order")
    placed = await crowd.ask("POST", "/api/orders", "order", body, key)
    assert placed.status_code == 201, placed.text
    other = crowd.order("another order") | {"userId": body["userId"]}
    assert (await crowd.ask("POST", "/api/orders", "another order", other, key)).status_code == 422
    here = f"/api/orders/{placed.json()['id']}"
    for path in (here, f"{here}/saga", f"/api/orders/user/{body['userId']}", "/api/sagas", f"/{word('path')}"):
        await crowd.ask("GET", path, "path")
    await crowd.ask("GET", f"/api/orders/{word('order id')}", "order id")
    await crowd.ask(word("method"), "/api/orders", "method")
    cancelled = await crowd.ask("POST", f"{here}/cancel", "cancel", {"reason": word("cancel: reason")})
    assert cancelled.status_code == 202, cancelled.text
    for action, more in (("retry", {}), ("resolve", {"outcome": "failed"}), ("compensate", {})):
        path = f"/api/sagas/{placed.json()['id']}/{action}"
        await crowd.ask("POST", path, action, {"reason": word(f"{action}: reason"), **more})
    for bad in (
        [word("a list")],
        {"userId": word("no userId"), "items": [{"quantity": word("no quantity"), "price": word("no price")}]},
        f'{{"{word("cut off")}'.encode(),
        f"{{{2 * (repr(word('repeated key')) + ': 1,')}}}".replace("'", '"').encode(),
        word("no UTF-8").encode() + b"\xff",
    ):
        assert (await crowd.ask("POST", "/api/orders", "bad body", bad)).status_code in (400, 422)


async def messages(crowd: Crowd) -> None:
    """What clients and participants say on the bus, and what cannot be handled."""
    word, ids = crowd.word, {"eventId": str(uuid4()), "orderId": str(uuid4())}
    await crowd.say(CREATE, crowd.order("CreateOrder", **ids), "CreateOrder")
    said = {name: word(f"reply: {name}") for name in ("message", "reason", "occurredAt")}
    for reply in ("inventory.InventoryValidated", "inventory.InventoryReserved", "billing.PaymentFailed"):
        await crowd.say(f"domain.{reply}", ids | said | {"eventId": str(uuid4())}, reply)
    await crowd.say("domain.order.CancelOrder", ids | {"reason": word("CancelOrder: reason")}, "CancelOrder")
    twice = word("CreateOrder: repeated key")
    for reason, body in (
        ("unreadable", word("CreateOrder: no JSON").encode()),
        ("unreadable", f'{{"{twice}": 1, "{twice}": 2}}'.encode()),
        ("invalid", {"eventId": word("no eventId"), "userId": word("no userId"), "orderId": word("no orderId")}),
        ("different_content", crowd.order("CreateOrder again", **ids)),
    ):
        await crowd.say(CREATE, body, reason)
        await crowd.hears("a message cannot be handled", routing_key=CREATE, reason=reason)
        await crowd.hears("stored a dead letter", routing_key=CREATE, reason=reason)
    unknown = {"eventId": str(uuid4()), "orderId": str(uuid4())}
    await crowd.say("domain.billing.PaymentProcessed", unknown, "unknown order")
    await crowd.hears("a message cannot be handled", reason="unknown_order", order_id=unknown["orderId"])


async def letters(crowd: Crowd) -> None:
    """Dead letters from whoever can reach their exchange, and what is done about them."""
    word = crowd.word
    claims = {f"x-dead-letter-{name}": word(f"letter: {name}") for name in ("reason", "error", "exchange")}
    body = {"orderId": word("letter: orderId")}
    await crowd.say(word("letter: routing key"), body, "letter", "order-service.dlx", **claims)
    await crowd.hears("stored a dead letter", routing_key="(withheld)", reason="unknown")
    await crowd.say(CREATE, b"", "bad letter", "order-service.dlx", bad="break-letter")
    await crowd.hears("PostgreSQL refuses the headers of a dead letter; storing it without them")
    first, *_, last = (await crowd.client.get("/api/dead-letters")).json()["items"]
    discarded = await crowd.client.delete(f"/api/dead-letters/{first['id']}?reason={word('discard: reason')}")
    assert discarded.status_code == 200, discarded.text
    await crowd.ask("POST", f"/api/dead-letters/{last['id']}/redrive", "redrive")


async def failures(crowd: Crowd) -> None:
    """Mistakes of ours, rows that PostgreSQL refuses, a deadline that cannot be met, a database that is away."""
    for breaks, status in (("break-mistake", 500), ("break-data", 422)):
        assert (await crowd.ask("POST", "/api/orders", breaks, crowd.order(breaks, breaks))).status_code == status
    await crowd.hears("Exception in ASGI application", method="POST", route="/api/orders")
    ids = {"eventId": str(uuid4()), "orderId": str(uuid4())}
    await crowd.say(CREATE, crowd.order("mistake on the bus", "break-mistake", **ids), "mistake on the bus")
    await crowd.hears("a message failed; giving it back", order_id=ids["orderId"])
    data = crowd.order("data on the bus", "break-data", eventId=str(uuid4()))
    await crowd.say(CREATE, data, "data on the bus")
    await crowd.hears("a message cannot be handled", reason="refused_by_database")
    stuck = await crowd.ask("POST", "/api/orders", "stuck", crowd.order("stuck", "break-deadline"))
    await crowd.hears("a deadline cannot be carried out; leaving it alone", order_id=stuck.json()["id"])
    spoilt = (await crowd.ask("POST", "/api/orders", "spoilt", crowd.order("spoilt"))).json()["id"]
    await crowd.database.execute(SPOIL, crowd.word("stored productId"), spoilt)
    await crowd.hears("a deadline cannot be carried out; leaving it alone", order_id=spoilt, error="ValidationError")
    await crowd.database.execute("DROP TRIGGER mistake ON orders")
    await crowd.database.execute(CUT, crowd.database.get_server_pid())
    await crowd.ask("POST", "/api/orders", "outage", crowd.order("outage"))
    await crowd.hears("the database is away; trying again")
    await crowd.hears("the database is back")


async def test_no_canary_comes_out(crowd: Crowd, collector: Collector) -> None:
    for happens in (orders, messages, letters, failures):
        await happens(crowd)
    # all that operators read of the service, and others after them
    metrics = (await crowd.client.get("/metrics")).content
    crowd.service.stop()
    readable = {
        "the log": crowd.service.log.read_bytes(),
        "/metrics": metrics,
        "the traces": b"".join(collector.raw),
    }
    assert crowd.canaries.found_in(readable) == []
    assert collector.raw

    lines = told(crowd.service.log)
    always = {"timestamp", "level", "logger", "event"}
    assert [line for line in lines if not always <= line.keys() <= always | KNOWN.keys() | {"exception"}] == []
    # those who know the values have spoken; a request is told once, by us
    loggers = {line["logger"] for line in lines}
    assert {"aiormq.connection", "sqlalchemy.engine.Engine", "uvicorn.error", "handlers.http.access_log"} <= loggers
    assert "uvicorn.access" not in loggers
