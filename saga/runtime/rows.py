"""What is asked of every table in the same way: how many rows a statement changed, and which stand behind one."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, CursorResult, Executable, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from saga.runtime.database import Sessions

Place = tuple[datetime, UUID]
"""Where a row stands in a list that is ordered by a time and an id."""


async def changed(session: AsyncSession, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
    """Carry out a statement that changes rows; returns how many it changed."""
    return cast("CursorResult[Any]", await session.execute(statement, values)).rowcount


async def in_pieces(sessions: Sessions, change: Callable[[AsyncSession], Awaitable[int]], piece: int) -> None:
    """Change so many rows a transaction, which keeps nobody waiting, until there are no more.

    Args:
        sessions: one for each piece.
        change: changes at most a piece; returns how many rows that were.
        piece: the most that `change` changes at once.
    """
    more = True
    while more:
        async with sessions() as session:
            more = await change(session) == piece


def behind(after: Place, time: ColumnElement[datetime], id_: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Whether a row stands behind that place, where the newest is first."""
    return tuple_(time, id_) < tuple_(literal(after[0]), literal(after[1]))
