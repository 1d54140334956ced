"""The egress proxy (`WEBHOOK_PROXY`): every connection to a receiver is a tunnel through it, made with CONNECT.

It is asked for the address that was checked, never for a name: what it connects to cannot be another address than the
guard has seen, as long as the proxy does as it is asked.
"""

import asyncio
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import h11
import httpcore2
from httpcore2 import SOCKET_OPTION, AsyncNetworkBackend, AsyncNetworkStream

_READ_AT_ONCE = 4096


class ProxyError(httpcore2.ConnectError):
    """The proxy has not made the connection; the words are ours."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is, and how the service says who it is."""

    host: str
    port: int
    authorization: str | None = None
    """The value of `Proxy-Authorization`."""


def read_proxy(text: str) -> Proxy:
    """Read `WEBHOOK_PROXY`: `http://user:password@host:port`, or without user and password.

    Raises:
        ValueError: it is not that; it is not quoted, since it may have a password in it.
    """
    wrong = ValueError("must be http://host:port or http://user:password@host:port")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise wrong from None
    rest = (url.path.removesuffix("/"), url.query, url.fragment)
    if url.scheme != "http" or not host or not port or any(rest) or any(one.isspace() for one in text):
        raise wrong
    if url.username is None:
        return Proxy(host, port)
    login = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return Proxy(host, port, f"Basic {b64encode(login.encode()).decode()}")


class ProxiedNetwork(AsyncNetworkBackend):
    """Makes connections through the proxy.

    Args:
        proxy: where it is.
        network: connects to the proxy.
    """

    def __init__(self, proxy: Proxy, network: AsyncNetworkBackend) -> None:
        self._proxy = proxy
        self._network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - its form
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Have the proxy connect to this address.

        Raises:
            ProxyError: it cannot be reached, or refuses.
            httpcore2.ConnectTimeout: it takes longer than `timeout`.
        """
        try:
            async with asyncio.timeout(timeout):
                try:
                    stream = await self._network.connect_tcp(
                        self._proxy.host, self._proxy.port, None, local_address, socket_options
                    )
                except httpcore2.ConnectError as error:
                    raise ProxyError("the proxy cannot be reached") from error
                try:
                    await self._tunnel(stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
                except BaseException:
                    await stream.aclose()
                    raise
                return stream
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error

    async def _tunnel(self, stream: AsyncNetworkStream, authority: str) -> None:
        connection = h11.Connection(h11.CLIENT)
        headers = [("host", authority)]
        if self._proxy.authorization:
            headers.append(("proxy-authorization", self._proxy.authorization))
        try:
            asked = h11.Request(method="CONNECT", target=authority, headers=headers)
            await stream.write((connection.send(asked) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            while not isinstance(event := connection.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.read(_READ_AT_ONCE))
        except (httpcore2.NetworkError, h11.RemoteProtocolError) as error:
            raise ProxyError("the proxy closed the connection, or does not speak HTTP/1.1") from error
        if not HTTPStatus.OK <= event.status_code < HTTPStatus.MULTIPLE_CHOICES:
            raise ProxyError(f"the proxy answered {event.status_code}")
