"""The servers of the session and, for every test, a database and a virtual host of its own."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from local.broker import RabbitMQ
from local.host import temporary_home
from local.postgres import PrivatePostgres
from saga.runtime.database import connect, migrate
from tests.databases import Databases
from tests.shared import shared_rabbitmq

SEED = 20260115
"""The seed of all that is drawn, unless `--seed` chooses another: a run of the gate is like any other."""
EXAMPLES, MANY_EXAMPLES = 50, 500
"""Of each property that hypothesis searches: in the gate, and at length."""
DEAREST = ("mortal_rabbitmq", "rabbitmq", "postgres")
"""Servers, the dearest first. What uses them mostly waits: it begins first, and what needs the CPU alone fills in."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run may be told."""
    parser.addoption("--screenshots", type=Path, metavar="FOLDER", help="write a picture of each page of the dashboard")
    parser.addoption("--seed", type=int, default=SEED, metavar="N", help="draw other orders, faults and inputs")
    parser.addoption("--long", action="store_true", help="search at length, as `make faults` does")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let hypothesis draw from the same seed as all else, keep nothing from run to run, and look at no clock."""
    examples = MANY_EXAMPLES if config.getoption("--long") else EXAMPLES
    hypothesis.settings.register_profile("seeded", database=None, deadline=None, max_examples=examples)
    hypothesis.settings.load_profile("seeded")
    if config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = str(config.getoption("--seed"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a file all of whose tests would be left out."""
    if config.getoption("--long") or collection_path.suffix != ".py":
        return None
    return "\npytestmark = pytest.mark.long\n" in collection_path.read_text() or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what searches at length, unless that is asked for; begin with the files whose servers are dearest."""
    if not config.getoption("--long"):
        left_out = {item for item in items if item.get_closest_marker("long")}
        config.hook.pytest_deselected(items=[*left_out])
        items[:] = [item for item in items if item not in left_out]
    ranks: dict[Path, int] = {}
    for item in items:
        ranks[item.path] = min(ranks.get(item.path, len(DEAREST)), _rank(item))
    items.sort(key=lambda item: ranks[item.path])


def _rank(item: pytest.Item) -> int:
    names = getattr(item, "fixturenames", ())
    return next((rank for rank, server in enumerate(DEAREST) if server in names), len(DEAREST))


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Where chance comes from; pytest names it where a test fails."""
    chosen: int = pytestconfig.getoption("--seed")
    return chosen


@pytest.fixture(scope="session")
def at_length(pytestconfig: pytest.Config) -> bool:
    """Whether to search at length, and not in passing."""
    chosen: bool = pytestconfig.getoption("--long")
    return chosen


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
def rabbitmq(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A running RabbitMQ. Workers of one run share it: each test has its virtual host."""
    folder = tmp_path_factory.getbasetemp()
    # each worker's own folder stands in that of the run
    with shared_rabbitmq(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder, home / "rabbitmq") as server:
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
