"""Pages of a list that is ordered by time and id: `limit`, `after`, and the opaque cursor between them."""

import base64
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from handlers.http.problems import FieldError, InvalidError
from saga.runtime.rows import Place

BULK_SECONDS = 25.0
"""As long as a request that works on many goes on; what is left over is what `next` is for."""

_T = TypeVar("_T")

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
After = Annotated[
    str | None, Query(pattern="^[A-Za-z0-9_-]{32}$", description="The `next` of the page before; opaque.")
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAYOUT = struct.Struct(">q16s")
"""Microseconds since 1970 and the id: 24 bytes, so that base64 needs no padding."""


def cut(found: Sequence[_T], limit: int, place_of: Callable[[_T], Place]) -> tuple[Sequence[_T], str | None]:
    """A page, and the `next` of it; None: it is the last.

    Args:
        found: what was found, where one more was asked for than there may be on it: that tells whether it is the last.
        limit: how many there may be.
        place_of: where each stands in the list.
    """
    shown = found[:limit]
    return shown, cursor(*place_of(shown[-1])) if len(found) > limit else None


def cursor(created_at: datetime, id_: UUID) -> str:
    """The place right behind this one."""
    return base64.urlsafe_b64encode(_LAYOUT.pack((created_at - _EPOCH) // _MICROSECOND, id_.bytes)).decode()


def place(after: str | None) -> Place | None:
    """What a cursor stands for.

    Raises:
        InvalidError: it is none of ours.
    """
    if after is None:
        return None
    microseconds, id_ = _LAYOUT.unpack(base64.urlsafe_b64decode(after))
    try:
        return _EPOCH + microseconds * _MICROSECOND, UUID(bytes=id_)
    except OverflowError as error:
        raise InvalidError([FieldError(field="after", location="query", detail="is no `next` of ours")]) from error
