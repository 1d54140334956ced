"""One attempt at a receiver of every kind. Nothing here leaves the loopback address."""

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from saga.webhooks.answers import LONGEST_WAIT, Answer, excerpt, retry_after
from saga.webhooks.client import IDLE_CONNECTIONS, Sender
from saga.webhooks.connections import MOST_READ
from saga.webhooks.name_resolution import Resolver
from saga.webhooks.ssrf import AddressRefusedError, allowances
from tests.certificates import DAY, Authority
from tests.service import PROJECT
from tests.waiting import until
from tests.webhooks.receiving import (
    DEAD,
    NOBODY_TRUSTED,
    PUBLIC,
    PUBLIC_V6,
    Behaviour,
    Loopback,
    Names,
    answers,
    closes,
    drips,
    hangs,
    ok,
    receiver,
)

HEADERS = {"webhook-id": "msg_1", "content-type": "application/json"}
OWNER = "key:shop"
BODY = b'{"type":"order.completed"}'
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def soon(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.4) -> None:
    """All of an attempt has to be over by then."""
    monkeypatch.setattr("saga.webhooks.client.WITHIN", timedelta(seconds=seconds))


async def asked(behaviour: Behaviour, stack: AsyncExitStack) -> tuple[Answer, list[bytes]]:
    """What comes of sending to such a receiver, which is allowed and speaks no TLS."""
    here = await stack.enter_async_context(receiver(behaviour))
    sender = Sender(allowances(f"127.0.0.1:{here.port}"), network=Loopback(), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    return await sender.send(f"http://127.0.0.1:{here.port}/hooks?a=1", HEADERS, BODY), here.requests


async def test_the_body_arrives_as_it_is(stack: AsyncExitStack) -> None:
    answer, requests = await asked(ok(b"thank you"), stack)
    assert (answer.status, answer.error, answer.excerpt, answer.retry_after) == (200, None, "thank you", None)
    head, _, body = requests[0].partition(b"\r\n\r\n")
    first, *lines = head.lower().split(b"\r\n")
    assert first == b"post /hooks?a=1 http/1.1"
    assert body == BODY
    assert b"webhook-id: msg_1" in lines
    assert b"content-type: application/json" in lines
    assert b"accept-encoding: identity" in lines
    assert not [line for line in lines if line.startswith((b"cookie", b"authorization", b"traceparent", b"transfer"))]


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503, 599, 999])
async def test_whatever_is_answered_is_the_answer(stack: AsyncExitStack, status: int) -> None:
    answer, requests = await asked(ok(status=b"%d X" % status), stack)
    assert (answer.status, answer.error) == (status, None)
    assert len(requests) == 1


async def test_a_redirect_is_not_followed(stack: AsyncExitStack, authority: Authority) -> None:
    canary = await stack.enter_async_context(receiver(ok()))
    for status in (b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"):
        answer, _ = await asked(ok(b"", b"location: http://127.0.0.1:%d/" % canary.port, status=status), stack)
        assert answer.status == int(status[:3])
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (closes, "the connection was closed without an answer"),
        (answers(b"220 smtp.example.com ESMTP\r\n\r\n"), "the answer is not HTTP/1.1"),
        (answers(b"\x00\xff" * 500 + b"\r\n\r\n"), "the answer is not HTTP/1.1"),
        (answers(b"HTTP/1.1 99 Low\r\n\r\n"), "the answer is not HTTP/1.1"),
        (answers(HEAD + b"content-length: x\r\n\r\n"), "the answer is not HTTP/1.1"),
        (answers(HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"), "the answer is not HTTP/1.1"),
        (answers(HEAD + b"a\x00b: c\r\n\r\n"), "the answer is not HTTP/1.1"),
        (hangs, "timed out after 0.4 s"),
        (drips(HEAD, b"x-a: b\r\n"), "timed out after 0.4 s"),
        (drips(b"", b"H", every=0.1), "timed out after 0.4 s"),
        (drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "timed out after 0.4 s"),
        (drips(HEAD, b"x-a: " + b"b" * 1000 + b"\r\n", every=0), "the answer is longer than 64 kB"),
        (drips(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40, every=0), "the answer is longer than 64 kB"),
        (drips(HEAD + b"x: ", b"b" * 1000, every=0), "the answer is longer than 64 kB"),
    ],
)
async def test_who_does_not_answer_is_told_apart(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, error: str
) -> None:
    if error.startswith("timed out"):
        soon(monkeypatch)
    answer, _ = await asked(behaviour, stack)
    assert (answer.status, answer.error, answer.excerpt) == (None, error, "")
    assert answer.seconds < 10


@pytest.mark.parametrize(
    ("behaviour", "beginning"),
    [
        (drips(HEAD + b"content-length: 1000\r\n\r\n", b"drop"), "dropdrop"),
        (drips(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"4\r\ndrop\r\n"), "dropdrop"),
        (drips(HEAD + b"\r\n", b"endless " * 100, every=0), "endless endless"),
        (drips(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"8\r\nendless \r\n", every=0), "endless endless"),
        (answers(HEAD + b"transfer-encoding: chunked\r\n\r\nnot hexadecimal\r\n"), ""),
        (answers(HEAD + b"content-length: 99999999999999\r\n\r\nshort"), "short"),
        (ok(gzip.compress(b"0" * 10_000_000), b"content-encoding: gzip"), ""),
        (ok(b"\x1b[31mred\x00\x07\xff\xe2\x80\xae\n\n\tend"), "[31mred � end"),
    ],
)
async def test_a_status_counts_whatever_comes_after_it(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, beginning: str
) -> None:
    soon(monkeypatch, 1)
    answer, _ = await asked(behaviour, stack)
    assert (answer.status, answer.error) == (200, None)
    assert answer.excerpt.startswith(beginning)
    assert len(answer.excerpt) <= 500
    assert answer.excerpt.isprintable()
    assert answer.seconds < 5


async def test_no_more_is_read_than_is_said(stack: AsyncExitStack) -> None:
    written = 0

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(high=0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.write(HEAD + b"\r\n")
        while True:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    here = await stack.enter_async_context(receiver(floods))
    sender = Sender(allowances(f"127.0.0.1:{here.port}"), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    answer = await sender.send(f"http://127.0.0.1:{here.port}/", {}, BODY)
    assert answer.status == 200
    await asyncio.wait_for(here.closed.wait(), 5)
    # what the system has taken for us comes on top of what was read
    assert written < MOST_READ + 8_000_000
    assert sender._pool.connections == []


async def test_a_connection_that_was_given_up_is_closed(stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch, 0.2)
    here = await stack.enter_async_context(receiver(hangs))
    url = f"127.0.0.1:{here.port}"
    sender = Sender(allowances(url), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    # over TLS too: its handshake is never answered
    for scheme in ("http", "https"):
        here.closed.clear()
        assert (await sender.send(f"{scheme}://{url}/", {}, BODY)).error == "timed out after 0.2 s"
        await asyncio.wait_for(here.closed.wait(), 5)
    assert sender._pool.connections == []


async def test_one_that_hangs_keeps_no_other_waiting(stack: AsyncExitStack) -> None:
    slow = await stack.enter_async_context(receiver(hangs))
    quick = await stack.enter_async_context(receiver(ok()))
    sender = Sender(allowances(f"127.0.0.1:{slow.port} 127.0.0.1:{quick.port}"), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    waiting = [asyncio.create_task(sender.send(f"http://127.0.0.1:{slow.port}/", {}, BODY)) for _ in range(60)]
    await until(lambda: _are(slow.connections, len(waiting)))
    answer = await sender.send(f"http://127.0.0.1:{quick.port}/", {}, BODY)
    assert answer.status == 200
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _are(number: int, so_many: int) -> bool:
    return number == so_many


async def test_few_connections_are_kept(stack: AsyncExitStack) -> None:
    here = await stack.enter_async_context(receiver(ok()))
    sender = Sender(allowances(f"127.0.0.1:{here.port}"), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    await asyncio.gather(*[sender.send(f"http://127.0.0.1:{here.port}/", {}, BODY) for _ in range(50)])
    assert len(sender._pool.connections) <= IDLE_CONNECTIONS


async def test_who_is_not_there_refuses(stack: AsyncExitStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as here:
        port = here.getsockname()[1]
    sender = Sender(allowances(f"127.0.0.1:{port}"), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    answer = await sender.send(f"http://127.0.0.1:{port}/", {}, BODY)
    assert (answer.status, answer.error) == (None, "no connection could be made")


# names and addresses


class Public:
    """A receiver at a public address, as far as the sender can tell."""

    def __init__(self, authority: Authority, port: int, names: dict[str, list[list[str]]]) -> None:
        self.network = Loopback()
        self.names = Names(names)
        self.sender = Sender(frozenset(), resolve=self.names, network=self.network, trust=authority.trust)
        self.url = f"https://hooks.example.com:{port}/"

    async def send(self) -> Answer:
        return await self.sender.send(self.url, HEADERS, BODY)


async def public(
    authority: Authority,
    stack: AsyncExitStack,
    *answered: list[str],
    tls: ssl.SSLContext | None = None,
    behaviour: Behaviour | None = None,
) -> Public:
    tls = tls or authority.server("hooks.example.com")
    here = await stack.enter_async_context(receiver(behaviour or ok(), tls))
    there = Public(authority, here.port, {"hooks.example.com": list(answered)})
    stack.push_async_callback(there.sender.close)
    return there


async def test_the_connection_is_made_to_the_address_that_was_checked(
    authority: Authority, stack: AsyncExitStack
) -> None:
    seen = []
    tls = authority.server("hooks.example.com")
    tls.sni_callback = lambda _, name, __: seen.append(name)
    requests: list[bytes] = []
    here = await stack.enter_async_context(receiver(ok(), tls))
    there = Public(authority, here.port, {"hooks.example.com": [[PUBLIC]]})
    stack.push_async_callback(there.sender.close)
    await there.sender.admit(there.url, OWNER)
    answer = await there.send()
    requests = here.requests
    assert (answer.status, answer.error) == (200, None)
    assert there.network.attempts == [PUBLIC]
    assert seen == ["hooks.example.com"]
    assert f"host: hooks.example.com:{here.port}".encode() in requests[0].lower()


@pytest.mark.parametrize("inside", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_moves_inside_after_registration_is_refused(
    authority: Authority, stack: AsyncExitStack, inside: str
) -> None:
    there = await public(authority, stack, [PUBLIC], [inside])
    await there.sender.admit(there.url, OWNER)
    answer = await there.send()
    assert answer.status is None
    assert answer.error == "the address is not allowed: it must have a name that stands for public addresses only"
    assert there.network.attempts == []


async def test_a_name_is_asked_for_once_per_connection(authority: Authority, stack: AsyncExitStack) -> None:
    # what it stands for the second time is inside: nobody asks a second time
    there = await public(authority, stack, [PUBLIC], ["127.0.0.1"])
    assert (await there.send()).status == 200
    assert (there.names.asked, there.network.attempts) == (1, [PUBLIC])


async def test_a_connection_that_is_kept_stays_where_it_is(authority: Authority, stack: AsyncExitStack) -> None:
    there = await public(authority, stack, [PUBLIC], ["127.0.0.1"])
    assert [(await there.send()).status for _ in range(5)] == [200] * 5
    assert (there.names.asked, there.network.attempts) == (1, [PUBLIC])


async def test_a_new_connection_is_checked_again(authority: Authority, stack: AsyncExitStack) -> None:
    there = await public(authority, stack, [PUBLIC], ["127.0.0.1"], behaviour=ok(b"", b"connection: close"))
    assert (await there.send()).status == 200
    assert (await there.send()).status is None
    assert there.network.attempts == [PUBLIC]


@pytest.mark.parametrize(
    "mixed", [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC_V6, "::1"], [PUBLIC, PUBLIC_V6, "fd00::1"]]
)
async def test_a_name_that_is_inside_too_is_refused_whole(
    authority: Authority, stack: AsyncExitStack, mixed: list[str]
) -> None:
    there = await public(authority, stack, mixed)
    with pytest.raises(AddressRefusedError, match="public addresses only"):
        await there.sender.admit(there.url, OWNER)
    assert (await there.send()).status is None
    assert there.network.attempts == []


async def test_the_next_address_is_tried_where_one_is_dead(
    authority: Authority, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saga.webhooks.connections.PATIENCE", timedelta(seconds=0.1))
    there = await public(authority, stack, [DEAD, PUBLIC_V6])
    assert (await there.send()).status == 200
    assert there.network.attempts == [DEAD, PUBLIC_V6]


async def test_not_all_of_many_addresses_are_tried(authority: Authority, stack: AsyncExitStack) -> None:
    there = await public(authority, stack, [f"8.8.4.{number}" for number in range(200)])
    assert (await there.send()).error == "no connection could be made"
    assert len(there.network.attempts) == 4


async def test_a_name_that_does_not_resolve_is_refused(authority: Authority, stack: AsyncExitStack) -> None:
    there = await public(authority, stack, [])
    with pytest.raises(AddressRefusedError, match=r"^must have a name that resolves$"):
        await there.sender.admit(there.url, OWNER)
    answer = await there.send()
    assert (answer.error, answer.refused) == ("the name does not resolve", False)


async def test_a_name_that_is_looked_up_for_ever_is_waited_for_only_so_long(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon(monkeypatch, 0.2)
    monkeypatch.setattr("saga.webhooks.client.RESOLVED_WITHIN", timedelta(seconds=0.2))
    go_on = threading.Event()
    stack.callback(go_on.set)
    looked_up = []

    def look_up(name: str, *_: object, **__: object) -> list[object]:
        looked_up.append(name)
        go_on.wait(20)
        raise socket.gaierror

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    sender = Sender(frozenset(), network=Loopback(), trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    with pytest.raises(AddressRefusedError, match="in time"):
        await sender.admit("https://slow.attacker.com/", OWNER)
    several = await asyncio.gather(*[sender.send("https://slow.attacker.com/", {}, BODY) for _ in range(100)])
    assert {answer.error for answer in several} == {"timed out after 0.2 s"}
    # however many wait for it, it holds one thread; and one more while somebody registers it
    assert looked_up == ["slow.attacker.com"] * 2


async def test_names_that_are_looked_up_for_ever_keep_no_other_waiting(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon(monkeypatch, 2)
    monkeypatch.setattr("saga.webhooks.client.RESOLVED_WITHIN", timedelta(seconds=2))
    go_on = threading.Event()
    stack.callback(go_on.set)
    begun = []

    def look_up(name: str, *_: object, **__: object) -> list[object]:
        begun.append(name)
        if "slow" in name:
            go_on.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (DEAD, 0))]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    network = Loopback()
    sender = Sender(frozenset(), network=network, trust=NOBODY_TRUSTED)
    stack.push_async_callback(sender.close)
    names = [f"slow{number}.attacker.com" for number in range(100)]
    # as many as a worker ever sends to at once, and as many people who register
    slow = [
        *(asyncio.ensure_future(sender.send(f"https://{name}/", {}, BODY)) for name in names),
        *(asyncio.ensure_future(sender.admit(f"https://{name}/", name)) for name in names),
    ]

    async def all_are_looked_up() -> bool:
        return set(begun) == set(names)

    async def connecting() -> bool:
        return network.attempts == [DEAD]

    await until(all_are_looked_up)
    quick = asyncio.ensure_future(sender.send("https://hooks.shop.com/", {}, BODY))
    await until(connecting)
    for one in (quick, *slow):
        one.cancel()
    await asyncio.gather(quick, *slow, return_exceptions=True)


SILENT = """
import asyncio, socket, threading
from saga.webhooks.name_resolution import Resolver

asked = threading.Event()

def silent(*_, **__):
    asked.set()
    threading.Event().wait()

async def ask():
    socket.getaddrinfo = silent
    resolver = Resolver(1)
    asking = asyncio.create_task(resolver("slow.attacker.com"))
    await asyncio.to_thread(asked.wait)
    resolver.close()
    await asyncio.wait([asking])
    print(asking.cancelled())

asyncio.run(ask())
"""


async def test_a_name_server_that_is_silent_does_not_keep_the_process_from_ending() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT, stdout=subprocess.PIPE, cwd=PROJECT)
    told, _ = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, told) == (0, b"True\n")


async def test_names_that_are_looked_up_for_ever_leave_room_for_others(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    stack.callback(go_on.set)
    started: list[str] = []

    def look_up(name: str, *_: object, **__: object) -> list[object]:
        started.append(name)
        go_on.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0))]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    most = 4
    resolver = Resolver(most)
    asking = [asyncio.create_task(resolver(f"n{number}.attacker.com")) for number in range(most + 5)]
    await until(lambda: _are(len(started), most))
    # one that nobody waits for any more goes on, and those behind it have their turn
    asking[0].cancel()
    go_on.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(one[0]) for one in answers if not isinstance(one, BaseException)] == [PUBLIC] * (most + 4)
    assert len(started) == len(asking)


async def test_the_systems_resolver_is_asked_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def look_up(name: str, *_: object, **__: object) -> list[object]:
        threads.append(threading.current_thread())
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%eth0", 0, 0, 2)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0)),
        ]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    resolver = Resolver(1)
    found = await resolver("hooks.example.com")
    resolver.close()
    assert [str(one) for one in found] == ["fe80::1%eth0", PUBLIC]
    assert threads[0] is not threading.current_thread()


async def test_proxies_of_the_environment_are_not_asked(
    authority: Authority, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = await stack.enter_async_context(receiver(ok()))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    there = await public(authority, stack, [PUBLIC])
    assert (await there.send()).status == 200
    assert (await asked(ok(), stack))[0].status == 200
    assert canary.connections == 0


# certificates


async def test_a_certificate_of_a_trusted_authority_is_taken(authority: Authority, stack: AsyncExitStack) -> None:
    there = await public(authority, stack, [PUBLIC], tls=authority.server("*.example.com"))
    assert (await there.send()).status == 200


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ((("other.example.com",), DAY, False), "it is for another host name than the one in the address"),
        (((PUBLIC, "127.0.0.1"), DAY, False), "it is for another host name than the one in the address"),
        ((("hooks.example.com",), -DAY, False), "it has expired"),
        ((("hooks.example.com",), DAY, True), "it is signed by nobody else, and is not itself trusted here"),
    ],
)
async def test_a_wrong_certificate_is_refused(
    authority: Authority, stack: AsyncExitStack, made: tuple[tuple[str, ...], timedelta, bool], why: str
) -> None:
    names, ends, by_itself = made
    tls = authority.server(*names, ends=ends, by_itself=by_itself)
    there = await public(authority, stack, [PUBLIC], tls=tls)
    answer = await there.send()
    assert (answer.status, answer.error) == (None, f"TLS: the certificate is refused: {why}")


async def test_an_authority_that_nobody_trusts_is_refused(
    authority: Authority, stack: AsyncExitStack, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "somebody else")
    there = await public(authority, stack, [PUBLIC], tls=stranger.server("hooks.example.com"))
    assert (
        await there.send()
    ).error == "TLS: the certificate is refused: it is not signed by a CA that is trusted here"


async def test_who_speaks_no_tls_is_refused(authority: Authority, stack: AsyncExitStack) -> None:
    async def speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example.com ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(speaks_first, "127.0.0.1", 0)
    stack.callback(server.close)
    there = Public(authority, server.sockets[0].getsockname()[1], {"hooks.example.com": [[PUBLIC]]})
    stack.push_async_callback(there.sender.close)
    assert (await there.send()).error == "TLS: no agreement with the receiver"


# what is read of an answer

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("0", timedelta()),
        (" 007 ", timedelta(seconds=7)),
        ("86400", LONGEST_WAIT),
        ("86401", LONGEST_WAIT),
        ("9" * 5000, LONGEST_WAIT),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        ("Mon, 04 May 2026 12:00:30 -0000", timedelta(seconds=30)),
        (format_datetime(NOW - timedelta(days=400), usegmt=True), timedelta()),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), LONGEST_WAIT),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("²", None),
        ("Mon, 99 May 2026 12:00:30 GMT", None),
        ("Mon, 04 May 99999999999999999999 12:00:30 GMT", None),
        ("Mon, 04 May 2026 12:00:30 +99999999999999", None),
        (",,,,,,", None),
        ("\x00\x01", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(given: str, wait: timedelta | None) -> None:
    assert retry_after([given.encode("latin-1")], NOW) == wait


async def test_retry_after_is_handed_on(stack: AsyncExitStack) -> None:
    answer, _ = await asked(ok(b"", b"Retry-After: 17", status=b"429 Slow down"), stack)
    assert (answer.status, answer.retry_after) == (429, timedelta(seconds=17))


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b"x" * 1000, "x" * 500),
        ("ü".encode() * 1000, "ü" * 500),
        ("a\u202eb\u2028c\ufeffd\x85e".encode(), "a b c d e"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"\xed\xa0\x80", "���"),
    ],
)
def test_an_excerpt_is_printable_and_short(body: bytes, shown: str) -> None:
    assert excerpt(body) == shown
