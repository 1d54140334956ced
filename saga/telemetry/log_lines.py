"""The form of a line: one JSON object for machines, a coloured line for people, and what foreign libraries may say.

Our own lines have an event that is written in the source, and values that `saga.telemetry.redaction` knows. Lines of
libraries come as they are: a text, some of it put together from who knows what. Such a text is logged as far as it
stands in its author's source, where nobody's data can be; numbers are filled in, all else is withheld.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import FrameType
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from structlog.contextvars import get_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback

from saga.telemetry.redaction import WITHHELD, allowed, tell, trace


class _Omitted:
    """Stands in a foreign text for what is withheld, however it is to be written."""

    def __repr__(self) -> str:
        return "…"


_OMITTED = _Omitted()
_CALLERS = 4
"""How far up from where a line is written its text is looked for."""
_SHORTEST_BEGINNING = 8
"""Characters of a text's beginning that are worth telling without its end."""
_OF_C = (
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
    "Exception in callback ",
)
"""What asyncio says from where there is no Python source to look it up in."""


class Ours(logging.LogRecord):
    """A line of ours: its event is a literal, and what it knows has names."""

    known: Mapping[str, object]


class OneObject(logging.Formatter):
    """One line is one JSON object: `timestamp`, `level`, `logger`, `event`, then what is known."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, as far as it may be told."""
        return to_json(_line(record), inf_nan_mode="null").decode()


class Readable(logging.Formatter):
    """The same for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._render = ConsoleRenderer(pad_event_to=0, sort_keys=False, exception_formatter=plain_traceback)

    def format(self, record: logging.LogRecord) -> str:
        """The record, as far as it may be told, with exceptions on lines of their own."""
        line = _line(record)
        line |= {name: str(value) for name, value in line.items() if isinstance(value, UUID)}
        line["timestamp"] = f"{line['timestamp'].isoformat(timespec='milliseconds')[:-6]}Z"
        if "exception" in line:
            line["exception"] = "\n".join(_text_of(line["exception"]))
        return self._render(None, "", line)


def _line(record: logging.LogRecord) -> dict[str, Any]:
    line = {
        "timestamp": datetime.fromtimestamp(record.created, UTC),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": record.msg if isinstance(record, Ours) else foreign_words(record),
        **allowed(record.known if isinstance(record, Ours) else get_contextvars()),
    }
    error = record.exc_info[1] if record.exc_info else record.msg
    if isinstance(error, BaseException):
        line |= {"error": tell(error), "exception": trace(error)}
    return line


def _text_of(exceptions: list[dict[str, Any]]) -> Iterator[str]:
    for one in exceptions:
        yield one["error"]
        yield from (f"  {frame}" for frame in one["frames"])


def foreign_words(record: logging.LogRecord) -> str:
    """What a library says, as far as it stands in its source."""
    text = record.msg
    if not isinstance(text, str):
        return WITHHELD
    written = set(_OF_C).union(*(_constants(frame) for frame in _authors(record)))
    if text in written:
        return _filled_in(text, record.args).strip()
    beginning = max((one for one in written if text.startswith(one)), key=len, default="")
    return f"{beginning}{_OMITTED}" if len(beginning) >= _SHORTEST_BEGINNING else WITHHELD


def _authors(record: logging.LogRecord) -> Iterator[FrameType]:
    """The frame that wrote this record, and those that called it."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - what `logging` finds the caller by, too
    while frame and (frame.f_code.co_filename, frame.f_lineno) != (record.pathname, record.lineno):
        frame = frame.f_back
    for _ in range(_CALLERS):
        if frame:
            yield frame
            frame = frame.f_back


def _constants(frame: FrameType) -> set[str]:
    return {one for one in frame.f_code.co_consts if isinstance(one, str)}


def _filled_in(text: str, arguments: object) -> str:
    """The text with its numbers. One that does not take our sign for an omission stays as it was written."""
    try:
        if isinstance(arguments, Mapping):
            return text % {name: _harmless(value) for name, value in arguments.items()}
        return text % tuple(_harmless(value) for value in arguments) if isinstance(arguments, tuple) else text
    except (TypeError, ValueError, LookupError):
        return text


def _harmless(value: object) -> object:
    return value if type(value) in (int, float, bool, type(None)) else _OMITTED
