"""Whatever comes in at whatever door, the service goes on answering others."""

import asyncio
import http.client
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aio_pika
import httpx2
import pytest

from handlers.bus.amqp_json import MAX_TABLE_BYTES
from handlers.dashboard.forms import MAX_FORM_BYTES
from handlers.http.connections import MAX_HEAD_BYTES
from handlers.http.json_body import MAX_ACTION_BYTES, MAX_ORDER_BYTES
from local.host import LOOPBACK
from models.messages import MAX_BODY_BYTES
from tests.cost.test_growth import BODIES
from tests.direct import Direct
from tests.faults.metrics import metrics
from tests.service import Service, complaints
from tests.system.conftest import order_body
from tests.waiting import until

pytestmark = pytest.mark.long

WITHIN = 1.0
"""Seconds in which others are answered meanwhile."""
ROUNDS = 5
"""A busy machine may keep anybody waiting; work that freezes the service does so every time."""
HOST = b"Host: 127.0.0.1\r\nConnection: close\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"


def posted(path: str, body: bytes, head: bytes = JSON) -> bytes:
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path.encode(), head, len(body), body)


def asked(path: str, header: bytes = b"") -> bytes:
    line = b"GET %b HTTP/1.1\r\n%b" % (path.encode(), HOST)
    return line + (b"%b\r\n" % header if header else b"") + b"\r\n"


def filled(piece: bytes, beside: int = 400) -> bytes:
    room = MAX_HEAD_BYTES - beside
    return (piece * (room // len(piece) + 1))[:room]


ORDERS = {f"an order of {name}": posted("/api/orders", make(MAX_ORDER_BYTES - 8_192)) for name, make in BODIES.items()}
UNKNOWN = BODIES["many keys"](MAX_ACTION_BYTES)
FORM = HOST + b"Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://127.0.0.1\r\n"
REQUESTS: dict[str, bytes] = ORDERS | {
    "a subscription of unknown fields": posted("/api/webhooks", UNKNOWN),
    "a bulk retry of unknown fields": posted("/api/sagas/retry", UNKNOWN),
    "a bulk redrive of unknown fields": posted("/api/dead-letters/redrive", UNKNOWN),
    "an order over every limit": posted("/api/orders", b" " * (MAX_BODY_BYTES + 1)),
    "an order in pieces of a byte": b"POST /api/orders HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n"
    % (JSON, b"1\r\n \r\n" * 100_000),
    "a form of many fields": posted("/try", (b"a=b&" * MAX_FORM_BYTES)[:MAX_FORM_BYTES], FORM),
    "a form of escapes": posted("/try", b"userId=" + b"%41" * (MAX_FORM_BYTES // 3 - 10), FORM),
    "a query of many names": asked(f"/api/sagas?{filled(b'a&').decode()}"),
    "a query of escapes": asked(f"/api/sagas?userId={filled(b'%41').decode()}"),
    "a path without end": asked(f"/api/orders/{filled(b'a/').decode()}"),
    "many cookies": asked("/api/sagas", b"Cookie: " + filled(b"a=b; ")),
    "many ranges": asked("/assets/swagger-ui.js", b"Range: bytes=" + filled(b"0-0,")),
    "many ETags": asked("/api/sagas", b"If-None-Match: " + filled(b'"x",')),
    "many preferences": asked("/api/sagas", b"Prefer: " + filled(b"wait=1,")),
    "many headers": asked("/api/sagas", filled(b"a: b\r\n", 402)[:-2]),
    "a long list": asked("/api/sagas?limit=100"),
    "the contract": asked("/openapi.json"),
    "readiness": asked("/health/ready"),
}
MESSAGES: dict[str, tuple[bytes, dict[str, Any]]] = {
    **{name: (make(MAX_BODY_BYTES - 8_192), {}) for name, make in BODIES.items()},
    "properties without end": (b"{}", {"x": [None] * (MAX_TABLE_BYTES // 2)}),
}

UPGRADE = (
    b"Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
FRAMES = {
    "texts without a word": b"\x81\x80mask" * 100_000,
    "pings": b"\x89\x80mask" * 100_000,
    "one text that goes on": b"\x01\x80mask" + b"\x00\x80mask" * 100_000,
}
"""Frames of six bytes, as a client masks them."""


@contextmanager
def somebody_else(port: int) -> Iterator[list[float]]:
    """Asks all the time whether the service lives; the seconds that each answer took."""
    seconds: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            begin = time.monotonic()
            connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200
            connection.close()
            seconds.append(time.monotonic() - begin)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seconds
    finally:
        over.set()
        asking.join()


async def send(port: int, sent: bytes) -> bytes:
    """Send a request, and read the answer to its end; its status, or nothing where the service hung up instead."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(sent)
        answer = await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
    return answer.partition(b" ")[2][:3]


@pytest.fixture
async def direct(migrated: str) -> AsyncIterator[Direct]:
    direct = Direct(migrated)
    yield direct
    await direct.close()


async def test_hostile_requests_keep_nobody_waiting(process: Service) -> None:
    await process.ready()
    slowest: dict[str, float] = dict.fromkeys(REQUESTS, 60.0)
    for _ in range(ROUNDS):
        for name in [name for name, seconds in slowest.items() if seconds >= WITHIN]:
            with somebody_else(process.port) as seconds:
                answers = await asyncio.gather(*(send(process.port, REQUESTS[name]) for _ in range(3)))
            assert {answer[:1] for answer in answers} <= {b"2", b"4", b""}, (name, answers)
            slowest[name] = max(seconds, default=0.0)
    assert {name: seconds for name, seconds in slowest.items() if seconds >= WITHIN} == {}
    assert complaints(process.log) == []
    async with httpx2.AsyncClient(base_url=process.url) as client:
        told = metrics((await client.get("/metrics")).text)
    assert sum(told["order_service_event_loop_lag_seconds_count"].values()) > 0


async def test_hostile_frames_keep_nobody_waiting(process: Service) -> None:
    await process.ready()
    async with httpx2.AsyncClient(base_url=process.url) as client:
        order_id = (await client.post("/api/orders", json=order_body())).json()["id"]
    slowest: dict[str, float] = dict.fromkeys(FRAMES, 60.0)
    for _ in range(ROUNDS):
        for name in [name for name, seconds in slowest.items() if seconds >= WITHIN]:
            with somebody_else(process.port) as seconds:
                await asyncio.gather(*(chatter(process.port, order_id, FRAMES[name]) for _ in range(3)))
            slowest[name] = max(seconds, default=0.0)
    assert {name: seconds for name, seconds in slowest.items() if seconds >= WITHIN} == {}
    assert complaints(process.log) == []


async def chatter(port: int, order_id: str, frames: bytes) -> None:
    """Follow an order, and say something all the time, until the service hangs up."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET /api/orders/%b/ws HTTP/1.1\r\n%b\r\n" % (order_id.encode(), UPGRADE))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    with suppress(ConnectionError, TimeoutError):
        writer.write(frames)
        async with asyncio.timeout(30):
            await reader.read()
    writer.close()


async def test_hostile_messages_keep_nobody_waiting(process: Service, vhost: str, direct: Direct) -> None:
    await process.ready()
    async with await aio_pika.connect(vhost) as connection:
        exchange = await (await connection.channel()).get_exchange("domain")
        published = 0

        async def refused() -> bool:
            stored = await direct.rows("SELECT count(*) AS letters FROM dead_letters")
            return bool(stored[0]["letters"] >= published)

        slowest: dict[str, float] = dict.fromkeys(MESSAGES, 60.0)
        for _ in range(ROUNDS):
            for name in [name for name, seconds in slowest.items() if seconds >= WITHIN]:
                body, headers = MESSAGES[name]
                with somebody_else(process.port) as seconds:
                    for key in ("domain.order.CreateOrder", "domain.billing.PaymentFailed"):
                        published += 1
                        message = aio_pika.Message(body, headers=headers, message_id=str(published))
                        await exchange.publish(message, routing_key=key)
                    await until(refused, 60)
                slowest[name] = max(seconds, default=0.0)
    assert {name: seconds for name, seconds in slowest.items() if seconds >= WITHIN} == {}
