"""A stand-in participant: takes commands from the bus, keeps its ledger, answers, and misbehaves when told to.

It keeps what the contract asks of a participant: the same answer, byte for byte, to the same `eventId`; success for the
compensation of something it never did; refusal of the action if that arrives afterwards. The ledger is committed before
the answer leaves, and the command is acknowledged only once the broker has confirmed the answer: killed at any instant,
it does nothing twice and owes no answer.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self, TypeVar
from uuid import UUID

from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue
from opentelemetry.trace import NoOpTracer, Tracer
from yarl import URL

from local.ledger import Answer, Ledger
from local.rule import Behaviour, Command, Rule, carry_out
from local.tracing import processing, publishing

T = TypeVar("T")
logger = logging.getLogger(__name__)

# with no right to declare it, one relies on the broker having it
EXCHANGE = RabbitExchange(
    "domain", type=ExchangeType.TOPIC, durable=True, declare=not os.environ.get("DOMAIN_DECLARED")
)
PREFETCH = 100
DELIVERY_LIMIT = 50
PUBLISH_SECONDS = 10.0
STOP_SECONDS = 2.0
RECONNECT_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 1.0
# What passes by itself: the broker is away, the answer could not be routed yet, the ledger is locked.
TRANSIENT = (OSError, TimeoutError, AMQPError, ChannelInvalidStateError, sqlite3.OperationalError)


@dataclass(frozen=True)
class Handled:
    """What became of one delivery of a command."""

    command: str
    event_id: UUID
    order_id: UUID
    outcome: Literal["answered", "muted"]


def tell_nobody(_: Handled) -> None:
    """Nobody waits for it."""


class Participant:
    """A participant called `name` (`inventory`) with a rule per command (`ReserveInventory`).

    `async with participant:` runs it in this process; `local.stand_in.app` makes an application of it. Set
    `behaviour["ReserveInventory"]` at any time. `tell` is called after every delivery, for tests that wait for that.
    `tracer` tells of its part in a saga's trace. It declares `exchange` where it may; `declare=False` in that says that
    somebody else has done so. Where `orders_from` names a broker user, commands of all others are dropped.
    """

    def __init__(  # noqa: PLR0913 (each is an option)
        self,
        name: str,
        rules: Mapping[str, Rule],
        *,
        rabbitmq_url: str,
        ledger: Path,
        exchange: RabbitExchange = EXCHANGE,
        orders_from: str | None = None,
    ) -> None:
        self.name = name
        self.orders_from = orders_from
        # RabbitMQ vouches for this name alone: that is how the service knows whose answers these are
        self.user = URL(rabbitmq_url).user or "guest"
        self.exchange = exchange
        self.rules = rules
        self.behaviour = dict.fromkeys(rules, Behaviour())
        self.tell: Callable[[Handled], None] = tell_nobody
        self.tracer: Tracer = NoOpTracer()
        self._ledger_path = ledger
        self._running = AsyncExitStack()
        # Two connections: in a memory alarm RabbitMQ stops reading from the one that publishes, and acknowledgements
        # must still leave.
        self.consumer = RabbitBroker(
            rabbitmq_url, logger=None, graceful_timeout=STOP_SECONDS, reconnect_interval=RECONNECT_SECONDS
        )
        self.publisher = RabbitBroker(
            rabbitmq_url,
            app_id=name,
            logger=None,
            graceful_timeout=STOP_SECONDS,
            reconnect_interval=RECONNECT_SECONDS,
            default_channel=Channel(on_return_raises=True),
        )
        for command in rules:
            self._subscribe(command)

    async def __aenter__(self) -> Self:
        """Start in this process."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.book())
            for broker in (self.publisher, self.consumer):
                stack.push_async_callback(broker.stop)
                await broker.start()
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop, the consumer first."""
        await self._running.aclose()

    @property
    def listening(self) -> bool:
        """Whether its queues are declared, so that commands find them."""
        return all(one.running for one in self.consumer.subscribers)

    @asynccontextmanager
    async def book(self) -> AsyncIterator[None]:
        """Keep the ledger open."""
        self._ledger = Ledger(self._ledger_path)
        try:
            yield
        finally:
            self._ledger.close()

    def _subscribe(self, name: str) -> None:
        queue = RabbitQueue(
            f"{self.name}.{name}",
            queue_type=QueueType.QUORUM,
            routing_key=f"domain.order.{name}",
            arguments={"x-delivery-limit": DELIVERY_LIMIT},
        )

        # Only a command that cannot be read, or is a stranger's, gets out of here as an error, and is dropped; all else
        # is retried in place, unacknowledged.
        @self.consumer.subscriber(
            queue,
            self.exchange,
            channel=Channel(prefetch_count=PREFETCH),
            ack_policy=AckPolicy.REJECT_ON_ERROR,
            no_reply=True,
            decoder=raw_body,
        )
        async def on_command(body: bytes, message: RabbitMessage) -> None:
            self._require_orders_from_the_service(message)
            command = Command.model_validate_json(body)
            with processing(self.tracer, queue.routing_key, queue.name, message.headers):
                await self._handle(name, command, message)

    def _require_orders_from_the_service(self, message: RabbitMessage) -> None:
        """RabbitMQ vouches for `user_id` alone: a routing key, and all that a message says of itself, is anybody's.

        Raises:
            PermissionError: somebody else sent this command; nothing is done.

        """
        if self.orders_from and message.raw_message.user_id != self.orders_from:
            logger.warning("%s: dropped a command that is not from the order service's broker user", self.name)
            raise PermissionError(self.name)

    async def _handle(self, name: str, command: Command, message: RabbitMessage) -> None:
        behaviour = self.behaviour[name]
        if behaviour.mode == "slow":
            await asyncio.sleep(behaviour.seconds)
        if behaviour.mode != "mute":
            answer = await patiently(lambda: self._carry_out(name, command, behaviour))
            if behaviour.mode != "mute-after":
                await patiently(lambda: self._send(answer, command, message))
        outcome: Literal["answered", "muted"] = "muted" if behaviour.mode in {"mute", "mute-after"} else "answered"
        self.tell(Handled(name, command.event_id, command.order_id, outcome))

    async def _carry_out(self, name: str, command: Command, behaviour: Behaviour) -> Answer:
        return carry_out(self.rules[name], command, behaviour, self._ledger)

    async def _send(self, answer: Answer, command: Command, message: RabbitMessage) -> None:
        with publishing(self.tracer, answer.routing_key) as headers:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self.publisher.publish(
                    answer.body,
                    exchange=self.exchange,
                    routing_key=answer.routing_key,
                    persist=True,
                    content_type="application/json",
                    user_id=self.user,
                    message_id=str(answer.event_id),
                    correlation_id=str(command.saga_id or message.correlation_id),
                    message_type=answer.routing_key,
                    timestamp=datetime.now(UTC),
                    headers={**headers},
                )


async def raw_body(message: RabbitMessage) -> bytes:
    """The body as it came: FastStream's own decoding is lax."""
    return message.body


async def patiently(action: Callable[[], Awaitable[T]]) -> T:
    """Repeat `action` with growing pauses until nothing transient keeps it from succeeding."""
    pause = 0.05
    while True:
        try:
            return await action()
        except asyncio.CancelledError:
            # aio-pika reports a dead connection as a cancellation that nobody asked for.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            logger.warning("the connection was lost, trying again in %.2f s", pause)
        except TRANSIENT as error:
            logger.warning("%s: %s; trying again in %.2f s", type(error).__name__, error, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
