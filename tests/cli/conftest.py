"""The command line, run against a service that listens."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from handlers.cli.__main__ import app
from tests.http.conftest import Service, listening, policy, service  # noqa: F401 - fixtures


@dataclass
class CommandLine:
    """Runs commands, beside the event loop that the service runs in."""

    url: str
    database: str = ""

    async def run(self, *arguments: object, code: int = 0, answer: str | None = None) -> str:
        """What a command prints, errors included; it has to end with this exit code. `answer` is what a person says."""
        words = ["--url", self.url, *map(str, arguments)]
        env = {"DATABASE_URL": self.database, "RABBITMQ_URL": "", "COLUMNS": "60", "http_proxy": "http://127.0.0.1:1"}
        result = await asyncio.to_thread(lambda: CliRunner().invoke(app, words, input=answer, env=env))
        assert result.exit_code == code, (result.output, result.exception)
        return result.output


@pytest.fixture
async def shell(service: Service, migrated: str) -> AsyncIterator[CommandLine]:  # noqa: F811 - the fixture
    """The command line beside a service that listens."""
    async with listening(service.app) as url:
        yield CommandLine(url, migrated)
