"""All SQL of the logins of browsers (table `sessions`). What a browser shows is random, and only its digest is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import DateTime, Interval, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from models.tables import Login as Row
from models.tables import table_of
from saga.rows import changed

_SESSIONS = table_of(Row)


@dataclass(frozen=True, slots=True)
class Login:
    """Who is logged in, and with what."""

    name: str
    user_id: UUID | None
    scopes: Sequence[str]
    credential: str
    """Names what they logged in with, so that it can be seen whether that is still good; not what is secret of it."""


_EXPIRED = delete(_SESSIONS).where(_SESSIONS.c.expires_at <= func.clock_timestamp())
# one reading of the clock for both
_NOW = func.statement_timestamp()
_ENDS = func.least(_NOW + bindparam("most", type_=Interval()), bindparam("until", type_=DateTime(timezone=True)))
_SAID = [_SESSIONS.c[name] for name in ("digest", "name", "user_id", "scopes", "credential")]
_KEEP = insert(_SESSIONS).from_select(
    [*_SAID, _SESSIONS.c.created_at, _SESSIONS.c.expires_at],
    select(*(bindparam(column.name, type_=column.type) for column in _SAID), _NOW, _ENDS).where(_ENDS > _NOW),
)
_FIND = select(_SESSIONS.c.name, _SESSIONS.c.user_id, _SESSIONS.c.scopes, _SESSIONS.c.credential).where(
    _SESSIONS.c.digest == bindparam("known"), _SESSIONS.c.expires_at > func.clock_timestamp()
)
_FORGET = delete(_SESSIONS).where(_SESSIONS.c.digest == bindparam("known"))


async def keep_login(session: AsyncSession, cookie: str, login: Login, most: timedelta, until: datetime | None) -> bool:
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
    await session.execute(_EXPIRED)
    row = {"digest": _digest(cookie), "name": login.name, "user_id": login.user_id, "scopes": list(login.scopes)}
    values = row | {"credential": login.credential, "most": most, "until": until}
    return bool(await changed(session, _KEEP, values))


async def find_login(session: AsyncSession, cookie: str) -> Login | None:
    """Who shows this value, and is still logged in."""
    row = (await session.execute(_FIND, {"known": _digest(cookie)})).one_or_none()
    return Login(*row) if row else None


async def forget_login(session: AsyncSession, cookie: str) -> None:
    """Log out who shows this value."""
    await session.execute(_FORGET, {"known": _digest(cookie)})


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode()).digest()
