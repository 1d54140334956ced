"""Sends one webhook, once: to the address that was checked, within a time, reading no more than so much of the answer.

It stands on httpcore2, below httpx2: there are no redirects, no proxies from the environment, no cookies, no decoding
of compressed answers, and no line in a log that names a customer's URL.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import httpcore2
from httpcore2 import URL, AnyIOBackend, AsyncConnectionPool, AsyncNetworkBackend, Request

from saga.webhooks.answers import LONGEST_EXCERPT, Answer, excerpt, retry_after
from saga.webhooks.connections import AnswerTooLongError, Guard, GuardedNetwork, NotConnectedError, UnresolvedError
from saga.webhooks.name_resolution import Resolve, Resolver
from saga.webhooks.proxy import ProxiedNetwork, Proxy
from saga.webhooks.ssrf import AddressRefusedError, Allowed, Denied, destination

WITHIN = timedelta(seconds=15)
"""For all of an attempt: to look the name up, connect, agree on TLS, write, and read the answer."""
RESOLVED_WITHIN = timedelta(seconds=5)
"""At registration, where somebody waits for the answer."""
MOST_LOOKED_UP, MOST_LOOKED_UP_TO_ADMIT = 200, 32
"""Names at once. For attempts: twice as many as there are under way at a worker, since a look-up that was given up goes
on for a while. At registration they are others, so that whoever registers much keeps no delivery waiting."""
IDLE_CONNECTIONS = 20
"""Kept open for the next delivery to the same receiver, of all receivers together."""
IDLE_FOR = timedelta(seconds=4)
"""Less than the five seconds after which many servers hang up."""

_OURS = (("user-agent", "order-service"), ("accept", "*/*"), ("accept-encoding", "identity"))


@dataclass(slots=True)
class _Answering:
    """What has been read so far."""

    status: int | None = None
    retry_after: timedelta | None = None
    body: bytearray = field(default_factory=bytearray)


class Sender:
    """Sends webhooks, and knows which addresses they may be sent to.

    How many are under way at once is for the caller to limit: no number of connections is common to all, so that one
    receiver could use them up by letting its own wait.
    """

    def __init__(  # noqa: PLR0913 - the last three are for tests
        self,
        allowed: Allowed,
        denied: Denied = (),
        *,
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
        network: AsyncNetworkBackend | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is connected here.

        Args:
            allowed: exceptions to the rule, by host and port.
            denied: networks that are never called.
            proxy: through which all connections are made; None: they are made from here.
            resolve: instead of the system's resolver, at registration too.
            network: what connects to the addresses that were let through.
            trust: instead of the authorities that the system trusts.
        """
        self._allowed = allowed
        self._guard = Guard(allowed, denied)
        self._resolve = resolve
        self._to_send, self._to_admit = Resolver(MOST_LOOKED_UP), Resolver(MOST_LOOKED_UP_TO_ADMIT)
        network = network or AnyIOBackend()
        if proxy:
            network = ProxiedNetwork(proxy, network)
        self._pool = AsyncConnectionPool(
            ssl_context=trust or ssl.create_default_context(),
            max_connections=None,
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_FOR.total_seconds(),
            network_backend=GuardedNetwork(self._guard, resolve or self._to_send, network),
        )

    async def admit(self, url: str, owner: str) -> None:
        """Say whether webhooks may be sent to this URL, as things are now. Nothing is sent.

        Args:
            url: of the receiver.
            owner: the owner that a look-up of its name counts for.

        Raises:
            AddressRefusedError: they may not, and why.
            TooManyLookUpsError: the owner has too many under way.
        """
        where = destination(url, self._allowed)
        resolve = self._resolve or partial(self._to_admit, owner=owner)
        try:
            async with asyncio.timeout(RESOLVED_WITHIN.total_seconds()):
                await self._guard.addresses(where.host, where.port, resolve)
        except TimeoutError as error:
            raise UnresolvedError("must have a name that resolves in time") from error

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post this once.

        It never raises for what the receiver or the network does. As soon as there is a status, that is the answer,
        whatever becomes of the text after it.
        """
        loop = asyncio.get_running_loop()
        began, answering, error, refused = loop.time(), _Answering(), None, False
        try:
            async with asyncio.timeout(WITHIN.total_seconds()):
                await self._exchange(url, headers, body, answering)
        except Exception as raised:  # noqa: BLE001 - however a receiver upsets the libraries, it is its failure alone
            error, refused = _why(raised), _is_refusal(raised)
        return Answer(
            status=answering.status,
            error=error if answering.status is None else None,
            excerpt=excerpt(bytes(answering.body)),
            retry_after=answering.retry_after,
            seconds=loop.time() - began,
            refused=refused,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        for resolver in (self._to_send, self._to_admit):
            resolver.close()
        await self._pool.aclose()

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, answering: _Answering) -> None:
        where = destination(url, self._allowed)
        request = Request(
            "POST",
            URL(scheme=where.scheme, host=where.host, port=where.port, target=where.target),
            headers=[*_OURS, ("host", where.authority), ("content-length", str(len(body))), *headers.items()],
            content=body,
        )
        response = await self._pool.handle_async_request(request)
        try:
            given = [(name.lower(), value) for name, value in response.headers]
            answering.status = response.status
            answering.retry_after = retry_after((value for name, value in given if name == b"retry-after"), _now())
            readable = not any(name == b"content-encoding" for name, _ in given)
            async for chunk in response.aiter_stream():
                # as many bytes as that many characters can have
                room = 4 * LONGEST_EXCERPT - len(answering.body)
                answering.body += chunk[:room] if readable else b""
        finally:
            await response.aclose()


def _now() -> datetime:
    return datetime.now(UTC)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, AddressRefusedError) and not isinstance(error, UnresolvedError)


def _why(error: Exception) -> str:
    match error:
        case UnresolvedError():
            return "the name does not resolve"
        case AddressRefusedError():
            return f"the address is not allowed: it {error}"
        case NotConnectedError() | AnswerTooLongError():
            return str(error)
        case TimeoutError():
            return f"timed out after {WITHIN.total_seconds():g} s"
        # where nothing came, the library says so by itself; else it hands on what its reader says
        case httpcore2.RemoteProtocolError() if error.__context__:
            return "the answer is not HTTP/1.1"
        case _:
            return "the connection was closed without an answer"
