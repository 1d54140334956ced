"""What a connection may cost, over real sockets, in this process: with a server's usual patience made short."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse

from handlers.http import connections
from handlers.http.connections import MAX_HEAD_BYTES, Owed
from handlers.http.json_body import MAX_ACTION_BYTES, StrictRoute
from handlers.http.problems import answer_problems
from tests.connections.clients import connected, dribbling
from tests.connections.serving import here, port_of, protocol_of, serving
from tests.waiting import until

MOST = 8
ORDER = b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    return port_of(server)


def application() -> FastAPI:
    app = FastAPI()
    app.state.busy = 0
    answer_problems(app)
    app.router.route_class = StrictRoute

    @app.post("/body")
    async def body(sent: dict[str, Any]) -> Response:
        return PlainTextResponse(f"{len(sent)}")

    @app.get("/")
    async def at_once() -> Response:
        return PlainTextResponse("here")

    @app.post("/slow")
    async def slow(request: Request) -> Response:
        """Reads only after a while."""
        app.state.busy += 1
        await asyncio.sleep(1)
        return PlainTextResponse(f"{sum([len(piece) async for piece in request.stream()])}")

    @app.post("/unread")
    async def unread() -> Response:
        return PlainTextResponse("unread")

    return app


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """A server with these limits, one of whose seconds is ten of a real one's."""
    for owed, seconds in ((Owed.HEAD, 1.0), (Owed.BODY, 3.0), (Owed.REST, 0.3)):
        monkeypatch.setitem(connections.SECONDS, owed, seconds)
    monkeypatch.setattr(connections, "GAP_SECONDS", 0.5)
    monkeypatch.setattr(connections, "BODIES", 3)
    async with serving(application(), MOST) as server:
        yield server


async def test_who_says_nothing_is_hung_up_on(port: int) -> None:
    async with connected(port) as client:
        await client.gone()
        assert 0.9 < client.seconds < 4


async def test_a_head_that_dribbles_is_cut(port: int) -> None:
    async with connected(port) as client, dribbling(client, b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X-A: b\r\n" * 100):
        assert await client.refused() == (408, "request-timeout")
        assert 0.9 < client.seconds < 4


async def test_so_is_the_head_of_a_second_request(port: int) -> None:
    async with connected(port) as client:
        await client.say(GET)
        assert (await client.answer())[0] == 200
        async with dribbling(client, b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X-A: b\r\n" * 100):
            assert await client.refused() == (408, "request-timeout")


@pytest.mark.parametrize("size", [16_400, 200_000, 5_000_000])
@pytest.mark.parametrize("line", [b"X-Many: 1234567890\r\n", b"x"], ids=["many headers", "one long header"])
async def test_a_head_without_end_is_refused_however_it_comes(port: int, size: int, line: bytes) -> None:
    async with connected(port) as client:
        endless = b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + line * (size // len(line))
        saying = asyncio.create_task(client.say(endless + b"\r\n\r\n"))
        try:
            assert await client.refused() == (431, "head-too-large")
        except ConnectionError:
            # it was still talking when it was hung up on
            assert size > 100_000
        await asyncio.wait([saying])
        assert saying.exception() is None or isinstance(saying.exception(), ConnectionError)


async def test_a_head_of_16_kib_is_taken(port: int) -> None:
    beginning, end = b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: ", b"\r\n\r\n"
    async with connected(port) as client:
        await client.say(beginning + b"x" * (MAX_HEAD_BYTES - len(beginning + end)) + end)
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "before",
    [
        GET,
        ORDER + b"Content-Length: 2\r\n\r\n{}",
        ORDER + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000,
    ],
    ids=["no body", "length", "chunked", "a large body"],
)
async def test_a_head_behind_another_request_may_not_be_longer(port: int, before: bytes) -> None:
    beginning, end = GET.removesuffix(b"\r\n") + b"X-Long: ", b"\r\n\r\n"
    async with connected(port) as client:
        await client.say(before + beginning + b"x" * (MAX_HEAD_BYTES - len(beginning + end)) + end)
        assert [(await client.answer())[0] for _ in range(2)] == [200, 200]
        await client.say(before + beginning + b"x" * 100_000 + end)
        assert (await client.answer())[0] == 200
        assert await client.refused() == (431, "head-too-large")


async def test_requests_may_be_said_all_at_once(port: int) -> None:
    body = b'{"a":"' + b"x" * 40_000 + b'"}'
    orders = ORDER + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with connected(port) as client:
        saying = asyncio.create_task(client.say((GET * 100 + orders) * 20))
        for _ in range(20):
            assert [(await client.answer())[2] for _ in range(100)] == [b"here"] * 100
            assert (await client.answer())[2] == b"1"
        await saying


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_request_is_a_problem_too(port: int, garbage: bytes) -> None:
    async with connected(port) as client:
        await client.say(garbage)
        assert await client.refused() == (400, "unreadable")


async def test_who_asks_for_a_head_is_refused_without_a_body(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(port) as client:
        await client.say(b"HEAD / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
        assert (await client.head()).startswith("HTTP/1.1 400 ")
        assert await client.rest() == b""
    async with connected(port) as client:
        await client.say(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.head()).startswith("HTTP/1.1 405 ")
        await client.say(b"GET\r\n\r\n")
        assert await client.refused() == (400, "unreadable")
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"],
    ids=["length", "chunked"],
)
async def test_a_body_that_stops_is_cut(port: int, framing: bytes) -> None:
    async with connected(port) as client:
        await client.say(ORDER + framing + b"{")
        assert await client.refused() == (408, "request-timeout")
        assert 0.4 < client.seconds < 2.5


async def test_a_body_that_dribbles_is_cut_all_the_same(port: int) -> None:
    async with connected(port) as client:
        await client.say(ORDER + b"Content-Length: 1000\r\n\r\n")
        async with dribbling(client, b"[" * 1000):
            assert await client.refused() == (408, "request-timeout")
        assert 2.9 < client.seconds < 6


async def test_a_body_that_takes_its_time_is_taken(port: int) -> None:
    async with connected(port) as client:
        await client.say(ORDER + b"Content-Length: 7\r\n\r\n")
        for byte in b'{"a":1}':
            await client.say(bytes([byte]))
            await asyncio.sleep(0.1)
        assert (await client.answer())[2] == b"1"


async def test_a_client_is_not_blamed_for_a_server_that_does_not_read(port: int) -> None:
    """Beyond 64 kB nothing is taken until the application asks for it."""
    size = 3_000_000
    async with connected(port) as client:
        saying = asyncio.create_task(
            client.say(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        )
        assert (await client.answer())[2] == b"%d" % size
        await saying


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 99999999\r\n\r\n",
        b"Content-Length: 10\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5f5e0ff\r\n",
    ],
    ids=["too long by its own word", "lies", "chunked"],
)
async def test_a_body_without_end_is_refused_and_its_rest_is_not_listened_to_for_long(
    port: int, framing: bytes
) -> None:
    async with connected(port) as client:

        async def endless() -> None:
            try:
                await client.say(ORDER + framing + b'{"a":"')
                while True:
                    await client.say(b"x" * 65536)
                    await asyncio.sleep(0.001)
            except ConnectionError:
                return

        saying = asyncio.create_task(endless())
        status, _, body = await client.answer()
        assert status in {400, 413}
        assert "Traceback" not in body.decode()
        async with asyncio.timeout(30):
            await saying


async def test_what_nobody_reads_does_not_keep_the_connection(port: int) -> None:
    async with connected(port) as client:
        await client.say(b"POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        assert (await client.answer())[0] == 200
        async with dribbling(client, b"x" * 1000):
            await client.gone()
        assert client.seconds < 4


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(port: int) -> None:
    for more, status in ((0, 200), (1, 413)):
        body = b'{"a":"' + b"x" * (MAX_ACTION_BYTES - 8 + more) + b'"}'
        for framing in (b"Content-Length: %d\r\n\r\n%b", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"):
            async with connected(port) as client:
                await client.say(ORDER + framing % (len(body), body))
                assert (await client.answer())[0] == status


async def test_where_there_are_too_many_who_says_nothing_makes_room(port: int) -> None:
    async with connected(port) as first, connected(port) as second:
        others = [connected(port) for _ in range(MOST - 1)]
        opened = [await other.__aenter__() for other in others]
        assert await first.refused() == (503, "too-many-connections")
        for client in (second, *opened):
            await client.say(GET)
            assert (await client.answer())[0] == 200
        for other in others:
            await other.__aexit__(None, None, None)


async def test_where_all_are_busy_who_comes_is_told_to_come_again(server: uvicorn.Server, port: int) -> None:
    busy = [connected(port) for _ in range(MOST)]
    for one in busy:
        await (await one.__aenter__()).say(b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    await until(lambda: here(server.config.app.state.busy == MOST))  # type: ignore[union-attr]  # ours
    async with connected(port) as client:
        status, headers, _ = await client.answer()
        assert (status, headers["retry-after"]) == (503, "2")
    for one in busy:
        await one.__aexit__(None, None, None)


async def test_where_too_many_bodies_are_arriving_the_oldest_makes_room(port: int) -> None:
    clients = [connected(port) for _ in range(4)]
    opened = [await client.__aenter__() for client in clients]
    for client in opened:
        await client.say(ORDER + b"Content-Length: 2\r\n\r\n{")
        await asyncio.sleep(0.05)
    assert await opened[0].refused() == (503, "too-many-connections")
    for client in opened[1:]:
        await client.say(b"}")
        assert (await client.answer())[0] == 200
    for one in clients:
        await one.__aexit__(None, None, None)


async def test_nothing_is_kept_of_connections_that_are_gone(server: uvicorn.Server, port: int) -> None:
    for request in (b"", b"GET", GET, ORDER + b"Content-Length: 9\r\n\r\n{"):
        async with connected(port) as client:
            await client.say(request or b"G")
            await asyncio.sleep(0.05)

    await until(lambda: here(not server.server_state.connections))
    assert not any(protocol_of(server).owing.values())
