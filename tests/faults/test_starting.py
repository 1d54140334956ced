"""Starting: what is away is waited for, by a service that is live but not ready; what is wrong ends it, in one line."""

import asyncio
import re
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import httpx2
import pytest

from tests.faults.place import Place
from tests.service import Service, complaints, told
from tests.waiting import until

SOON = 20.0


async def answer(service: Service, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=service.url) as client:
        return await client.get(path)


async def live(service: Service) -> bool:
    try:
        return (await answer(service, "/health/live")).status_code == 200
    except httpx2.TransportError:
        return False


async def test_database_and_broker_are_not_there_yet(here: Place) -> None:
    for proxy in (here.database_proxy, here.bus_proxy):
        await proxy.refuse()
    service = Service(here.folder, here.environment)
    here.services.append(service)
    await until(lambda: live(service))
    unready = await answer(service, "/health/ready")
    assert unready.status_code == 503
    said = " ".join(unready.json()["notReady"])
    assert "database: ConnectionRefusedError" in said
    assert "bus: not connected for publishing" in said
    assert "bus: not consuming" in said
    await here.bus_proxy.listen()

    async def bus_is_there() -> bool:
        return "bus" not in (await answer(service, "/health/ready")).text

    await until(bus_is_there, SOON)
    assert (await answer(service, "/health/ready")).status_code == 503
    await here.database_proxy.listen()
    async with asyncio.timeout(SOON):
        await service.ready()
    log = service.log.read_text()
    for line in ("the database cannot be reached yet", "RabbitMQ cannot be reached for consuming"):
        assert log.count(line) == 1, log
    for line in ("the database is there", "RabbitMQ is there; consuming", "RabbitMQ is there; publishing"):
        assert log.count(line) == 1, log
    assert complaints(service.log) == []


def _with_password(url: str, password: str) -> str:
    return re.sub(r":[^:@/]+@", f":{password}@", url)


def _at(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=path))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("DATABASE_URL", lambda url: _with_password(url, "wrong"), "DATABASE_URL: PostgreSQL refuses it (28P01)"),
        ("DATABASE_URL", lambda url: _at(url, "/nowhere"), "DATABASE_URL: PostgreSQL refuses it (3D000)"),
        ("RABBITMQ_URL", lambda url: _with_password(url, "wrong"), "RABBITMQ_URL: RabbitMQ refuses the user"),
        ("RABBITMQ_URL", lambda url: _at(url, "/nowhere"), "RABBITMQ_URL: RabbitMQ refuses the virtual host"),
    ],
)
async def test_credentials_that_are_wrong_end_the_start_with_one_line(
    here: Place, name: str, change: object, said: str
) -> None:
    assert callable(change)
    await _refused(here, {name: change(here.environment[name])}, said)


async def test_a_queue_of_another_form_ends_the_start_with_one_line(here: Place) -> None:
    async with await aio_pika.connect(here.clients.amqp) as connection:
        channel = await connection.channel()
        await channel.declare_queue("order-service.CreateOrder", durable=True, arguments={"x-queue-type": "quorum"})
    await _refused(here, {}, "a queue or exchange of this service exists in another form")


async def test_a_failpoint_that_is_none_ends_the_start_with_one_line(here: Place) -> None:
    await _refused(here, {"TEST_FAILPOINT": "nowhere:1"}, "TEST_FAILPOINT: nowhere:1 is no point")


async def _refused(here: Place, settings: dict[str, str], said: str) -> None:
    service = Service(here.folder, here.environment | settings)
    here.services.append(service)

    async def has_ended() -> bool:
        return service.child.returncode is not None

    await until(has_ended)
    log = service.log.read_text()
    assert service.child.returncode not in (0, None)
    assert len([line for line in log.splitlines() if said in line]) == 1, log
    assert not [line for line in told(service.log) if "exception" in line], log
