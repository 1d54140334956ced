"""The logs: where our own lines begin, and the one way on which all lines leave.

    log = get_logger(__name__)
    log.info("moved", order_id=order_id, step=step, attempt=attempt)

An event is a literal; names and values are those of `saga.telemetry.redaction.KNOWN`, an exception is given as it is,
as `error` or `exc_info`. What is bound with `structlog.contextvars` is on every line of that task, foreign ones too.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from saga.telemetry.log_lines import OneObject, Ours, Readable, foreign_words
from saga.telemetry.redaction import Words, place

_SPOKEN_FOR = {"alembic": logging.WARNING, "aiormq": logging.CRITICAL, "aio_pika": logging.CRITICAL}
"""What these say at every attempt is said by the service, when it matters."""


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger of structlog's that writes through the standard library's of this name, and obeys its level."""
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Source(name),
        processors=[structlog.contextvars.merge_contextvars, _as_arguments],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
    ).bind()
    return logger


class _Source:
    """A logger of the standard library, as structlog calls it. Whoever calls is not looked up: that costs."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            setattr(self, logging.getLevelName(level).lower(), partial(self._write, level))

    def _write(self, level: int, event: str, exc_info: Any = None, **known: object) -> None:
        if not self._logger.isEnabledFor(level):
            return
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info:
            exc_info = sys.exc_info()
        record = Ours(self._logger.name, level, "", 0, event, None, exc_info)
        record.known = known
        self._logger.handle(record)


def _as_arguments(_: object, __: str, known: EventDict) -> tuple[tuple[str], EventDict]:
    return (known.pop("event"),), known


log = get_logger(__name__)


def configure(stream: TextIO = sys.stderr) -> None:
    """Let everything that this process says leave here, and only here: a JSON object a line, or text for a terminal.

    FastStream sets the level of the logger that the application has for its own (`--log-level`): give it the root.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Readable() if stream.isatty() else OneObject())
    logging.root.handlers = [handler]
    # with several workers FastStream tells uvicorn alone, and that before it imports the application
    logging.root.setLevel(logging.getLogger("uvicorn.error").level or logging.INFO)
    for logger in [logging.getLogger(name) for name in logging.root.manager.loggerDict]:
        logger.handlers, logger.propagate = [], True
    for name, level in _SPOKEN_FOR.items():
        logging.getLogger(name).setLevel(level)
    _keep_uvicorn_from_its_own()
    # what cannot be written would be printed instead, with all its values
    logging.raiseExceptions = False
    warnings.showwarning = lambda _, category, file, line, *__: log.warning(
        "a warning", error=Words(f"{category.__name__} at {place(file, line)}")
    )
    sys.excepthook = lambda _, error, __: log.critical("this process ends", exc_info=error)
    sys.unraisablehook = lambda told: log.error("an error that nobody can handle", exc_info=told.exc_value)
    threading.excepthook = lambda told: log.error("a thread died", exc_info=told.exc_value)


@contextmanager
def overheard(library: str, say: Callable[[Words], None]) -> Iterator[None]:
    """What a library warns of goes to `say`, in words that quote nobody, and not to the log by itself."""
    logger, ear = logging.getLogger(library), _Ear(say)
    logger.addHandler(ear)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, say: Callable[[Words], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(Words(foreign_words(record)))


def _keep_uvicorn_from_its_own() -> None:
    """It sets its own handlers after the application was imported. Its access log tells what clients have typed."""
    # it is not needed to do anything but serve
    from uvicorn.config import LOGGING_CONFIG  # noqa: PLC0415

    LOGGING_CONFIG.clear()
    LOGGING_CONFIG.update({"version": 1, "incremental": True})
    logging.getLogger("uvicorn.access").propagate = False
