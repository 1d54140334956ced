"""Where connections to receivers are made: the guard that each of them passes, and what bounds them.

A name is looked up here, each address that it stands for is checked, and the connection is made to an address that was
checked: a name that stands for another a moment later (DNS rebinding) changes nothing. TLS and the Host header still go
by the name.
"""

import ssl
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import httpcore2
from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

from saga.runtime.tls import refused_certificate
from saga.webhooks.name_resolution import Resolve
from saga.webhooks.proxy import ProxyError
from saga.webhooks.ssrf import Address, AddressRefusedError, Allowed, Denied, is_denied, is_public, literal

MOST_READ = 64 * 1024
"""Bytes of an answer, its head included."""
MOST_TRIED = 4
"""Addresses of one name."""
PATIENCE = timedelta(seconds=3)
"""With an address that does not answer, while there is another one to try."""


class UnresolvedError(AddressRefusedError):
    """The name stands for no address, at the moment at least."""


class NotConnectedError(httpcore2.NetworkError):
    """Nobody was reached; the words are ours."""


class AnswerTooLongError(httpcore2.NetworkError):
    """The receiver has sent more than is read of an answer."""


class Guard:
    """Decides which addresses may be connected to.

    Args:
        allowed: exceptions to the rule that an address has to be public.
        denied: networks that are never called, not even where `allowed` names the host.
    """

    def __init__(self, allowed: Allowed, denied: Denied) -> None:
        self._allowed = allowed
        self._denied = denied

    async def addresses(self, host: str, port: int, resolve: Resolve) -> Sequence[Address]:
        """All addresses of this host, each of which may be connected to.

        Raises:
            UnresolvedError: it has none.
            AddressRefusedError: one of them is not public, or denied.
        """
        address = literal(host)
        addresses = await resolve(host) if address is None else [address]
        if not addresses:
            raise UnresolvedError("must have a name that resolves")
        if any(is_denied(one, self._denied) for one in addresses):
            raise AddressRefusedError("must not be in a network that this service never calls")
        if (host, port) not in self._allowed and not all(map(is_public, addresses)):
            raise AddressRefusedError("must have a name that stands for public addresses only")
        return addresses


class GuardedNetwork(AsyncNetworkBackend):
    """Makes the connections, and only those that may be made. Over TCP alone: it has no way to a socket in a folder."""

    def __init__(self, guard: Guard, resolve: Resolve, network: AsyncNetworkBackend) -> None:
        self._guard = guard
        self._resolve = resolve
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - its form
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to one of the host's addresses.

        Raises:
            AddressRefusedError: it may not be connected to.
            NotConnectedError: nobody answers there.
        """
        to_try = (await self._guard.addresses(host, port, self._resolve))[:MOST_TRIED]
        failure: Exception | None = None
        for left, address in zip(range(len(to_try) - 1, -1, -1), to_try, strict=True):
            patience = PATIENCE.total_seconds() if left else timeout
            try:
                stream = await self._network.connect_tcp(str(address), port, patience, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _Bounded(stream)
        said = str(failure) if isinstance(failure, ProxyError) else "no connection could be made"
        raise NotConnectedError(said) from failure


class _Bounded(AsyncNetworkStream):
    """A connection on which no answer is read beyond `MOST_READ`, and that is closed whatever becomes of its start."""

    def __init__(self, stream: AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MOST_READ

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - its form
        if not self._left:
            raise AnswerTooLongError(f"the answer is longer than {MOST_READ // 1024} kB")
        read = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(read)
        return read

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - its form
        # whatever is written is a request, and what is read from here on its answer
        self._left = MOST_READ
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - its form
    ) -> AsyncNetworkStream:
        try:
            return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException as error:
            # given up in the middle of it, the library would leave the connection open
            await self._stream.aclose()
            if isinstance(error, httpcore2.ConnectError):
                why = refused_certificate(error)
                said = f"the certificate is refused: {why}" if why else "no agreement with the receiver"
                raise NotConnectedError(f"TLS: {said}") from error
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
