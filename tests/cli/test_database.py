"""`migrate` and `verify` on a real database."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.access.login_sessions import Identity, keep_login
from handlers.cli import database as commands
from saga.runtime.database import connect, schema_is_current, sessions
from saga.transitions import Signal
from tests.cli.conftest import CommandLine
from tests.http.conftest import HAPPY, Service

G = Signal
NOBODY = "http://127.0.0.1:1"
ROADS: list[tuple[Signal, ...]] = [
    (),
    HAPPY[:1],
    HAPPY[:2],
    HAPPY,
    (*HAPPY[:2], G.OPERATOR_COMPENSATE),
    (*HAPPY[:2], G.PAYMENT_FAILED),
    (G.INVENTORY_VALIDATION_FAILED,),
    (*HAPPY[:2], G.PAYMENT_FAILED, G.INVENTORY_RELEASED),
    (G.INVENTORY_VALIDATION_FAILED, G.PAYMENT_PROCESSED),
    (G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_RESERVED),
    (*HAPPY[:2], G.PAYMENT_FAILED, G.INVENTORY_RELEASED, G.PAYMENT_PROCESSED),
    (*HAPPY[:2], G.PAYMENT_FAILED, G.INVENTORY_RELEASED, G.INVENTORY_RESERVED),
]
"""One to every position of the table."""


MOVED_ON = (
    "UPDATE order_sagas SET status = 'InProgress', current_step = 'ProcessPayment', open_command = 'ProcessPayment'"
    " WHERE order_id = :id"
)


@pytest.fixture
async def fresh(database: str) -> AsyncIterator[AsyncEngine]:
    """A database without a schema."""
    engine = connect(database, connections=1, name="test")
    yield engine
    await engine.dispose()


async def test_migrate_brings_the_schema_up_to_date_however_often(fresh: AsyncEngine, database: str) -> None:
    for _ in range(2):
        assert "up to date" in await CommandLine(NOBODY, database).run("migrate")
    assert await schema_is_current(fresh)


async def test_verify_finds_nothing_on_healthy_sagas_of_all_positions(
    service: Service, shell: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "BATCH", 5)
    for road in ROADS:
        order = (await service.place())["id"]
        for signal in road:
            await service.happen(order, signal)
    parked = (await service.place())["id"]
    await service.expire(parked, times=9)
    assert f"{len(ROADS) + 1} sagas verified, 0 of them differ" in await shell.run("verify")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (MOVED_ON, "position"),
        ("UPDATE order_sagas SET history = '[]' WHERE order_id = :id", "position"),
        ("UPDATE order_sagas SET sent = '{}' WHERE order_id = :id", "sent"),
        ("UPDATE order_sagas SET cancel_requested = true WHERE order_id = :id", "cancel_requested"),
        ("UPDATE order_sagas SET history = jsonb_set(history, '{0,attempt}', '7') WHERE order_id = :id", "entry 1"),
        ("UPDATE orders SET status = 'Confirmed' WHERE id = :id", "the order is Confirmed"),
    ],
)  # fmt: skip
async def test_verify_names_the_order_whose_row_was_tampered_with_and_ends_with_1(
    service: Service, shell: CommandLine, damage: str, found: str
) -> None:
    healthy, damaged = (await service.place())["id"], (await service.place())["id"]
    await service.happen(damaged, HAPPY[0])
    async with service.sessions() as session, session.begin():
        await session.execute(text(damage), {"id": damaged})
    told = await shell.run("verify", code=1)
    assert f"order {damaged}: " in told
    assert found in told
    assert healthy not in told
    assert "2 sagas verified, 1 of them differ" in told


async def test_verify_wants_the_schema_that_it_was_written_for(database: str) -> None:
    await CommandLine(NOBODY, database).run("verify", code=4)


async def test_a_database_that_is_not_there_ends_with_4_and_none_at_all_with_2() -> None:
    for command in ("migrate", "verify"):
        away = CommandLine(NOBODY, "postgresql://nobody@127.0.0.1:1/nothing")
        assert "the database at DATABASE_URL" in await away.run(command, code=4)
        assert "DATABASE_URL is not set" in await CommandLine(NOBODY).run(command, code=2)
        assert "DATABASE_URL" in await CommandLine(NOBODY, "mysql://x").run(command, code=2)


async def test_sessions_are_listed_and_ended(migrated: str) -> None:
    shell = CommandLine(NOBODY, migrated)
    engine = connect(migrated, connections=1, name="test")
    async with sessions(engine)() as session, session.begin():
        for cookie, name in (("a", "key:ops"), ("b", "key:ann"), ("c", "key:eve")):
            who = Identity(name, None, ["operate"], "key:x")
            assert await keep_login(session, cookie, who, timedelta(hours=1), None)
    await engine.dispose()
    listed = (await shell.run("sessions")).splitlines()
    assert [line.split()[1] for line in listed[1:]] == ["key:ops", "key:ann", "key:eve"]
    assert "1 logged out" in await shell.run("sessions", "--end", listed[2].split()[0])
    assert "key:ann" not in await shell.run("sessions")
    assert "2 logged out" in await shell.run("sessions", "--end-all")
    assert "key:" not in await shell.run("sessions")
