"""How much one client may ask for. Whoever is on this machine, where no access is configured, may ask for anything."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from starlette.requests import HTTPConnection

from handlers.access.principal import Caller, caller_of
from handlers.access.token_bucket import Rate
from handlers.http.problems import RETRY_AFTER_SECONDS, ProblemError

ORDERS_AGAIN_SECONDS = 30
"""When somebody may come again who has too many open orders: about as long as an order takes, where all is well."""


BYTES_PER_REQUEST = 16 * 1024
"""Of a body: each further 16 kB count as one more request."""
ROWS_PER_REQUEST = 20
"""Of a list: each further 20 that are asked for count as one more request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that each may have, in one process."""

    key_requests_per_second: float = 200
    """Of one API key, on average; five seconds' worth at once."""
    user_requests_per_second: float = 20
    """Of one person, in the same way."""
    open_orders_per_user: int = 1000
    """Placed over HTTP, whoever places them."""
    streams_per_client: int = 100
    """That go on at once, of one API key or person; and as many answers that are held until something changes."""


class Rates:
    """Counts the requests of each client, and tells who asks too often.

    Args:
        limits: how often they may.
    """

    def __init__(self, limits: Limits) -> None:
        self._keys, self._users = Rate(limits.key_requests_per_second), Rate(limits.user_requests_per_second)

    def admit(self, caller: Caller, times: int = 1) -> None:
        """Count a request, or what costs as much as so many.

        Raises:
            ProblemError: 429, the client has asked too often.
        """
        if caller.local:
            return
        rate = self._users if caller.person else self._keys
        if seconds := rate.wait(caller.name, times):
            raise too_many("too_many_requests", "You ask too often.", ceil(seconds))


def spend_bytes(connection: HTTPConnection, count: int) -> None:
    """Count a body of so many bytes; what comes with the request itself has been counted.

    Raises:
        ProblemError: 429, the client has asked for too much.
    """
    _spend(connection, count, BYTES_PER_REQUEST)


def spend_rows(connection: HTTPConnection, count: int) -> None:
    """Count a list of so many; what comes with the request itself has been counted.

    Raises:
        ProblemError: 429, the client has asked for too much.
    """
    _spend(connection, count, ROWS_PER_REQUEST)


def _spend(connection: HTTPConnection, count: int, per_request: int) -> None:
    rates, further = connection.scope.get("rates"), ceil(count / per_request) - 1
    if isinstance(rates, Rates) and further > 0:
        rates.admit(caller_of(connection), further)


class AtOnce:
    """Counts what goes on of each client, and tells who has too much of it.

    Args:
        most: as much each may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of_client: Counter[str] = Counter()

    @contextmanager
    def one_more(self, caller: Caller, reason: str) -> Iterator[None]:
        """Count one, as long as the block lasts.

        Raises:
            ProblemError: 429, the client has as much as one may.
        """
        name = caller.name
        if not caller.local and self._of_client[name] >= self._most:
            raise too_many(reason, f"You follow, or wait for, {self._most} orders already.", RETRY_AFTER_SECONDS)
        self._of_client[name] += 1
        try:
            yield
        finally:
            self._of_client[name] -= 1
            if not self._of_client[name]:
                del self._of_client[name]


def too_many(reason: str, detail: str, seconds: int) -> ProblemError:
    """429: a client has, or asks for, more than one may; `seconds` from now it is worth asking again."""
    return ProblemError(429, reason, f"{detail} Come again in {seconds} s.", {"Retry-After": str(seconds)})
