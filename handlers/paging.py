"""Pages of a list that is ordered by time and id: `limit`, `after`, and the opaque cursor between them."""

import base64
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query

from handlers.problems import FieldError, InvalidError

BULK_SECONDS = 25.0
"""As long as a request that works on many goes on; what is left over is what `next` is for."""

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
After = Annotated[
    str | None, Query(pattern="^[A-Za-z0-9_-]{32}$", description="The `next` of the page before; opaque.")
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAYOUT = struct.Struct(">q16s")
"""Microseconds since 1970 and the id: 24 bytes, so that base64 needs no padding."""


def cursor(created_at: datetime, id_: UUID) -> str:
    """The place right behind this one."""
    return base64.urlsafe_b64encode(_LAYOUT.pack((created_at - _EPOCH) // _MICROSECOND, id_.bytes)).decode()


def place(after: str | None) -> tuple[datetime, UUID] | None:
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
