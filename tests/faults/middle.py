"""A man in the middle: participants and clients live on a virtual host of their own, and he carries what is said.

He carries every message several times, in an order of his own, some copies long after everything has ended; and now
and then he puts a lie beside the truth: the opposite of a definite answer, under an `eventId` of its own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from models.messages import REPLIES, Reply
from models.states import Command
from saga.outbox.message import EXCHANGE
from saga.runtime.tasks import own_cancellation
from tests.faults.mutants import an_id

COMMANDS = tuple(f"domain.order.{command}" for command in Command)
ANSWERS = {f"domain.{reply.service}.{reply.__name__}": reply for reply in REPLIES}
REQUESTS = ("domain.order.CreateOrder", "domain.order.CancelOrder")
_QUEUE = "middle"


@dataclass(frozen=True)
class Habits:
    """How he carries messages.

    Args:
        copies: how often each, from and to.
        only_answers: whether commands and requests are left alone.
        spread: seconds within which the copies of a message arrive.
        late: the share of copies that he keeps until he is told; never all of a message.
        lies: the share of definite answers that get an opposite beside them.
    """

    copies: tuple[int, int] = (1, 5)
    only_answers: bool = False
    spread: float = 0.3
    late: float = 0.1
    lies: float = 0.05


@dataclass(frozen=True)
class Lie:
    """The opposite of what a participant said."""

    order_id: UUID
    command: Command
    success: bool
    event_id: str


@dataclass
class Middle:
    """Made by `in_the_middle`."""

    habits: Habits
    random: Random
    lies: list[Lie] = field(default_factory=list)
    carried: int = 0
    """Copies that were delivered."""
    late: int = 0
    """How many of them after the end."""
    _kept: list[Callable[[], None]] = field(default_factory=list)
    _heard: set[bytes] = field(default_factory=set)
    _on_the_way: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def idle(self) -> bool:
        """Whether he carries nothing but what he keeps for later."""
        return not self._on_the_way

    def deliver_the_late(self) -> None:
        """Everything has ended: now for the rest."""
        kept, self._kept = self._kept, []
        self.random.shuffle(kept)
        self.late = len(kept)
        for carry in kept:
            carry()

    async def carry(self, message: AbstractIncomingMessage, far: AbstractExchange) -> None:
        """Take a message, and see that it arrives; it is acked when the first copy of it has."""
        key = message.routing_key or ""
        first = self._send(message, message.body, key, far)
        # what a participant says again upon a copy was carried often enough: else copies would have copies without end
        if message.body not in self._heard and (key in ANSWERS or not self.habits.only_answers):
            self._heard.add(message.body)
            for _ in range(self.random.randint(*self.habits.copies) - 1):
                self._copy(message, message.body, key, far)
            if lie := self._lie(key, message.body):
                self._copy(message, lie[1], lie[0], far)
        await first
        await message.ack()

    def _copy(self, message: AbstractIncomingMessage, body: bytes, key: str, far: AbstractExchange) -> None:
        def carry() -> None:
            self._send(message, body, key, far)

        if self.random.random() < self.habits.late:
            self._kept.append(carry)
        else:
            carry()

    def _send(
        self, message: AbstractIncomingMessage, body: bytes, key: str, far: AbstractExchange
    ) -> "asyncio.Task[None]":
        wait = self.random.uniform(0, self.habits.spread)
        copy = aio_pika.Message(
            body, headers=message.headers, content_type="application/json", message_id=message.message_id
        )

        async def send() -> None:
            await asyncio.sleep(wait)
            await own_cancellation(far.publish(copy, key))
            self.carried += 1

        task = asyncio.create_task(send())
        self._on_the_way.add(task)
        task.add_done_callback(self._on_the_way.discard)
        return task

    def _lie(self, key: str, body: bytes) -> tuple[str, bytes] | None:
        """The opposite of a definite answer, if it is one, and if he lies about it."""
        if key not in ANSWERS:
            return None
        told: dict[str, Any] = json.loads(body)
        if told.get("retryable") or self.random.random() >= self.habits.lies:
            return None
        truth = ANSWERS[key]
        opposite = _opposite(truth)
        lie = Lie(UUID(told["orderId"]), truth.answers, opposite.success, an_id(self.random))
        self.lies.append(lie)
        words = {"eventId": lie.event_id, "message": "a lie", "reason": None}
        return f"domain.{opposite.service}.{opposite.__name__}", json.dumps(told | words).encode()


def _opposite(truth: type[Reply]) -> type[Reply]:
    return next(reply for reply in REPLIES if reply.answers is truth.answers and reply.success is not truth.success)


@asynccontextmanager
async def in_the_middle(near: str, far: str, habits: Habits, random: Random) -> AsyncIterator[Middle]:
    """Between two virtual hosts: commands go from the service's to the participants', answers and requests back.

    Args:
        near: where the service is.
        far: where everybody else is.
        habits: of his.
        random: decides what he does; the order in which messages come to him is not of his making.
    """
    middle = Middle(habits, random)
    async with AsyncExitStack() as stack:
        exchanges = {url: await _exchange(stack, url) for url in (near, far)}
        for here, there, keys in ((near, far, COMMANDS), (far, near, (*ANSWERS, *REQUESTS))):
            await _carry(stack, here, keys, exchanges[there], middle)
        yield middle


async def _exchange(stack: AsyncExitStack, url: str) -> AbstractExchange:
    connection = await stack.enter_async_context(await aio_pika.connect(url))
    channel = await connection.channel(publisher_confirms=True)
    return await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)


async def _carry(stack: AsyncExitStack, url: str, keys: tuple[str, ...], far: AbstractExchange, middle: Middle) -> None:
    connection = await stack.enter_async_context(await aio_pika.connect(url))
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=500)
    queue = await channel.declare_queue(_QUEUE, durable=True)
    domain = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    for key in keys:
        await queue.bind(domain, key)

    async def carry(message: AbstractIncomingMessage) -> None:
        await middle.carry(message, far)

    await queue.consume(carry)
