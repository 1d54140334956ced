"""What may be told to the logs: the one list of names, what their values may be, and errors without anybody's words.

A log is read by people, and kept in places, that an order's name, a price or a password has nothing to do with. So
nothing is filtered out; only what is known to be harmless comes in. Ids, numbers, words of our own vocabulary are. What
others wrote is not, and an exception's message is theirs: it may quote whatever it was given.
"""

import errno
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from http import HTTPMethod
from pathlib import Path
from traceback import walk_tb
from typing import Any
from uuid import UUID

from models.messages import REPLIES
from models.states import (
    DEAD_LETTER_REASONS,
    Command,
    CurrentStep,
    EntryStatus,
    IncidentKind,
    OrderEvent,
    OrderStatus,
    SagaStatus,
)
from saga.domain import Outcome
from saga.errors import OrderServiceError, sqlstate
from saga.transitions import Signal

WITHHELD = "(withheld)"
"""Stands for a value that is there, and is nobody's business."""
_MOST_ERRORS, _MOST_FRAMES = 10, 40
"""Of a chain of exceptions, and of each of them the innermost."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{16}")
"""A UUID, or an id of a trace or a span."""


class Words(str):
    """Text that stands in our own source: it quotes nobody, and may be shown to anybody."""

    __slots__ = ()


_VOCABULARY = frozenset(
    word.value
    for words in (Command, CurrentStep, EntryStatus, OrderStatus, SagaStatus, Signal, Outcome, IncidentKind)
    for word in words
)
_ROUTING_KEYS = frozenset(
    [
        *(f"domain.order.{name}" for name in ("CreateOrder", "CancelOrder", *Command, *OrderEvent)),
        *(f"domain.{reply.service}.{reply.__name__}" for reply in REPLIES),
    ]
)
_METHODS = frozenset(method.value for method in HTTPMethod)


def _id(value: object) -> object:
    if isinstance(value, UUID):
        # Python's own is quickest written as it is, asyncpg's as text
        return value if type(value) is UUID else str(value)
    return value if isinstance(value, str) and _ID.fullmatch(value) else WITHHELD


def _number(value: object) -> object:
    # no Decimal: that is money
    return value if type(value) in (int, float, bool) else WITHHELD


def _word(value: object) -> object:
    if isinstance(value, StrEnum):
        # the plain string: pydantic is ten times as fast with it
        return value._value_
    return value if type(value) is Words else _one_of(_VOCABULARY)(value)


def _one_of(words: frozenset[str]) -> Callable[[object], object]:
    return lambda value: value if isinstance(value, str) and value in words else WITHHELD


def _reason(value: object) -> object:
    # errors are declared wherever they arise, and may be added
    return _one_of(DEAD_LETTER_REASONS | _our_reasons(OrderServiceError))(value)


def _error(value: object) -> object:
    if isinstance(value, BaseException):
        return tell(value)
    return value if type(value) is Words else WITHHELD


KNOWN: Mapping[str, Callable[[object], object]] = {
    "order_id": _id,
    "saga_id": _id,
    "event_id": _id,
    "trace_id": _id,
    "webhook_id": _id,
    "delivery_id": _id,
    "action": _word,
    "caller": _word,
    "network": _word,
    "signal": _word,
    "outcome": _word,
    "step": _word,
    "status": _word,
    "stands_at": _word,
    "incident": _word,
    "attempt": _number,
    "routing_key": _one_of(_ROUTING_KEYS),
    "queue": _word,
    "reason": _reason,
    "method": _one_of(_METHODS),
    "route": _word,
    "http_status": _number,
    "seconds": _number,
    "task": _word,
    "count": _number,
    "error": _error,
}
"""All that a line can say beside its event, and how. A name that is not here is left out, whoever says it."""


def allowed(known: Mapping[str, object]) -> dict[str, Any]:
    """What may be told of this."""
    return {name: KNOWN[name](value) for name, value in known.items() if value is not None and name in KNOWN}


def tell(error: BaseException) -> Words:
    """An error in one line that quotes nobody: its type, and our own words, a code, or its cause."""
    name = type(error).__name__
    if isinstance(error, OrderServiceError):
        return Words(name if error.quotes else f"{name}: {error}")
    if code := sqlstate(error) or _code_of_system(error):
        return Words(f"{name} {code}")
    return Words(f"{name} ({type(error.__cause__).__name__})" if error.__cause__ else name)


def trace(error: BaseException) -> list[dict[str, Any]]:
    """An exception and what caused it, the latest first: each told, and where it went through, innermost last."""
    return [{"error": tell(one), "frames": list(deque(_frames(one), maxlen=_MOST_FRAMES))} for one in chain(error)]


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what caused it, as a traceback has it; the latest first."""
    return _behind(error, set())


def _behind(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen or len(seen) >= _MOST_ERRORS:
        return
    seen.add(id(error))
    yield error
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _behind(one, seen)
    yield from _behind(error.__cause__ or (None if error.__suppress_context__ else error.__context__), seen)


def _frames(error: BaseException) -> Iterator[str]:
    for frame, line in walk_tb(error.__traceback__):
        yield f"{place(frame.f_code.co_filename, line)} {frame.f_code.co_qualname}"


def place(path: str, line: int) -> Words:
    """A line of a file, which is named as it is imported: where it is installed is of no use to the reader."""
    return Words(f"{_file(path)}:{line}")


@cache
def _file(path: str) -> str:
    roots = (f"{Path(root).absolute()}/" for root in sys.path)
    return path.removeprefix(max((root for root in roots if path.startswith(root)), key=len, default=""))


def _code_of_system(error: BaseException) -> str:
    """The name of what the operating system says, where the error's type is not named after it."""
    if type(error) is not OSError:
        return ""
    if error.errno == errno.EADDRINUSE:
        return "EADDRINUSE: another process listens there, choose another port"
    return errno.errorcode.get(error.errno or 0, "")


def _our_reasons(of: type[OrderServiceError]) -> set[str]:
    return {of.reason}.union(*(_our_reasons(one) for one in of.__subclasses__()))
