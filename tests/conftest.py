"""The servers of the session and, for every test, a database and a virtual host of its own."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from local.broker import RabbitMQ
from local.host import temporary_home
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq as find_rabbitmq
from saga.database import connect, migrate
from tests.databases import Databases

LONGEST = (
    *("test_soak.py", "test_outages.py", "test_mistakes.py", "test_stopping.py", "test_crashes.py"),
    *("test_browser_actions.py", "test_silence.py", "test_openapi.py", "test_recovery.py", "test_browser_pages.py"),
    *("test_courier.py", "test_bench_runs.py", "test_deaf.py", "test_scenarios.py", "test_permissions.py"),
)
"""Files that take half a minute and more: they come first, so that all the others fill the time beside them. One that
keeps the machine busy begins beside those that mostly wait."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """A folder for pictures of the dashboard's pages, for whoever wants to look at them."""
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="write a picture of each page of the dashboard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """Where the servers of this session keep their data."""
    with temporary_home() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[PrivatePostgres]:
    """A running PostgreSQL."""
    with PrivatePostgres(home / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(home: Path) -> Iterator[RabbitMQ]:
    """A running RabbitMQ."""
    with find_rabbitmq(home / "rabbitmq", say=print) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: PrivatePostgres) -> Iterator[Databases]:
    """Where tests have their databases from."""
    with Databases(postgres) as databases:
        yield databases


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The address of an empty database."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def template(postgres: PrivatePostgres) -> str:
    """The name of a database with the service's schema, to be copied."""

    async def prepare(url: str) -> None:
        engine = connect(url, connections=1, name="tests")
        await migrate(engine)
        await engine.dispose()

    asyncio.run(prepare(postgres.create_database("template_orders")))
    return "template_orders"


@pytest.fixture
def migrated(databases: Databases, template: str) -> Iterator[str]:
    """The address of a database with the service's schema and nothing in it."""
    with databases.lent(template) as url:
        yield url


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The address of an empty virtual host."""
    name = f"test-{uuid4().hex}"
    yield rabbitmq.create_vhost(name)
    rabbitmq.delete_vhost(name)
