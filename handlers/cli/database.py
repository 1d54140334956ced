"""`migrate`, `verify` and `sessions`: the commands that work on the database itself, at `DATABASE_URL`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from handlers.access.login_sessions import Listed, end_logins, list_logins
from handlers.cli.outcome import Code, errors, fail, output
from handlers.cli.showing import clean, print_table
from handlers.queries.sagas import count_sagas, next_sagas
from saga.errors import DATABASE_ERRORS, ConfigurationError
from saga.insight.verify import differences
from saga.runtime.database import connect, schema_is_current, sessions, statements
from saga.runtime.database import migrate as bring_up_to_date

BATCH = 500
"""How many sagas are read at once."""

_T = TypeVar("_T")
_End = Annotated[list[str] | None, typer.Option("--end", help="Log out this one, by its id; several for several.")]
_EndAll = Annotated[bool, typer.Option("--end-all", help="Log all of them out.")]
_Most = Annotated[int, typer.Option(min=1, help="How many differences are shown at most.")]


def migrate() -> None:
    """Bring the schema at DATABASE_URL up to date. Safe beside running workers."""
    _with_database(bring_up_to_date)
    output.print("the schema is up to date")


def verify(show: _Most = 100) -> None:
    """Fold every saga's history over the table and compare with its row; exit code 1 if any differs."""
    checked, wrong = _with_database(lambda database: _verify(database, show))
    output.print(f"{checked} sagas verified, {wrong} of them differ")
    if wrong:
        raise typer.Exit(Code.DIFFERENT)


def logins(end: _End = None, end_all: _EndAll = False) -> None:  # noqa: FBT002 - a flag
    """List the browsers that are logged in, or log some of them, or all, out."""
    listed, ended = _with_database(lambda database: _logins(database, end or [], end_all=end_all))
    if end or end_all:
        output.print(f"{ended} logged out")
        return
    times = [(one.id, one.name, *map(str, (one.created_at, one.used_at, one.expires_at))) for one in listed]
    print_table(("id", "who", "since", "last used", "until"), times)


async def _logins(database: Any, end: list[str], *, end_all: bool) -> tuple[list[Listed], int]:
    async with statements(database)() as session:
        listed = await list_logins(session)
        ids = [one.id for one in listed] if end_all else end
        return listed, await end_logins(session, ids) if ids else 0


async def _verify(database: Any, show: int) -> tuple[int, int]:
    if not await schema_is_current(database):
        fail(
            "the schema is not the one that this version was written for: use `migrate`, or that version", Code.REFUSED
        )
    # an order and its saga are read by two statements, which must see the same moment
    snapshots = sessions(database.execution_options(isolation_level="REPEATABLE READ"))
    checked = wrong = 0
    behind = None
    with Progress(
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    ) as progress:
        async with snapshots() as session:
            bar = progress.add_task("", total=await count_sagas(session))
        while True:
            async with snapshots() as session:
                page = await next_sagas(session, BATCH, behind)
            if not page:
                return checked, wrong
            for stored, order_status in page:
                found = differences(stored.saga, order_status)
                wrong += bool(found)
                if found and wrong <= show:
                    for difference in found:
                        output.print(clean(f"order {stored.saga.order_id}: {difference}"))
            checked += len(page)
            behind = page[-1][0].saga.order_id
            progress.update(bar, completed=checked)


def _with_database(work: Callable[[Any], Awaitable[_T]]) -> _T:
    # a command that only talks to the service needs no settings
    from settings import load  # noqa: PLC0415

    async def run(url: str) -> _T:
        database = connect(url, connections=1, name="order-service cli")
        try:
            return await work(database)
        finally:
            await database.dispose()

    try:
        settings = load()
    except ConfigurationError as error:
        fail(str(error), Code.USAGE)
    if settings.database_url is None:
        fail("DATABASE_URL is not set: give it postgresql+asyncpg://user:password@host/database", Code.USAGE)
    try:
        return asyncio.run(run(settings.database_dsn))
    except DATABASE_ERRORS as error:
        fail(f"the database at DATABASE_URL: {clean(str(error).splitlines()[0] or type(error).__name__)}", Code.AWAY)
