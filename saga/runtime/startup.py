"""What must be there before the first message is taken: the database, its schema, sagas of a table that is known.

What is only away is waited for. What is wrong ends the start, in one line that says what to do.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from saga import store
from saga.errors import REFUSED_LOGIN, ConfigurationError, classify, sqlstate
from saga.runtime.backoff import Backoff
from saga.runtime.database import migrate, schema_is_current, sessions
from saga.runtime.tls import refused_certificate
from saga.table import TABLES
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

_REFUSALS = {
    "28": "the user or the password is wrong, or pg_hba.conf does not let this host in",
    "3D000": "there is no such database",
    "42501": "the user lacks a right: to connect, or to change the schema",
}
"""What the beginnings in `REFUSED_LOGIN` mean. PostgreSQL's own words name the user, who may be a password mistyped."""


async def prepare(database: AsyncEngine, *, auto_migrate: bool) -> None:
    """Return when sagas can be advanced.

    Args:
        database: where they are.
        auto_migrate: whether to bring the schema up to date; otherwise somebody else is waited for.

    Raises:
        ConfigurationError: PostgreSQL refuses us, or we refuse its certificate, or sagas run under a table that this
            code does not know.
    """
    backoff = Backoff(log)
    while True:
        try:
            if auto_migrate:
                await migrate(database)
            if await schema_is_current(database):
                await _refuse_unknown_tables(database)
                backoff.over("the database is there")
                return
            await backoff.pause("the schema is not up to date, and AUTO_MIGRATE is off: run the migrations")
        except Exception as error:
            if (code := sqlstate(error)).startswith(REFUSED_LOGIN):
                said = next(words for beginning, words in _REFUSALS.items() if code.startswith(beginning))
                raise ConfigurationError(f"DATABASE_URL: PostgreSQL refuses it ({code}): {said}") from error
            if why := refused_certificate(error):
                raise ConfigurationError(f"DATABASE_URL: PostgreSQL's certificate is refused: {why}") from error
            if not classify(error).transient:
                raise
            await backoff.pause("the database cannot be reached yet", error=error)


async def _refuse_unknown_tables(database: AsyncEngine) -> None:
    """Refuse to start beside sagas of an unknown table version (docs/state-machine.md, rule 14)."""
    async with sessions(database)() as session:
        unknown = await store.table_versions_in_use(session) - TABLES.keys()
    if unknown:
        versions = ", ".join(str(version) for version in sorted(unknown))
        known = ", ".join(str(version) for version in TABLES)
        raise ConfigurationError(
            f"unfinished sagas were started under version {versions} of the transition table, and this release knows"
            f" {known} only; run the release that they were started with"
        )
