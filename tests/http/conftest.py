"""The HTTP API on a real PostgreSQL with a running engine, called through ASGI."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from starlette.types import ASGIApp

from handlers.access.authenticator import Access
from handlers.access.middleware import guarded
from handlers.access.rate_limits import Limits
from handlers.api.app import http_api
from handlers.api.exposition import Exposition
from handlers.api.sagas import operating_routes
from handlers.bus.publisher import Bus
from handlers.bus.trusted_senders import Senders
from handlers.dashboard.pages.login import refusing_pages
from handlers.dashboard.pages.stand_ins import StandIns
from handlers.dashboard.routes import dashboard_routes
from handlers.dead_letters.routes import dead_letter_routes
from handlers.dead_letters.service import Letters
from handlers.live.routes import live_routes
from handlers.live.snapshots import Snapshots
from handlers.live.streams import Followers
from handlers.live.watcher import Watch
from handlers.webhooks.routes import webhook_routes
from handlers.webhooks.service import Webhooks
from saga import store
from saga.domain import Decision, Event, Policy, when_due
from saga.engine import Engine
from saga.runtime.database import Sessions, connect, sessions, statements
from saga.transitions import Signal
from saga.webhooks.client import Sender
from saga.webhooks.secret_wrapping import Wrapping
from saga.webhooks.ssrf import Address, allowances
from tests.waiting import until
from tests.webhooks.receiving import NOBODY_TRUSTED

HOOKS = "https://hooks.shop.com/orders"
"""Where webhooks may go, as far as tests know: nothing is sent, and no name server asked."""
RECEIVER = "http://127.0.0.1:9/hooks"
"""Where they may go since a setting lets them."""
ASYNCAPI: dict[str, Any] = {"asyncapi": "3.0.0", "info": {"title": "Order service", "version": "1.0.0"}}
LIMITS = Limits()
STAND_INS = {"nobody": "http://127.0.0.1:9"}
"""There is a playground, and nobody in it."""
HAPPY = (Signal.INVENTORY_VALIDATED, Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED)


def order_body(**changed: Any) -> dict[str, Any]:
    """The body of an order like no other."""
    item = {"productId": str(uuid4()), "productName": "Laptop", "quantity": 1, "price": "1299.99"}
    return {"userId": str(uuid4()), "items": [item]} | changed


async def resolve(name: str) -> list[Address]:
    """The addresses of names, as far as tests know them."""
    return [
        ip_address(address)
        for address in {"hooks.shop.com": ["93.184.216.34"], "in.shop.com": ["10.0.0.1"]}.get(name, [])
    ]


class WitnessedWatch(Watch):
    """A watch that tells when somebody begins to wait, and counts its looks."""

    def __init__(self, sessions: Sessions) -> None:
        self.looks = 0

        def counted() -> Any:
            self.looks += 1
            return sessions()

        super().__init__(counted, tick=0.01)  # type: ignore[arg-type]
        self.arrived = asyncio.Semaphore(0)

    async def changed(self, order_id: UUID, what: Literal["order", "saga"], seen: datetime | None) -> None:
        waiting = asyncio.ensure_future(super().changed(order_id, what, seen))
        # the first step of the wait registers it
        await asyncio.wait([waiting], timeout=0)
        self.arrived.release()
        try:
            await waiting
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])


@dataclass
class Service:
    """What a test calls and looks at."""

    client: httpx2.AsyncClient
    app: ASGIApp
    """With the guard at its door."""
    api: FastAPI
    engine: Engine
    sessions: Sessions
    watch: WitnessedWatch
    followers: Followers
    missing: list[str] = field(default_factory=list)
    """What the checks of readiness find."""
    announced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something waits for the courier since somebody asked for it."""

    async def place(self, **changed: Any) -> dict[str, Any]:
        response = await self.client.post("/api/orders", json=order_body(**changed))
        assert response.status_code == 201, response.text
        order: dict[str, Any] = response.json()
        return order

    async def happen(self, order_id: str, *signals: Signal, **changed: Any) -> Decision:
        for signal in signals:
            decision = await self.engine.advance(Event(signal, UUID(order_id), **({"event_id": uuid4()} | changed)))
        return decision

    async def expire(self, order_id: str, times: int = 1) -> None:
        """Let the saga's timer run out, now."""
        for _ in range(times):
            async with self.sessions() as session, session.begin():
                due = text("UPDATE order_sagas SET due_at = clock_timestamp() WHERE order_id = :id")
                await session.execute(due, {"id": UUID(order_id)})
                stored = await store.find_saga(session, UUID(order_id))
            assert stored is not None
            expiry = when_due(stored.saga)
            assert expiry is not None
            await self.engine.advance(expiry)

    async def saga(self, order_id: str) -> dict[str, Any]:
        response = await self.client.get(f"/api/orders/{order_id}/saga")
        assert response.status_code == 200, response.text
        saga: dict[str, Any] = response.json()
        return saga

    def stop(self) -> None:
        """What the application does when it is told to stop."""
        self.watch.close()
        self.followers.close()

    async def rows(self) -> int:
        """How many rows there are of what an order writes."""
        tables = ("orders", "order_sagas", "request_identities", "outbox")
        async with self.sessions() as session:
            return sum([(await session.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one() for name in tables])


class _Part:
    """Stands in the routes for what each test has there of its own."""

    def __init__(self) -> None:
        self.present: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.present, name)

    def __call__(self, *arguments: Any) -> Any:
        return self.present(*arguments)

    def __bool__(self) -> bool:
        return bool(self.present)


_Idle = list[tuple[FastAPI, dict[str, _Part]]]
IDLE: defaultdict[Any, _Idle] = defaultdict(list)
"""APIs that no test uses at the moment, by what their routes are made from."""


@contextmanager
def _api_of(
    present: Mapping[str, Any], asyncapi: Callable[[], dict[str, Any]], limits: Limits, *, playground: bool
) -> Iterator[FastAPI]:
    """An API with these parts. FastAPI takes longer to analyse the routes than most tests take: it does so once."""
    idle = IDLE[asyncapi, limits, playground]
    api, parts = idle.pop() if idle else (None, {name: _Part() for name in present})
    for name, part in parts.items():
        part.present = present[name]
    api = api or _analysed(SimpleNamespace(**parts), asyncapi, limits)
    yield api
    for part in parts.values():
        part.present = None
    idle.append((api, parts))


def _analysed(its: Any, asyncapi: Callable[[], dict[str, Any]], limits: Limits) -> FastAPI:
    return http_api(
        its.engine,
        its.sessions,
        its.policy,
        unready=its.unready,
        asyncapi=asyncapi,
        watch=its.watch,
        metrics=its.metrics,
        access=its.access,
        limits=limits,
        more=[
            webhook_routes(its.webhooks),
            operating_routes(its.engine, its.sessions, its.policy),
            live_routes(its.followers, its.sessions),
            dead_letter_routes(its.letters),
            dashboard_routes(its.engine, its.sessions, its.policy, its.letters, its.webhooks, its.stand_ins),
        ],
    )


@asynccontextmanager
async def serving(
    engine: Engine,
    pool: Sessions,
    policy: Policy,
    asyncapi: Callable[[], dict[str, Any]] = lambda: ASYNCAPI,
    *,
    access: Access | None = None,
    limits: Limits = LIMITS,
    stand_ins: Mapping[str, str] = STAND_INS,
) -> AsyncIterator[Service]:
    """The API, called as long as the block lasts."""
    watch = WitnessedWatch(pool)
    missing: list[str] = []

    async def unready() -> list[str]:
        return missing

    followers = Followers(watch, Snapshots(pool, policy), per_client=limits.streams_per_client)
    sender = Sender(allowances("127.0.0.1:9"), resolve=resolve, trust=NOBODY_TRUSTED)
    announced = asyncio.Event()
    here = access or Access(pool, local=True)
    parts: dict[str, Any] = {
        "engine": engine,
        "sessions": pool,
        "policy": policy,
        "unready": unready,
        "watch": watch,
        "metrics": Exposition(pool, CollectorRegistry(), policy.saga_timeout).text,
        "access": here,
        "letters": Letters(pool, Bus("amqp://nowhere.invalid/"), policy, Senders()),
        "webhooks": Webhooks(pool, statements(pool.kw["bind"]), sender, announced.set, Wrapping()),
        "stand_ins": StandIns(stand_ins),
        "followers": followers,
    }
    with _api_of(parts, asyncapi, limits, playground=bool(stand_ins)) as api:
        app = guarded(api, here, limits, refusing_pages(here))
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Service(client, app, api, engine, pool, watch, followers, missing, announced)
        await watch.aclose()
        await sender.close()


@asynccontextmanager
async def listening(app: Any, **more: Any) -> AsyncIterator[str]:
    """The address of this ASGI application under the real server, as long as the block lasts."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error", **more))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def policy() -> Policy:
    """How long sagas wait."""
    return Policy()


@asynccontextmanager
async def running(
    url: str, policy: Policy, *, access: Access | None = None, limits: Limits = LIMITS
) -> AsyncIterator[Service]:
    """The API with an engine that runs, on this database, as long as the block lasts."""
    database = connect(url, connections=4, name="tests")
    engine = Engine(sessions(database), policy, lambda _: None)
    task = asyncio.create_task(engine.run())
    async with serving(engine, sessions(database), policy, access=access, limits=limits) as service:
        yield service
    task.cancel()
    await asyncio.wait([task])
    await database.dispose()


@pytest.fixture
async def service(migrated: str, policy: Policy) -> AsyncIterator[Service]:
    """The API with an engine that runs."""
    async with running(migrated, policy) as service:
        yield service


@asynccontextmanager
async def without_database(policy: Policy) -> AsyncIterator[Service]:
    """The API where nothing answers in the place of the database, nor runs its engine."""
    database = connect("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", connections=1, name="tests")
    async with serving(Engine(sessions(database), policy, lambda _: None), sessions(database), policy) as service:
        yield service
    await database.dispose()


@pytest.fixture
async def homeless(policy: Policy) -> AsyncIterator[Service]:
    """One whose database is away."""
    async with without_database(policy) as service:
        yield service


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem of an answer that has to be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:order-service:")
    assert body["title"]
    assert body["detail"]
    return body
