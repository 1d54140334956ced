"""The private RabbitMQ."""

from pathlib import Path
from uuid import uuid4

import aio_pika
import pytest
from pamqp.common import FieldTable

from local.broker import RabbitMQ, accepts
from local.errors import NotPrivateError
from local.management import ManagementError
from local.rabbitmq import rabbitmq as find_rabbitmq

QUORUM: FieldTable = {"x-queue-type": "quorum"}


async def put(url: str, *bodies: bytes) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("kept", durable=True, arguments=QUORUM)
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), queue.name)


async def get_all(url: str) -> list[bytes]:
    found = []
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue("kept", durable=True, arguments=QUORUM)
        while message := await queue.get(fail=False, timeout=10):
            found.append(message.body)
            await message.ack()
    return found


async def test_virtual_hosts_are_worlds_of_their_own(rabbitmq: RabbitMQ) -> None:
    names = [f"world/{uuid4()}" for _ in range(2)]
    first, second = (rabbitmq.create_vhost(name) for name in names)
    await put(first, b"x")
    assert await get_all(second) == []
    assert await get_all(first) == [b"x"]
    for name in names:
        rabbitmq.delete_vhost(name)
    assert not accepts(first)


def test_deleting_what_is_not_there_is_an_error(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(ManagementError, match="404"):
        rabbitmq.delete_vhost("never")


def test_a_foreign_broker_is_used_and_never_killed(
    rabbitmq: RabbitMQ, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", rabbitmq.url())
    foreign = find_rabbitmq(home / "unused")
    foreign.start()
    assert foreign.url() == rabbitmq.url()
    with pytest.raises(NotPrivateError):
        foreign.kill()
    foreign.stop()
    assert accepts(rabbitmq.url())


def test_nobody_else_gets_in(rabbitmq: RabbitMQ) -> None:
    assert not accepts(rabbitmq.url().replace(rabbitmq.password, "guessed"))
    assert not accepts(f"amqp://guest:guest@{rabbitmq.host}:{rabbitmq.port}/")
