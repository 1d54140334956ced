"""Connecting to PostgreSQL, and bringing its schema up to date."""

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import alembic.command
import alembic.config
import asyncpg
from alembic.script import ScriptDirectory
from pydantic_core import to_json
from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from saga.runtime.failpoints import reach

_MIGRATIONS = Path(__file__).parents[2] / "models" / "migrations"

COMMAND_SECONDS = 7.0
"""How long a statement's answer is waited for: a little longer than PostgreSQL itself lets one run. What says nothing
at all until then is gone, its connection half open; PostgreSQL has ended the transaction of the other half before."""

Sessions = async_sessionmaker[AsyncSession]


_TRANSACTION_TIMEOUT = "transaction_timeout"
_GOODBYE_SECONDS = 0.3
"""How long a connection that is closed waits for the database to hang up: one that is half open never does."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that can be closed whatever has become of it. A stop closes a dozen, one after the other."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - asyncpg's form
        """Say goodbye, or else hang up."""
        try:
            await super().close(timeout=_GOODBYE_SECONDS)
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.terminate()


async def _open(*arguments: Any, server_settings: dict[str, str], **options: Any) -> Any:
    """A connection, with what the address says about TLS: the driver understands that in an address of its own only.

    PostgreSQL before 17 has no `transaction_timeout`, and refuses a connection that asks for it.
    """
    tls = {name: options.pop(name) for name in [*options] if name.startswith("ssl")}
    at_first = {name: value for name, value in server_settings.items() if name != _TRANSACTION_TIMEOUT}
    connection = await asyncpg.connect(
        *arguments, dsn=f"postgresql://?{urlencode(tls)}", server_settings=at_first, **options
    )
    try:
        if connection.get_server_version() >= (17,):
            await connection.execute(f"SET {_TRANSACTION_TIMEOUT} = {server_settings[_TRANSACTION_TIMEOUT]}")
    except BaseException:
        connection.terminate()
        raise
    return connection


def _dumps(value: Any) -> str:
    return to_json(value).decode()


def connect(
    url: str | URL,
    *,
    connections: int,
    name: str,
    checked: bool = False,
    command_timeout: float | None = COMMAND_SECONDS,
    **settings: str,
) -> AsyncEngine:
    """A pool of connections. Nothing is opened before the first use.

    Every wait has an end, on both sides: a connection that hangs must not hold a message or a lock for ever.

    Args:
        url: `postgresql+asyncpg://…`.
        connections: the most that are open at once.
        name: what PostgreSQL shows as `application_name`.
        checked: whether a connection is tried before it is used. That costs a round trip each time: for clients that
            would see it fail, not for those who do the work again anyway.
        command_timeout: seconds that a statement's answer is waited for; None: as long as it takes.
        settings: more of PostgreSQL's settings for these connections.
    """
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=checked,
        hide_parameters=True,
        json_serializer=_dumps,
        json_deserializer=json.loads,
        connect_args={
            "async_creator_fn": _open,
            "connection_class": _Connection,
            "timeout": 5,
            "command_timeout": command_timeout,
            "server_settings": {
                "application_name": name,
                "statement_timeout": "6000",
                "lock_timeout": "2000",
                "idle_in_transaction_session_timeout": "4000",
                # a worker that hangs between two messages of a statement is neither idle nor in a statement
                _TRANSACTION_TIMEOUT: "20000",
                "jit": "off",
                # a client whose host is gone without a word must not hold its locks for hours
                "tcp_keepalives_idle": "5",
                "tcp_keepalives_interval": "2",
                "tcp_keepalives_count": "3",
                **settings,
            },
        },
    )


def sessions(engine: AsyncEngine) -> Sessions:
    """Sessions on this pool: what they do is one transaction."""
    return async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False, autoflush=False)


def statements(engine: AsyncEngine) -> Sessions:
    """Sessions on this pool in which every statement is a transaction of its own: no BEGIN, no COMMIT to wait for."""
    return sessions(engine.execution_options(isolation_level="AUTOCOMMIT"))


def alembic_config(connection: Connection | None = None) -> alembic.config.Config:
    """Alembic's configuration, without a file of its own."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def migrate(engine: AsyncEngine) -> None:
    """Bring the schema up to date. Safe with many workers at once: one does it, the others wait for it.

    It connects for itself to where `engine` does: building an index takes as long as it takes, and a client that stops
    waiting would have it begun anew for ever.
    """

    def upgrade(connection: Connection) -> None:
        alembic.command.upgrade(alembic_config(connection), "head")

    patient = connect(
        engine.url,
        connections=1,
        name="order-service migration",
        command_timeout=None,
        idle_in_transaction_session_timeout="0",
        transaction_timeout="0",
    )
    try:
        async with patient.begin() as connection:
            reach("migration.begun")
            await connection.run_sync(upgrade)
            reach("migration.done")
    finally:
        await patient.dispose()
    reach("migration.committed")


@cache
def _newest() -> str:
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None, "there is at least one migration, and one line of them"
    return head


async def schema_is_current(engine: AsyncEngine) -> bool:
    """Whether the schema is the one that this code was written for."""
    async with engine.connect() as connection:
        version = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return bool(version == _newest())
