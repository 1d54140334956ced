"""The service under a database role that owns nothing and has just the grants of `docs/operations.md`."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlmodel import SQLModel
from yarl import URL

from local.postgres import PrivatePostgres
from saga.runtime.database import connect, migrate
from tests.system.conftest import System, order_body
from tests.system.roles import drop_roles, make_roles

OWNED = """
    SELECT classid::regclass::text, objid FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid = current_user::regrole
"""
RIGHTS = """
    SELECT table_name, array_agg(privilege_type::text ORDER BY privilege_type) FROM information_schema.role_table_grants
    WHERE grantee = current_user GROUP BY table_name
"""
REFUSED = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMP TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "DROP TABLE order_sagas",
    "ALTER TABLE order_sagas ADD COLUMN more int",
    "TRUNCATE order_sagas",
    "CREATE INDEX ON order_sagas (order_id)",
    "COPY order_sagas TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM pg_authid",
    "CREATE ROLE friend",
)


@pytest.fixture
async def roles(postgres: PrivatePostgres) -> AsyncIterator[tuple[str, str]]:
    """A database with the schema, which its owner has made: its addresses as the owner, and as the service."""
    superuser, suffix = postgres.url("postgres", driver="postgresql"), uuid4().hex[:8]
    owner, service = await make_roles(superuser, suffix)
    engine = connect(str(URL(owner).with_scheme("postgresql+asyncpg")), connections=1, name="tests")
    await migrate(engine)
    await engine.dispose()
    yield owner, service
    await drop_roles(superuser, suffix)


@pytest.fixture
def migrated(roles: tuple[str, str]) -> str:
    """The database of the service in this file."""
    return str(URL(roles[1]).with_scheme("postgresql+asyncpg"))


@pytest.fixture
def settings() -> dict[str, str]:
    return {"AUTO_MIGRATE": "false"}


@pytest.mark.parametrize(("price", "status"), [(1299.99, "Completed"), (10000.01, "Compensated")])
async def test_an_order_goes_its_way(system: System, price: float, status: str) -> None:
    order_id = await system.order(order_body(1, price))
    assert (await system.ended(order_id))["status"] == status
    await system.quiet()
    # what is kept beside sagas
    webhook = {"url": "https://receiver.example/", "events": ["order.completed"]}
    for path in ("/", f"/sagas/{order_id}", "/dead-letters", "/api/sagas", "/metrics", "/health/ready"):
        assert (await system.client.get(path)).status_code == 200, path
    assert (await system.client.post("/api/webhooks", json=webhook)).status_code in {201, 422}
    await system.ear.publish("domain.order.CancelOrder", {"eventId": str(uuid4()), "orderId": str(uuid4())})
    [letter] = await system.dead_letters(1)
    assert letter.reason == "unknown_order"
    discarded = await system.client.delete(f"/api/dead-letters/{letter.shown['id']}", params={"reason": "a test"})
    assert discarded.is_success


async def test_the_service_s_role_owns_nothing_and_changes_rows_alone(roles: tuple[str, str]) -> None:
    connection = await asyncpg.connect(roles[1])
    try:
        assert await connection.fetch(OWNED) == []
        rights: dict[str, Any] = dict(await connection.fetch(RIGHTS))
        assert rights.keys() == SQLModel.metadata.tables.keys() | {"alembic_version"}
        assert all(granted == ["DELETE", "INSERT", "SELECT", "UPDATE"] for granted in rights.values())
        for statement in REFUSED:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_nobody_else_gets_into_that_database(roles: tuple[str, str], postgres: PrivatePostgres) -> None:
    superuser, stranger = postgres.url("postgres", driver="postgresql"), f"stranger_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(superuser)
    try:
        await connection.execute(f"CREATE ROLE {stranger} LOGIN PASSWORD 'secret'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(str(URL(roles[1]).with_user(stranger).with_password("secret")))
    finally:
        await connection.execute(f"DROP ROLE {stranger}")
        await connection.close()
