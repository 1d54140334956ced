"""The service's own errors, in the domain's words, and the one place where driver errors are understood.

An error's docstring is its message: what happened, and what to do. Data travels as attributes.
"""

import asyncio
from enum import Enum, auto
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class OrderServiceError(Exception):
    """Something that the service says about itself or its input."""

    reason = "error"
    """One word for dead letters and metrics."""


class RefusedError(OrderServiceError):
    """The input cannot be handled, however often it is tried. A dead letter on the bus, a 4xx over HTTP."""

    reason = "refused"


class UnknownOrderError(RefusedError):
    """There is no such order."""

    reason = "unknown_order"

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"there is no order {order_id}")
        self.order_id = order_id


class DifferentContentError(RefusedError):
    """The same identity came before with another content; nothing was changed. Use a new identity."""

    reason = "different_content"

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} was already used for another order; nothing was changed. Use a new one.")


class RefusedByDatabaseError(RefusedError):
    """PostgreSQL refuses this input as data."""

    reason = "refused_by_database"


class DatabaseAwayError(OrderServiceError):
    """The database cannot be reached at the moment; nothing was lost. Try again."""

    reason = "database_away"


class BusAwayError(OrderServiceError):
    """RabbitMQ cannot be reached at the moment; the message stays in the outbox."""

    reason = "bus_away"


class ConfigurationError(OrderServiceError):
    """The service cannot start like this; the message names the variable and says what to do."""

    reason = "configuration"


DATABASE_ERRORS: tuple[type[Exception], ...] = (DBAPIError, PoolTimeoutError, OSError)
"""What comes out of the database driver when something is wrong; `classify` says what."""


class DatabaseFault(Enum):
    """What a failed statement or commit means."""

    TRANSIENT = auto()
    """Try again later; whether a commit took place is unknown."""
    DATA = auto()
    """PostgreSQL refuses the data; trying again is of no use."""
    BUG = auto()
    """Neither: a mistake of ours."""


# classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSIENT_CLASSES = ("08", "53", "57P", "58")
_TRANSIENT_CODES = frozenset({"40001", "40P01", "55P03", "25006", "25P02", "25P03", "57014", "0A000", "23505", "42P01"})
_DATA_CODES = ("22", "23502", "23514")


def classify(error: BaseException) -> DatabaseFault:
    """What to do about an error that came out of the database driver.

    0A000 is a cached plan after a migration; 23505 is a row that somebody else was quicker to write; 42P01 is a table
    that the migration has yet to make: all are gone when the work is done again.
    """
    if isinstance(error, OSError | TimeoutError | asyncio.TimeoutError | PoolTimeoutError):
        return DatabaseFault.TRANSIENT
    if not isinstance(error, DBAPIError):
        return DatabaseFault.BUG
    code = getattr(error.orig, "sqlstate", None) or ""
    if error.connection_invalidated or code in _TRANSIENT_CODES or code.startswith(_TRANSIENT_CLASSES):
        return DatabaseFault.TRANSIENT
    if code.startswith(_DATA_CODES):
        return DatabaseFault.DATA
    # the driver's own refusals (a value that does not fit its type) have no sqlstate
    return DatabaseFault.DATA if not code and "DataError" in type(error.orig).__mro__[1].__name__ else DatabaseFault.BUG
