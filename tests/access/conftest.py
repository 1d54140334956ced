"""A service that asks who you are, and whoever may ask it something."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio

from handlers.access.api_keys import Key, make_key, parse_keys
from handlers.access.authenticator import Access
from handlers.access.principal import Scope
from handlers.access.rate_limits import Limits
from handlers.access.signing import OneKey, key_of_pem
from handlers.access.tokens import Tokens
from saga.domain import Policy
from saga.engine import Engine
from saga.runtime.database import connect, sessions, statements
from tests.access.issuer import AUDIENCE, ISSUER, RSA, pem, token
from tests.databases import Databases
from tests.http.conftest import LIMITS, Service, order_body, serving

OWNER, OTHER = uuid4(), uuid4()
"""Two people."""
PAST = datetime(2020, 1, 1, tzinfo=UTC)
_BOTH = "orders:read orders:write"


def _key(id_: str, *scopes: Scope, expires_at: datetime | None = None) -> tuple[str, Key]:
    presented, entry = make_key(id_, scopes, expires_at)
    return presented, parse_keys(entry)[0]


_MADE = {
    "service": _key("shop", Scope.ORDERS_WRITE, Scope.ORDERS_READ_ANY),
    "service that may read its own, and has none": _key("reader", Scope.ORDERS_READ),
    "writer": _key("till", Scope.ORDERS_WRITE),
    "operator": _key("ops", Scope.OPERATE),
    "scraper": _key("prometheus", Scope.METRICS),
    "subscriber": _key("crm", Scope.WEBHOOKS),
    "expired key": _key("old", *Scope, expires_at=PAST),
}
KEYS = tuple(key for _, key in _MADE.values())
EVERY = " ".join(Scope)
VISITORS: Mapping[str, str | None] = {
    "nobody": None,
    **{name: presented for name, (presented, _) in _MADE.items()},
    "owner": token(OWNER, _BOTH),
    "other user": token(OTHER, _BOTH),
    "person who may read any": token(OTHER, "orders:read:any"),
    "person without a customer's id": token("auth0|ann", f"{_BOTH} operate"),
    "person without a scope": token(OWNER, ""),
    "expired token": token(OWNER, EVERY, exp=datetime.now(UTC) - timedelta(minutes=5)),
    "wrong audience": token(OWNER, EVERY, aud="https://elsewhere.example"),
    "wrong issuer": token(OWNER, EVERY, iss="https://elsewhere.example"),
    "unknown key": make_key("ops", Scope)[0],
    "no credential at all": "nonsense",
}
"""What each of them sends as `Authorization: Bearer`."""


def header(presented: str | None) -> dict[str, str]:
    """The header that shows this."""
    return {} if presented is None else {"Authorization": f"Bearer {presented}"}


@asynccontextmanager
async def asking(
    url: str,
    keys: tuple[Key, ...] = KEYS,
    policy: Policy | None = None,
    tokens: Tokens | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[Service]:
    """A service that asks for these, on this database, as long as the block lasts."""
    database = connect(url, connections=4, name="tests")
    policy = policy or Policy()
    engine = Engine(sessions(database), policy, lambda _: None)
    task = asyncio.create_task(engine.run())
    tokens = tokens or Tokens(ISSUER, AUDIENCE, OneKey(key_of_pem(pem(RSA))))
    access = Access(statements(database), keys, tokens)
    async with serving(engine, sessions(database), policy, access=access, limits=limits) as service:
        yield service
    task.cancel()
    await asyncio.wait([task])
    await database.dispose()


@dataclass(frozen=True)
class House:
    """A service with an order of the owner's that has ended."""

    service: Service
    order_id: str

    async def ask(self, visitor: str, method: str, path: str, **more: Any) -> Any:
        more["headers"] = {**header(VISITORS[visitor]), **more.get("headers", {})}
        return await self.service.client.request(method, path, **more)

    async def place(self, user_id: UUID = OWNER) -> str:
        placed = await self.ask("service", "POST", "/api/orders", json=order_body(userId=str(user_id)))
        assert placed.status_code == 201, placed.text
        id_: str = placed.json()["id"]
        return id_


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(databases: Databases, template: str) -> AsyncIterator[House]:
    with databases.lent(template) as url:
        # every operation is asked at once
        async with asking(url, limits=Limits(user_requests_per_second=1000)) as service:
            house = House(service, "")
            order_id = await house.place()
            cancelled = await house.ask("service", "POST", f"/api/orders/{order_id}/cancel")
            assert cancelled.status_code == 202
            yield House(service, order_id)
