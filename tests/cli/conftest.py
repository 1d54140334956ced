"""The command line, run against a service that listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from handlers.cli.__main__ import app
from tests.http.conftest import Service, policy, service  # noqa: F401 - fixtures
from tests.waiting import until


@dataclass
class CommandLine:
    """Runs commands, beside the event loop that the service runs in."""

    url: str
    database: str = ""

    async def run(self, *arguments: object, code: int = 0) -> str:
        """What a command prints, errors included; it has to end with this exit code."""
        words = ["--url", self.url, *map(str, arguments)]
        env = {"DATABASE_URL": self.database, "RABBITMQ_URL": "", "COLUMNS": "60", "http_proxy": "http://127.0.0.1:1"}
        result = await asyncio.to_thread(lambda: CliRunner().invoke(app, words, env=env))
        assert result.exit_code == code, (result.output, result.exception)
        return result.output


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The address of this ASGI application, as long as the block lasts."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def shell(service: Service, migrated: str) -> AsyncIterator[CommandLine]:  # noqa: F811 - the fixture
    """The command line beside a service that listens."""
    async with listening(service.app) as url:
        yield CommandLine(url, migrated)
