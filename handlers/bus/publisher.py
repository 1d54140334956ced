"""The publishing side of RabbitMQ: one connection of its own, everything confirmed, routed and durable.

Consuming happens elsewhere (FastStream), on another connection: a broker in memory alarm stops reading from those that
publish, and the consumers must go on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, DeliveryMode
from aio_pika.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
    PublishError,
)

from handlers.bus.amqp_json import sendable
from handlers.bus.pamqp_patch import WHOLE_SHA256, WHOLE_SIZE, whole_body
from handlers.bus.trusted_senders import FIRST_SENDER, on_behalf_of, sender_of, user_in
from models.messages import instant_text
from saga.errors import BusAwayError
from saga.outbox.message import DEAD_LETTER_EXCHANGE, EXCHANGE, Envelope
from saga.outbox.publisher import PUBLISH_TIMEOUT, UNROUTABLE
from saga.runtime.backoff import Trouble
from saga.runtime.failpoints import reach
from saga.runtime.tasks import own_cancellation
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import Words, tell
from saga.telemetry.traceparent import HEADER, of_message

log = get_logger(__name__)

DEAD_LETTER_QUEUE = "order-service.dead-letters"
SOURCE = "/order-service"
APP_ID = "order-service"

DELIVERY_LIMIT = 50
"""How often a message may be handed out. Restarts of workers count too, so this is generous; what cannot be handled
does not wait for it."""
QUEUE_ARGUMENTS: Mapping[str, str | int] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
    # the broker keeps a message until its dead letter has arrived; that needs this overflow behaviour
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
DEAD_LETTER_ARGUMENTS: Mapping[str, str | int] = {
    "x-queue-type": "quorum",
    # nothing comes after the dead letters: one that is handed out in vain must stay
    "x-delivery-limit": 1_000_000,
}
_AS_TOLD = {"CC": "x-dead-letter-cc", "BCC": "x-dead-letter-bcc"}
"""Headers that RabbitMQ obeys; a copy tells of them under other names."""
_GLANCE = 0.005
"""Seconds. What is not blocked says so at once."""
BUS_ERRORS = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, BusAwayError)
"""What comes out of the client library when the connection is gone or going."""
BLOCKED = Words("blocked: RabbitMQ is short of memory or disk")
"""Why nothing is sent that would only arrive, once more, when the alarm is over."""
LATE = Words("not confirmed in time")
"""Why a message may have arrived, or not."""


class Bus:
    """Publishes with confirms. Connects when first needed and again after a loss; may be used by many tasks at once.

    Args:
        url: `amqp://…` or `amqps://…`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.user = user_in(url)
        """Under which all of it is published; RabbitMQ vouches for that."""
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._exchanges: dict[str, AbstractExchange] = {}
        self._trouble = Trouble(log)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await self._drop()

    async def publish(self, envelopes: Sequence[Envelope]) -> dict[UUID, Words]:
        """Publish these and wait until each is confirmed and routed.

        Returns:
            why not, by envelope id, for those that are not known to have arrived.
        """
        try:
            exchanges = await self._open()
        except BUS_ERRORS as error:
            return dict.fromkeys((envelope.id for envelope in envelopes), why(error))
        if await self._blocked():
            return dict.fromkeys((envelope.id for envelope in envelopes), BLOCKED)
        tasks = {
            asyncio.create_task(own_cancellation(_relay(exchanges[envelope.exchange], envelope, self.user))): envelope
            for envelope in envelopes
        }
        done, late = await asyncio.wait(tasks, timeout=PUBLISH_TIMEOUT.total_seconds())
        failures: dict[UUID, Words] = {}
        for task in late:
            task.cancel()
            failures[tasks[task].id] = LATE
        for task in done:
            if failure := task.exception():
                failures[tasks[task].id] = why(failure)
        if late:
            await asyncio.gather(*late, return_exceptions=True)
            if not await self._blocked():
                await self._drop()
        return failures

    async def dead_letter(self, message: AbstractIncomingMessage, reason: str, error: str, queue: str = "") -> None:
        """Copy a message that cannot be handled to the dead letters, as it is, with the reason in its headers.

        Args:
            message: as RabbitMQ delivered it.
            reason: why, in one word.
            error: why, in words.
            queue: in which of this service's queues it waited.

        Raises:
            BusAwayError: it is not known to have arrived; the message must not be acked.
        """
        # the queue's own count of deliveries is not the message's, and what a sender writes in our name is not ours
        kept = {
            _AS_TOLD.get(name, name): value
            for name, value in message.headers.items()
            if name != "x-delivery-count" and not name.startswith("x-dead-letter-")
        }
        headers = sendable(kept) | {
            "x-dead-letter-reason": reason,
            "x-dead-letter-error": error[:1000],
            "x-dead-letter-routing-key": message.routing_key or "",
            "x-dead-letter-exchange": message.exchange or "",
            "x-dead-letter-queue": queue,
            # the client library gives a name to a message that has none
            "x-dead-letter-message-id": message.message_id or "",
            FIRST_SENDER: sender_of(message, self.user) or "",
        }
        if whole_body(message):
            # however many headers were dropped
            headers |= {name: message.headers[name] for name in (WHOLE_SIZE, WHOLE_SHA256)}
        copy = aio_pika.Message(
            message.body,
            headers=headers,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            delivery_mode=DeliveryMode.PERSISTENT,
            correlation_id=message.correlation_id,
            message_id=message.message_id,
            timestamp=message.timestamp,
            type=message.type,
            user_id=self.user,
            app_id=message.app_id,
        )
        try:
            exchanges = await self._open()
            reach("letter.copying")
            async with asyncio.timeout(PUBLISH_TIMEOUT.total_seconds()):
                await own_cancellation(_publish(exchanges[DEAD_LETTER_EXCHANGE], copy, message.routing_key or ""))
        except BUS_ERRORS as failure:
            if isinstance(failure, TimeoutError):
                # what was not confirmed must not arrive late and once more
                await self._drop()
            raise BusAwayError(why(failure)) from failure

    async def republish(
        self, message: aio_pika.Message, exchange: str, routing_key: str, sender: str | None, within: timedelta
    ) -> str | None:
        """Publish a stored message again, and wait until it is confirmed and routed, connecting included.

        Args:
            message: as it was.
            exchange: where to.
            routing_key: the same.
            sender: who had sent it at first, if that is known.
            within: how long that may take.

        Returns:
            why it is not known to have arrived; None where it is.
        """
        message.user_id = self.user
        message.headers |= on_behalf_of(sender, self.user)
        publishing = asyncio.create_task(self._republish(message, exchange, routing_key))
        try:
            done, _ = await asyncio.wait([publishing], timeout=within.total_seconds())
        finally:
            # it closes its channel by itself: a broker that does not answer must not be waited for here
            publishing.cancel()
        return publishing.result() if done else LATE

    async def _republish(self, message: aio_pika.Message, exchange: str, routing_key: str) -> str | None:
        try:
            await own_cancellation(self._publish_apart(message, exchange, routing_key))
        except ChannelNotFoundEntity:
            return UNROUTABLE
        except BUS_ERRORS as failure:
            return why(failure)
        return None

    async def _publish_apart(self, message: aio_pika.Message, exchange: str, routing_key: str) -> None:
        """Publish on a channel of its own: one that the broker closes must not take the relay's with it."""
        await self._open()
        if self._connection is None:
            raise BusAwayError("the connection to RabbitMQ was lost")
        if await self._blocked():
            raise BusAwayError(BLOCKED)
        async with self._connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            target = await channel.get_exchange(exchange, ensure=False)
            await _publish(target, message, routing_key)

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._connection is not None and not self._connection.is_closed

    async def keep_open(self) -> None:
        """Connect and declare what is ours, where that is not done: what is published later finds its exchanges."""
        try:
            await self._open()
        except BUS_ERRORS as error:
            self._trouble.say("RabbitMQ cannot be reached for publishing", error=error)
        else:
            self._trouble.over("RabbitMQ is there; publishing")

    async def _blocked(self) -> bool:
        """Whether RabbitMQ has said that it takes nothing for now; it says so only after it was sent something."""
        transport = self._connection.transport if self._connection else None
        if transport is None:
            return False
        try:
            async with asyncio.timeout(_GLANCE):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    async def _open(self) -> Mapping[str, AbstractExchange]:
        async with self._lock:
            if not self.connected:
                async with asyncio.timeout(2 * PUBLISH_TIMEOUT.total_seconds()):
                    await own_cancellation(self._connect())
            return self._exchanges

    async def _connect(self) -> None:
        connection = await aio_pika.connect(self._url, timeout=PUBLISH_TIMEOUT.total_seconds())
        try:
            channel, self._exchanges = await _declare(connection)
        except BaseException:
            await close(connection)
            raise
        # a channel that the broker closed takes its connection with it: one state less to be in
        channel.close_callbacks.add(lambda *_: asyncio.ensure_future(self._drop(connection)))
        self._connection = connection

    async def _drop(self, which: AbstractConnection | None = None) -> None:
        """A connection that does not confirm may be half dead: the next publish gets a new one."""
        connection = which or self._connection
        if connection is self._connection:
            self._connection = None
        if connection is not None:
            await close(connection)


async def close(connection: AbstractConnection) -> None:
    """Close a connection, or leave it behind when that does not answer."""
    try:
        async with asyncio.timeout(1):
            await own_cancellation(connection.close())
    except BUS_ERRORS as error:
        log.debug("closing a dead connection", error=error)


async def _declare(connection: AbstractConnection) -> tuple[AbstractChannel, dict[str, AbstractExchange]]:
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    domain = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    dead = await channel.declare_exchange(DEAD_LETTER_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(DEAD_LETTER_QUEUE, durable=True, arguments=dict(DEAD_LETTER_ARGUMENTS))
    await queue.bind(dead, "#")
    return channel, {EXCHANGE: domain, DEAD_LETTER_EXCHANGE: dead}


async def _relay(exchange: AbstractExchange, envelope: Envelope, user: str | None) -> None:
    reach("relay.sending")
    await _publish(exchange, _message(envelope, user), envelope.routing_key)
    reach("relay.one-confirmed")


async def _publish(exchange: AbstractExchange, message: aio_pika.Message, routing_key: str) -> None:
    channel = await cast("aio_pika.Exchange", exchange).channel.get_underlay_channel()
    # without `wait` the next message need not wait until this one is on the wire; its confirmation is awaited all the
    # same
    confirmation = await cast("aiormq.Channel", channel).basic_publish(
        message.body,
        exchange=exchange.name,
        routing_key=routing_key,
        properties=message.properties,
        mandatory=True,
        wait=False,
    )
    if not isinstance(confirmation, aiormq.spec.Basic.Ack):
        raise BusAwayError(f"not confirmed: {type(confirmation).__name__}")


def _message(envelope: Envelope, user: str | None) -> aio_pika.Message:
    """The wire form: properties, trace context and the CloudEvents attributes in binary mode."""
    message_id = str(envelope.message_id)
    return aio_pika.Message(
        envelope.body,
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message_id,
        correlation_id=str(envelope.saga_id),
        type=envelope.routing_key,
        user_id=user,
        app_id=APP_ID,
        timestamp=envelope.created_at,
        headers={
            HEADER: of_message(envelope.traceparent, envelope.id),
            "ce-specversion": "1.0",
            "ce-id": message_id,
            "ce-type": envelope.routing_key,
            "ce-source": SOURCE,
            "ce-subject": str(envelope.order_id),
            "ce-time": instant_text(envelope.created_at),
        },
    )


def why(error: BaseException) -> Words:
    """What happened, in one line."""
    if isinstance(error, PublishError):
        return UNROUTABLE
    if isinstance(error, DeliveryError):
        return Words("refused by the broker")
    return tell(error)
