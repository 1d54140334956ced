"""Acks that go together: never for a message that is not settled, and always for one that is."""

import asyncio
from typing import cast

from aio_pika import IncomingMessage

from handlers.bus.ack_batching import Acks


class Channel:
    """What acks are written to, slowly."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bool]] = []
        self.free = asyncio.Event()
        self.free.set()


class Message:
    def __init__(self, channel: Channel, delivery_tag: int) -> None:
        self.channel = channel
        self.delivery_tag = delivery_tag

    async def ack(self, multiple: bool = False) -> None:
        await self.channel.free.wait()
        self.channel.written.append((self.delivery_tag, multiple))


def arrived(channel: Channel, count: int) -> list[IncomingMessage]:
    return [cast("IncomingMessage", Message(channel, tag)) for tag in range(1, count + 1)]


async def written(channel: Channel, count: int) -> list[tuple[int, bool]]:
    async with asyncio.timeout(30):
        while len(channel.written) < count:  # noqa: ASYNC110 - the channel is a list
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    return channel.written


async def test_what_is_ready_together_goes_with_one_ack() -> None:
    channel = Channel()
    for message in reversed(arrived(channel, 5)):
        Acks.of(message).ack(message)
    assert await written(channel, 1) == [(5, True)]


async def test_nothing_before_an_unsettled_message_is_acked_with_what_comes_after_it() -> None:
    channel = Channel()
    one, two, three, four = arrived(channel, 4)
    for message in (one, three, four):
        Acks.of(message).ack(message)
    assert await written(channel, 3) == [(1, True), (3, False), (4, False)]
    Acks.of(two).ack(two)
    assert (await written(channel, 4))[3:] == [(2, True)]


async def test_a_message_that_was_given_back_is_settled_too() -> None:
    channel = Channel()
    one, two, three = arrived(channel, 3)
    Acks.of(one).settled(one)
    for message in (two, three):
        Acks.of(message).ack(message)
    assert await written(channel, 1) == [(3, True)]


async def test_what_becomes_ready_while_the_socket_is_written_to_is_acked_as_well() -> None:
    channel = Channel()
    one, two = arrived(channel, 2)
    channel.free.clear()
    Acks.of(one).ack(one)
    await asyncio.sleep(0)
    Acks.of(two).ack(two)
    channel.free.set()
    assert await written(channel, 2) == [(1, True), (2, True)]


async def test_channels_are_counted_apart() -> None:
    first, second = Channel(), Channel()
    for message in (*arrived(first, 2), *arrived(second, 1)):
        Acks.of(message).ack(message)
    assert (await written(first, 1), await written(second, 1)) == ([(2, True)], [(1, True)])
