"""Alembic's entry: runs on the connection it is handed, under an advisory lock, in that connection's transaction."""

from alembic import context
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import models.tables  # noqa: F401 - fills the metadata

_LOCK = 6_217_400_531
"""Any number that nobody else uses on this database; held until the migration's transaction ends."""


def run(connection: Connection) -> None:
    connection.execute(text("SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(connection=connection, target_metadata=SQLModel.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
