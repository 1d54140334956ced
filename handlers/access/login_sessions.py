"""All SQL of the logins of browsers (table `sessions`). What a browser shows is random, and only its digest is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_bytes
from uuid import UUID

from sqlalchemy import DateTime, Interval, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.tables import Login as Row
from models.tables import ServerKey, table_of
from saga.runtime.rows import changed

_SESSIONS, _KEYS = table_of(Row), table_of(ServerKey)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logs in, and with what."""

    name: str
    user_id: UUID | None
    scopes: Sequence[str]
    credential: str
    """Names what they logged in with, so that it can be seen whether that is still good; not what is secret of it."""


@dataclass(frozen=True, slots=True)
class Login(Identity):
    """Who is logged in."""

    expires_at: datetime
    unused: bool
    """Whether its last use is so long ago that the next one should be noted."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A login, as it is shown to whoever looks after the service."""

    id: str
    """The beginning of its digest."""
    name: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


IDLE = timedelta(minutes=30)
"""A browser in which nobody has opened a page for so long is logged in no more."""
NOTED_AGAIN = timedelta(minutes=1)
"""So long the use of a login is not noted again: what is read must not become as many writes."""
_ID_CHARACTERS = 16
_KEY_BYTES = 32
_ALIVE = (_SESSIONS.c.expires_at > func.clock_timestamp()) & (_SESSIONS.c.used_at > func.clock_timestamp() - IDLE)
_OVER = delete(_SESSIONS).where(~_ALIVE)
# one reading of the clock for both
_NOW = func.statement_timestamp()
_ENDS = func.least(_NOW + bindparam("most", type_=Interval()), bindparam("until", type_=DateTime(timezone=True)))
_SAID = [_SESSIONS.c[name] for name in ("digest", "name", "user_id", "scopes", "credential")]
_KEEP = insert(_SESSIONS).from_select(
    [*_SAID, _SESSIONS.c.created_at, _SESSIONS.c.expires_at],
    select(*(bindparam(column.name, type_=column.type) for column in _SAID), _NOW, _ENDS).where(_ENDS > _NOW),
)
_FIND = select(
    *(_SESSIONS.c[name] for name in ("name", "user_id", "scopes", "credential", "expires_at")),
    (_SESSIONS.c.used_at < func.clock_timestamp() - NOTED_AGAIN).label("unused"),
).where(_SESSIONS.c.digest == bindparam("known"), _ALIVE)
_USED = update(_SESSIONS).where(_SESSIONS.c.digest == bindparam("known")).values(used_at=func.clock_timestamp())
_HEX = func.encode(_SESSIONS.c.digest, "hex")
_LIVE = (
    select(
        func.left(_HEX, _ID_CHARACTERS),
        *(_SESSIONS.c[name] for name in ("name", "created_at", "used_at", "expires_at")),
    )
    .where(_ALIVE)
    .order_by(_SESSIONS.c.created_at)
)
_MAKE_KEY = insert(_KEYS).values(name="browsers").on_conflict_do_nothing()
_KEY = select(_KEYS.c.key).where(_KEYS.c.name == "browsers")
_FORGET = delete(_SESSIONS).where(_SESSIONS.c.digest == bindparam("known"))


async def keep_login(
    session: AsyncSession, cookie: str, login: Identity, most: timedelta, until: datetime | None
) -> bool:
    """Note that somebody has logged in, and forget whose time is over.

    Args:
        session: the caller's transaction.
        cookie: the random value that their browser shows from now on.
        login: who it is.
        most: how long it counts.
        until: when it ends even so, with its credential.

    Returns:
        whether that has not been yet, by the database's clock.
    """
    await session.execute(_OVER)
    row = {"digest": _digest(cookie), "name": login.name, "user_id": login.user_id, "scopes": list(login.scopes)}
    values = row | {"credential": login.credential, "most": most, "until": until}
    return bool(await changed(session, _KEEP, values))


async def find_login(session: AsyncSession, cookie: str) -> Login | None:
    """Who shows this value, and is still logged in."""
    row = (await session.execute(_FIND, {"known": _digest(cookie)})).mappings().one_or_none()
    return Login(**row) if row else None


async def note_use(session: AsyncSession, cookie: str) -> None:
    """Note that somebody has used the login of this value now."""
    await session.execute(_USED, {"known": _digest(cookie)})


async def list_logins(session: AsyncSession) -> list[Listed]:
    """All logins whose time is not over, the oldest first."""
    return [Listed(*row) for row in await session.execute(_LIVE)]


async def end_logins(session: AsyncSession, ids: Sequence[str]) -> int:
    """Log out these browsers; returns how many."""
    return await changed(session, delete(_SESSIONS).where(func.left(_HEX, _ID_CHARACTERS).in_(ids)))


async def server_key(session: AsyncSession) -> bytes:
    """The secret that all workers share: made by the first that asks for it.

    Args:
        session: each statement of which is a transaction of its own.
    """
    await session.execute(_MAKE_KEY, {"key": token_bytes(_KEY_BYTES)})
    key: bytes = (await session.execute(_KEY)).scalar_one()
    return key


async def forget_login(session: AsyncSession, cookie: str) -> None:
    """Log out who shows this value."""
    await session.execute(_FORGET, {"known": _digest(cookie)})


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()
