"""Webhooks through an egress proxy: a small real one, which leads to this machine alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from saga.webhooks.client import Sender
from saga.webhooks.proxy import Proxy, read_proxy
from saga.webhooks.ssrf import AddressRefusedError, allowances
from tests.certificates import Authority
from tests.webhooks.receiving import PUBLIC, PUBLIC_V6, Loopback, Names, Receiver, answers, hangs, ok, receiver

BODY = b'{"type":"order.completed"}'
OWNER = "key:shop"
NO_HTTP = "the proxy closed the connection, or does not speak HTTP/1.1"
Pipe = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Tunnels:
    """A proxy that is there, and what it was asked for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def connect_proxy() -> AsyncIterator[Tunnels]:
    """Makes tunnels, as CONNECT asks for; where they would leave this machine it takes them to this machine."""
    here = Tunnels()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = first.split()
        given = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        here.asked.append(f"{method} {target}")
        here.logins.append(given.get("proxy-authorization"))
        there, back = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\n\r\n")
        with suppress(OSError):
            await asyncio.gather(pipe(reader, back), pipe(there, writer))

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def tunnels() -> AsyncIterator[Tunnels]:
    async with connect_proxy() as here:
        yield here


@pytest.fixture
async def there(tmp_path: Path, stack: AsyncExitStack) -> tuple[Receiver, Authority]:
    """A receiver with a certificate for its name."""
    authority = Authority(tmp_path)
    return await stack.enter_async_context(receiver(ok(), authority.server("hooks.example.com"))), authority


def names(*answered: list[str]) -> Names:
    return Names({"hooks.example.com": list(answered)})


@pytest.mark.parametrize(("address", "authority"), [(PUBLIC, PUBLIC), (PUBLIC_V6, f"[{PUBLIC_V6}]")])
async def test_the_proxy_is_asked_for_the_address_that_was_checked(
    tunnels: Tunnels, there: tuple[Receiver, Authority], stack: AsyncExitStack, address: str, authority: str
) -> None:
    (here, trusted), network = there, Loopback()
    proxy = read_proxy(f"http://orders:s%3Acret@127.0.0.1:{tunnels.port}")
    sender = Sender(frozenset(), proxy=proxy, resolve=names([address]), network=network, trust=trusted.trust)
    stack.push_async_callback(sender.close)
    url = f"https://hooks.example.com:{here.port}/"
    await sender.admit(url, OWNER)
    assert network.attempts == []
    answer = await sender.send(url, {}, BODY)
    assert (answer.status, answer.error) == (200, None)
    assert here.requests[0].endswith(BODY)
    assert b"proxy-authorization" not in here.requests[0].lower()
    assert tunnels.asked == [f"CONNECT {authority}:{here.port}"]
    assert tunnels.logins == ["Basic b3JkZXJzOnM6Y3JldA=="]
    assert network.attempts == ["127.0.0.1"]


async def test_a_receiver_that_is_allowed_without_tls_is_reached_through_the_proxy_too(
    tunnels: Tunnels, stack: AsyncExitStack
) -> None:
    here = await stack.enter_async_context(receiver(ok()))
    sender = Sender(allowances(f"127.0.0.1:{here.port}"), proxy=Proxy("127.0.0.1", tunnels.port), network=Loopback())
    stack.push_async_callback(sender.close)
    assert (await sender.send(f"http://127.0.0.1:{here.port}/", {}, BODY)).status == 200
    assert (tunnels.asked, tunnels.logins) == ([f"CONNECT 127.0.0.1:{here.port}"], [None])


@pytest.mark.parametrize("answered", [["10.0.0.1"], [PUBLIC, "127.0.0.1"], ["::ffff:169.254.169.254"]])
async def test_what_may_not_be_called_is_not_asked_of_the_proxy_either(
    tunnels: Tunnels, stack: AsyncExitStack, answered: list[str]
) -> None:
    network = Loopback()
    proxy = Proxy("127.0.0.1", tunnels.port)
    # public when it is registered, and inside a moment later
    sender = Sender(frozenset(), proxy=proxy, resolve=names([PUBLIC], answered), network=network)
    stack.push_async_callback(sender.close)
    await sender.admit("https://hooks.example.com/", OWNER)
    answer = await sender.send("https://hooks.example.com/", {}, BODY)
    assert (answer.status, answer.refused) == (None, True)
    with pytest.raises(AddressRefusedError):
        await sender.admit("https://127.0.0.1/", OWNER)
    assert (network.attempts, tunnels.asked) == ([], [])


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await answers(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")(reader, writer)


@asynccontextmanager
async def odd_proxy(behaviour: Pipe) -> AsyncIterator[int]:
    """A proxy that reads what it is asked, and then does this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(OSError):
            await behaviour(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (refuse, "the proxy answered 407"),
        (answers(b""), NO_HTTP),
        (answers(b"220 smtp.example.com ESMTP\r\n\r\n"), NO_HTTP),
        (
            answers(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
            NO_HTTP,
        ),
        (hangs, "timed out after 0.4 s"),
    ],
)
async def test_a_proxy_that_makes_no_connection_is_told_apart(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, behaviour: Pipe, error: str
) -> None:
    monkeypatch.setattr("saga.webhooks.client.WITHIN", timedelta(seconds=0.4))
    port = await stack.enter_async_context(odd_proxy(behaviour))
    sender = Sender(frozenset(), proxy=Proxy("127.0.0.1", port), resolve=names([PUBLIC]), network=Loopback())
    stack.push_async_callback(sender.close)
    answer = await sender.send("https://hooks.example.com/", {}, BODY)
    assert (answer.status, answer.error, answer.refused) == (None, error, False)


async def test_a_proxy_that_is_not_there_is_told_apart(stack: AsyncExitStack) -> None:
    async with odd_proxy(refuse) as port:
        pass
    sender = Sender(frozenset(), proxy=Proxy("127.0.0.1", port), resolve=names([PUBLIC]), network=Loopback())
    stack.push_async_callback(sender.close)
    answer = await sender.send("https://hooks.example.com/", {}, BODY)
    assert (answer.status, answer.error) == (None, "the proxy cannot be reached")


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://egress:4750", Proxy("egress", 4750)),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
        ("http://u:p@egress:80", Proxy("egress", 80, "Basic dTpw")),
    ],
)
def test_a_proxy_is_read(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    ["egress:4750", "https://egress:4750", "socks5://egress:1080", "http://egress", "http://:80", "http://egress:80/x",
     "http://egress:80?x", "http://egress:x", "http://egress:99999", "http://e gress:80", "http://[::1:80", ""],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be http://host:port or http://user:password@host:port$"):
        read_proxy(text)
