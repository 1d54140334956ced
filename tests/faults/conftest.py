"""Servers that may be killed, and a place on them for every test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from local.broker import RabbitMQ
from local.host import temporary_home
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq as find_rabbitmq
from tests.faults.place import Place, place


@pytest.fixture
async def here(postgres: PrivatePostgres, rabbitmq: RabbitMQ, template: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A place on the servers of the session, whose network may break."""
    async with place(postgres, rabbitmq, tmp_path, template=template) as here:
        yield here


@pytest.fixture(scope="session")
def mortal_home() -> Iterator[Path]:
    """Where the servers keep their data that tests may kill."""
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def mortal_postgres(mortal_home: Path) -> Iterator[PrivatePostgres]:
    """A PostgreSQL that tests may kill; durable, since that is what they are about."""
    with PrivatePostgres(mortal_home / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def mortal_rabbitmq(mortal_home: Path) -> Iterator[RabbitMQ]:
    """A RabbitMQ that tests may kill."""
    with find_rabbitmq(mortal_home / "rabbitmq", say=print) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doomed(
    mortal_postgres: PrivatePostgres, mortal_rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """A place on the servers that may be killed, with one service that lives through all tests of a file."""
    async with place(mortal_postgres, mortal_rabbitmq, tmp_path_factory.mktemp("doomed")) as here:
        await here.start_service()
        yield here
