"""The schema on a real PostgreSQL: migrations, and rows that cannot be."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import alembic.command
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

import saga.runtime.database
from models.states import Position
from saga.runtime.database import alembic_config, connect, migrate, schema_is_current
from tests.forked import FORKING


@pytest.fixture
async def empty(database: str) -> AsyncIterator[AsyncEngine]:
    """A database without a schema."""
    engine = connect(database, connections=12, name="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def schema(migrated: str) -> AsyncIterator[AsyncEngine]:
    """A database with the schema."""
    engine = connect(migrated, connections=2, name="test")
    yield engine
    await engine.dispose()


async def test_the_migrations_give_the_schema_that_the_tables_say(schema: AsyncEngine) -> None:
    def check(connection: Connection) -> None:
        alembic.command.check(alembic_config(connection))

    async with schema.begin() as connection:
        await connection.run_sync(check)


def migrate_and_end(url: str) -> None:
    """What a worker does first."""
    asyncio.run(migrate(connect(url, connections=1, name="test")))


async def test_workers_that_migrate_at_once_migrate_once(empty: AsyncEngine, database: str) -> None:
    workers = [FORKING.Process(target=migrate_and_end, args=(database,)) for _ in range(6)]
    for worker in workers:
        worker.start()
    await asyncio.gather(*(asyncio.to_thread(worker.join) for worker in workers))
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert await schema_is_current(empty)


LONG = """
from alembic import op
revision, down_revision = "long", None
def upgrade():
    op.execute("SELECT pg_sleep(0.8)")
"""


async def test_a_migration_may_take_longer_than_any_other_statement(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(saga.runtime.database._MIGRATIONS / "env.py", tmp_path)
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "long.py").write_text(LONG)
    monkeypatch.setattr(saga.runtime.database, "_MIGRATIONS", tmp_path)
    impatient = connect(database, connections=1, name="test", command_timeout=0.4)
    await migrate(impatient)
    async with impatient.connect() as connection:
        assert await connection.scalar(text("SELECT version_num FROM alembic_version")) == "long"
    await impatient.dispose()


async def test_the_migrations_lead_back_as_well(empty: AsyncEngine) -> None:
    def down(connection: Connection) -> None:
        alembic.command.downgrade(alembic_config(connection), "base")

    await migrate(empty)
    async with empty.begin() as connection:
        await connection.run_sync(down)
        left = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert left.scalars().all() == ["alembic_version"]
    await migrate(empty)
    assert await schema_is_current(empty)


ORDER: dict[str, Any] = {"status": "'Pending'", "items": "'[]'", "total_amount": "1.00"}
SAGA: dict[str, Any] = {
    "status": "'Started'",
    "current_step": "'ValidateInventory'",
    "open_command": "'ValidateInventory'",
    "history": "'[]'",
    "completed_at": "NULL",
    "sent": "'{}'",
    "timer": "'reply'",
    "due_at": "now()",
    "incident": "NULL",
}
ENDED = {
    "status": "'Completed'",
    "current_step": "'Completed'",
    "open_command": "NULL",
    "completed_at": "now()",
    "timer": "NULL",
    "due_at": "NULL",
}
INCIDENT = """'{"kind": "release_unanswered"}'"""


async def insert(schema: AsyncEngine, order: dict[str, Any], saga: dict[str, Any]) -> None:
    ids = {"order": uuid4(), "saga": uuid4(), "user": uuid4()}
    columns, values = ", ".join(order), ", ".join(order.values())
    saga_columns, saga_values = ", ".join(saga), ", ".join(saga.values())
    async with schema.begin() as connection:
        await connection.execute(
            text(f"INSERT INTO orders (id, user_id, created_at, {columns}) VALUES (:order, :user, now(), {values})"),
            ids,
        )
        await connection.execute(
            text(
                "INSERT INTO order_sagas (id, order_id, created_at, updated_at, entered_at, table_version,"
                f" cancel_requested, traceparent, {saga_columns})"
                f" VALUES (:saga, :order, now(), now(), now(), 1, false, '', {saga_values})"
            ),
            ids,
        )


@pytest.mark.parametrize("position", Position)
async def test_every_position_has_its_row(schema: AsyncEngine, position: Position) -> None:
    open_ = position.open_command is not None
    saga = SAGA | {
        "status": f"'{position.status}'",
        "current_step": f"'{position.current_step}'",
        "open_command": f"'{position.open_command}'" if open_ else "NULL",
        "completed_at": "now()" if position.ended else "NULL",
        "timer": "'reply'" if open_ else "NULL",
        "due_at": "now()" if open_ else "NULL",
    }
    await insert(schema, ORDER, saga)


async def test_a_parked_saga_that_is_never_asked_again_is_an_incident_without_a_timer(schema: AsyncEngine) -> None:
    await insert(schema, ORDER, SAGA | {"timer": "'reask'", "due_at": "NULL", "incident": INCIDENT})


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("order", {"status": "'Lost'"}),
        ("order", {"items": "'{}'"}),
        ("order", {"total_amount": "'NaN'"}),
        ("order", {"total_amount": "-0.01"}),
        ("order", {"total_amount": "10000000000000000"}),
        ("saga", {"status": "'Lost'"}),
        ("saga", {"status": "'InProgress'"}),
        ("saga", {"current_step": "'ProcessPayment'"}),
        ("saga", {"open_command": "'ReleaseInventory'"}),
        ("saga", {"open_command": "NULL", "timer": "NULL", "due_at": "NULL"}),
        ("saga", {"completed_at": "now()"}),
        ("saga", {"timer": "NULL", "due_at": "NULL"}),
        ("saga", {"timer": "'soon'"}),
        ("saga", {"due_at": "NULL"}),
        ("saga", {"timer": "'reask'", "incident": "NULL"}),
        ("saga", {"history": "'{}'"}),
        ("saga", {"history": "NULL"}),
        ("saga", ENDED | {"completed_at": "NULL"}),
        ("saga", ENDED | {"timer": "'reply'", "due_at": "now()"}),
        ("saga", ENDED | {"due_at": "now()"}),
        ("saga", ENDED | {"open_command": "'ReleaseInventory'", "timer": "'reply'", "due_at": "now()"}),
    ],
)
async def test_an_illegal_row_is_refused_whoever_writes_it(
    schema: AsyncEngine, table: str, changed: dict[str, str]
) -> None:
    order, saga = (ORDER | changed, SAGA) if table == "order" else (ORDER, SAGA | changed)
    with pytest.raises(DBAPIError) as refused:
        await insert(schema, order, saga)
    assert getattr(refused.value.orig, "sqlstate", None) in {"23514", "23502", "22003"}


async def test_an_order_has_one_saga(schema: AsyncEngine) -> None:
    await insert(schema, ORDER, SAGA)
    with pytest.raises(DBAPIError, match="uq_order_sagas_order_id"):
        async with schema.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO order_sagas SELECT (jsonb_populate_record(s, jsonb_build_object('id',"
                    " gen_random_uuid()))).* FROM order_sagas s"
                )
            )


WEBHOOK = {
    "id": "gen_random_uuid()", "owner": "'key:shop'", "url": "'https://shop.example'", "events": "'{order.created}'",
    "status": "'enabled'", "secret": "'whsec_x'", "created_at": "now()",
}  # fmt: skip
DELIVERY = {
    "id": "gen_random_uuid()", "webhook_id": "gen_random_uuid()", "event_id": "gen_random_uuid()",
    "order_id": "gen_random_uuid()", "type": "'order.created'", "body": "'{}'", "status": "'pending'",
    "next_attempt_at": "now()", "created_at": "now()",
}  # fmt: skip


async def write(schema: AsyncEngine, table: str, row: dict[str, str]) -> None:
    async with schema.begin() as connection:
        await connection.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())})"))


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("webhooks", {"events": "'{}'"}),
        ("webhooks", {"events": "'{webhook.ping}'"}),
        ("webhooks", {"status": "'broken'"}),
        ("webhooks", {"status": "'disabled'"}),
        ("webhooks", {"status": "'disabled'", "disabled_at": "now()"}),
        ("webhooks", {"disabled_at": "now()", "disabled_reason": "'why'"}),
        ("webhooks", {"previous_secret": "'whsec_y'"}),
        ("webhooks", {"secret": "''"}),
        ("webhooks", {"deleted_at": "now()"}),
        ("webhooks", {"failures": "1"}),
        ("webhooks", {"failures": "-1"}),
        ("webhook_deliveries", {"type": "'order.lost'"}),
        ("webhook_deliveries", {"type": "'webhook.ping'"}),
        ("webhook_deliveries", {"order_id": "NULL"}),
        ("webhook_deliveries", {"status": "'lost'"}),
        ("webhook_deliveries", {"status": "'failed'"}),
        ("webhook_deliveries", {"next_attempt_at": "NULL"}),
        ("webhook_deliveries", {"status": "'delivered'", "next_attempt_at": "NULL"}),
        ("webhook_deliveries", {"status": "'failed'", "next_attempt_at": "NULL", "lease": "gen_random_uuid()"}),
        ("webhook_deliveries", {"delivered_at": "now()"}),
        ("webhook_deliveries", {"attempts": "-1"}),
        ("webhook_deliveries", {"log": "'{}'"}),
    ],
)
async def test_an_illegal_endpoint_or_delivery_is_refused_whoever_writes_it(
    schema: AsyncEngine, table: str, changed: dict[str, str]
) -> None:
    row = WEBHOOK if table == "webhooks" else DELIVERY
    await write(schema, table, row)
    with pytest.raises(DBAPIError) as refused:
        await write(schema, table, row | changed)
    assert getattr(refused.value.orig, "sqlstate", None) == "23514"
