"""A server in this process that keeps the limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import uvicorn

from handlers.http.connections import Punctual, bounded
from tests.waiting import until


async def here(value: object) -> object:
    """What is true in this process already, or not yet."""
    return value


@asynccontextmanager
async def serving(app: Any, connections: int) -> AsyncIterator[uvicorn.Server]:
    """A server for that many connections, as long as the block lasts."""
    config = uvicorn.Config(
        app, port=0, http=bounded(connections), lifespan="off", log_level="error", timeout_keep_alive=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: here(server.started))
    yield server
    server.should_exit = True
    await task


def port_of(server: uvicorn.Server) -> int:
    number: int = server.servers[0].sockets[0].getsockname()[1]
    return number


def protocol_of(server: uvicorn.Server) -> type[Punctual]:
    return cast("type[Punctual]", server.config.http_protocol_class)
