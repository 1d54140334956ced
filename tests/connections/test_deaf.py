"""Clients that do not take their answers, over real sockets, in this process: with a server's patience made short."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.responses import PlainTextResponse, StreamingResponse

from handlers.http import connections
from handlers.http.connections import Owed
from handlers.http.problems import answer_problems
from handlers.http.shutdown import Endable
from tests.connections.clients import LITTLE, connected, deaf
from tests.connections.serving import here, port_of, protocol_of, serving
from tests.waiting import until

MOST = 4
PATIENCE = 0.5
LONG = 60.0
MUCH = 1_000_000
"""More than a server keeps in its memory before it waits."""
SOME = 50_000
"""Less than that, and more than the kernel keeps."""


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


async def in_pieces() -> AsyncIterator[bytes]:
    for _ in range(MUCH // SOME):
        yield b"x" * SOME


async def broken_off() -> AsyncIterator[bytes]:
    yield b"x" * SOME
    raise ValueError("there is no more")


async def news() -> AsyncIterator[bytes]:
    """Much, and then nothing for a while."""
    yield b"x" * MUCH
    await asyncio.sleep(5 * PATIENCE)
    yield b"news"


def _streaming(told: Callable[[], AsyncIterator[bytes]]) -> Callable[[Request], Response]:
    return lambda _: StreamingResponse(told())


def application() -> Endable:
    app = FastAPI()
    answer_problems(app)

    @app.get("/")
    async def at_once() -> Response:
        return PlainTextResponse("here")

    @app.get("/whole/{size}")
    async def whole(size: int) -> Response:
        return Response(b"x" * size)

    @app.get("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    for path, told in (("/pieces", in_pieces), ("/broken", broken_off), ("/news", news)):
        app.add_route(path, _streaming(told))
    return Endable(app)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """A server whose kernel keeps little."""
    monkeypatch.setattr(connections, "GAP_SECONDS", PATIENCE)
    async with serving(application(), MOST) as server:
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LITTLE)
        yield server


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    return port_of(server)


async def is_connected(server: uvicorn.Server, count: int = 1) -> None:
    await until(lambda: here(len(server.server_state.connections) == count))


async def all_gone(server: uvicorn.Server) -> None:
    await until(lambda: here(not server.server_state.connections), 4)
    assert not any(protocol_of(server).owing.values())


async def is_owed(server: uvicorn.Server, owed: Owed, count: int = 1) -> None:
    await until(lambda: here(len(protocol_of(server).owing[owed]) == count))


@pytest.mark.parametrize(
    "says",
    [
        get("/pieces"),
        get(f"/whole/{MUCH}"),
        get(f"/whole/{MUCH}") + get("/"),
        get(f"/whole/{SOME}") * 20,
        get(f"/whole/{SOME}", "Connection: close"),
        get("/broken"),
    ],
    ids=["in pieces", "at once", "and asks for more", "asks for much", "and the connection closes", "breaks off"],
)
async def test_who_takes_nothing_is_hung_up_on(server: uvicorn.Server, port: int, says: bytes) -> None:
    async with deaf(port) as client:
        await is_connected(server)
        await client.say(says)
        await all_gone(server)


async def test_who_asks_for_no_more_and_takes_nothing_is_hung_up_on(server: uvicorn.Server, port: int) -> None:
    async with deaf(port) as client:
        await is_connected(server)
        await client.say(get(f"/whole/{SOME}"))
        await until(lambda: here(server.server_state.total_requests))
        client.say_no_more()
        await all_gone(server)


async def test_so_is_who_takes_nothing_before_the_connection_has_been_idle_for_too_long(
    server: uvicorn.Server, port: int
) -> None:
    server.config.timeout_keep_alive = 0
    async with deaf(port) as client:
        await is_connected(server)
        await client.say(get(f"/whole/{SOME}"))
        await all_gone(server)


async def test_who_dribbles_another_request_takes_nothing_all_the_same(server: uvicorn.Server, port: int) -> None:
    async with deaf(port) as client:
        await is_connected(server)
        await client.say(get(f"/whole/{MUCH}"))
        await is_owed(server, Owed.ANSWER)

        async def dribble() -> None:
            try:
                while True:
                    await client.say(b"x")
                    await asyncio.sleep(PATIENCE / 5)
            except ConnectionError:
                return

        dribbling = asyncio.create_task(dribble())
        await all_gone(server)
        await dribbling


@pytest.mark.parametrize("path", ["/pieces", f"/whole/{MUCH}"])
async def test_who_takes_it_slowly_gets_it(port: int, path: str) -> None:
    """Much more slowly than anybody's patience lasts."""
    began = asyncio.get_running_loop().time()
    async with deaf(port) as client:
        await client.say(get(path, "Connection: close"))
        taken = 0
        while piece := await client.take(30_000):
            taken += len(piece)
            await asyncio.sleep(PATIENCE / 50)
        assert taken > MUCH
    assert asyncio.get_running_loop().time() - began > 2 * PATIENCE


async def test_a_stream_has_a_patience_of_its_own(port: int) -> None:
    async with deaf(port) as client:
        await client.say(get("/news", "Connection: close"))
        # nobody waits for it in the meantime
        await asyncio.sleep(4 * PATIENCE)
        told = b""
        while piece := await client.take(MUCH):
            told += piece
        assert b"news" in told


@pytest.mark.parametrize("path", ["/pieces", f"/whole/{MUCH}"])
async def test_where_there_are_too_many_who_takes_nothing_makes_room(
    server: uvicorn.Server, port: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GAP_SECONDS", LONG)
    async with AsyncExitStack() as stack:
        for _ in range(MOST):
            await (await stack.enter_async_context(deaf(port))).say(get(path))
        await is_owed(server, Owed.ANSWER, MOST)
        async with connected(port) as client:
            await client.say(get("/"))
            assert (await client.answer())[0] == 200
            await is_owed(server, Owed.ANSWER, MOST - 1)


@pytest.mark.parametrize(
    "says",
    [
        get(f"/whole/{MUCH}"),
        get(f"/whole/{SOME}"),
        get(f"/whole/{SOME}", "Connection: close"),
        get("/pieces"),
        get(f"/whole/{MUCH}") + get("/never"),
    ],
    ids=["much", "some", "and the connection closes", "in pieces", "and waits"],
)
async def test_who_takes_nothing_does_not_keep_the_server_from_stopping(
    server: uvicorn.Server,
    port: int,
    says: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connections, "GAP_SECONDS", LONG)
    monkeypatch.setattr("handlers.http.shutdown.END_WITHIN", PATIENCE)
    async with deaf(port) as client:
        await is_connected(server)
        await client.say(says)
        await until(lambda: here(_unwritten(server)))
        server.should_exit = True
        server.config.app.end()  # type: ignore[union-attr]  # ours
        await all_gone(server)
        await until(lambda: here(not server.server_state.tasks), 1)
    assert [one.message for one in caplog.records if one.levelno >= logging.ERROR] == []


def _unwritten(server: uvicorn.Server) -> bool:
    return all(one.transport.get_write_buffer_size() for one in server.server_state.connections)
