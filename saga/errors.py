"""The service's own errors, in the domain's words, and the one place where driver errors are understood.

An error's docstring is its message: what happened, and what to do. Data travels as attributes.
"""

from enum import Enum, auto
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class OrderServiceError(Exception):
    """Something that the service says about itself or its input."""

    reason = "error"
    """One word for dead letters and metrics."""
    quotes = True
    """Whether its words may quote what somebody sent: then they are for who sent it, and for no log."""


class RefusedError(OrderServiceError):
    """The input cannot be handled, however often it is tried. A dead letter on the bus, a 4xx over HTTP."""

    reason = "refused"


class UnknownOrderError(RefusedError):
    """There is no such order."""

    reason = "unknown_order"
    quotes = False

    def __init__(self, order_id: UUID) -> None:
        super().__init__(f"there is no order {order_id}")
        self.order_id = order_id


class UnknownTableError(OrderServiceError):
    """The saga was started under a transition table that this release does not know: another one goes on with it."""

    reason = "unknown_table"
    quotes = False

    def __init__(self, order_id: UUID, version: int) -> None:
        super().__init__(
            f"the saga of order {order_id} was started under version {version} of the transition table, which this"
            " release does not know; a worker of the release that it was started with goes on with it"
        )
        self.order_id = order_id
        self.version = version


class DifferentContentError(RefusedError):
    """The same identity came before with another content; nothing was changed. Use a new identity."""

    reason = "different_content"

    def __init__(self, identity: str) -> None:
        super().__init__(f"{identity} was already used for another order; nothing was changed. Use a new one.")


class RefusedByDatabaseError(RefusedError):
    """PostgreSQL refuses this input as data."""

    reason = "refused_by_database"


class UnknownWebhookError(RefusedError):
    """There is no such endpoint, or it is somebody else's."""

    reason = "unknown_webhook"
    quotes = False

    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(f"there is no webhook {webhook_id}")
        self.webhook_id = webhook_id


class UnknownDeliveryError(RefusedError):
    """The endpoint has no such delivery."""

    reason = "unknown_delivery"
    quotes = False

    def __init__(self, delivery_id: UUID) -> None:
        super().__init__(f"there is no delivery {delivery_id} of this webhook")
        self.delivery_id = delivery_id


class WebhookDisabledError(RefusedError):
    """The endpoint is sent nothing. Enable it first."""

    reason = "webhook_disabled"
    quotes = False

    def __init__(self, webhook_id: UUID) -> None:
        super().__init__(f"webhook {webhook_id} is disabled; enable it first")
        self.webhook_id = webhook_id


class DatabaseAwayError(OrderServiceError):
    """The database cannot be reached at the moment; nothing was lost. Try again."""

    reason = "database_away"
    quotes = False


class BusAwayError(OrderServiceError):
    """RabbitMQ cannot be reached at the moment; the message stays in the outbox."""

    reason = "bus_away"
    quotes = False


class ConfigurationError(OrderServiceError):
    """The service cannot start like this; the message names the variable and says what to do."""

    reason = "configuration"
    quotes = False


DATABASE_ERRORS: tuple[type[Exception], ...] = (DBAPIError, PoolTimeoutError, OSError)
"""What comes out of the database driver when something is wrong; `classify` says what."""


class DatabaseFault(Enum):
    """What a failed statement or commit means."""

    AWAY = auto()
    """The database cannot be reached; whether a commit took place is unknown."""
    BUSY = auto()
    """Something else was in the way: a lock, a deadlock, a row that somebody else was quicker to write."""
    DATA = auto()
    """PostgreSQL refuses the data; trying again is of no use."""
    BUG = auto()
    """None of these: a mistake of ours."""

    @property
    def transient(self) -> bool:
        """Whether the same work may succeed later."""
        return self in (DatabaseFault.AWAY, DatabaseFault.BUSY)


REFUSED_LOGIN = ("28", "3D000", "42501")
"""Wrong user or password, no such database, no right to use it: at the start a mistake of whoever set it."""
# classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html
_AWAY = ("08", "53", "57P", "58", "25006", "42P01", *REFUSED_LOGIN)
"""Connection lost, out of resources, shutting down, a standby, a schema that the migration has yet to make, a login
that is not right any more: somebody is changing it."""
_BUSY = ("40001", "40P01", "55P03", "57014", "25P02", "25P03", "0A000", "23505")
"""Serialization, deadlock, lock and statement timeouts, a plan that a migration made stale, a duplicate to be read."""
_DATA = ("22", "23502", "23514")


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five characters for what happened; empty where it said nothing."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def classify(error: BaseException) -> DatabaseFault:
    """What to do about an error that came out of the database driver."""
    if isinstance(error, OSError | TimeoutError | PoolTimeoutError):
        return DatabaseFault.AWAY
    if not isinstance(error, DBAPIError):
        return DatabaseFault.BUG
    code = sqlstate(error)
    if error.connection_invalidated or code.startswith(_AWAY):
        return DatabaseFault.AWAY
    if code.startswith(_BUSY):
        return DatabaseFault.BUSY
    return DatabaseFault.DATA if code.startswith(_DATA) else DatabaseFault.BUG
