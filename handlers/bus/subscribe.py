"""How a message from the bus is taken in: the queue it waits in, its decoding, and what becomes of it in the end.

A message is acked when its effect is committed. One that can never be handled goes to the dead letters with its reason,
once. While the database is away nothing is concluded: the engine waits, and the message stays un-acked. So does one for
a saga of another release's table: it is held, not handed out until the delivery limit, and when this worker stops the
others have it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aio_pika import IncomingMessage
from faststream import AckPolicy, BaseMiddleware
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from pydantic import BaseModel, ValidationError
from structlog.contextvars import bind_contextvars

from handlers.bus.ack_batching import Acks
from handlers.bus.pamqp_patch import whole_body
from handlers.bus.publisher import BUS_ERRORS, QUEUE_ARGUMENTS, Bus
from handlers.bus.queues import queue_of
from handlers.bus.trusted_senders import EVERYBODY, Senders
from handlers.http.trace_context import handling_message
from handlers.strict_json import TooLargeError, decode, decode_aside
from models.messages import MAX_BODY_BYTES
from saga.errors import BusAwayError, RefusedError, UnknownTableError
from saga.outbox.message import EXCHANGE
from saga.runtime.backoff import Backoff
from saga.runtime.failpoints import reach
from saga.runtime.tasks import own_cancellation
from saga.telemetry import metrics
from saga.telemetry.log_setup import get_logger

if TYPE_CHECKING:
    from faststream.rabbit.schemas.queue import QuorumQueueArgs

log = get_logger(__name__)

DOMAIN = RabbitExchange(EXCHANGE, type=ExchangeType.TOPIC, durable=True)
PREFETCH = 40
"""Messages that one queue hands to one worker at once: all queues together fill a transaction twice, and no more is
handed back. It bounds bytes too: no body is held that is over 1 MiB, so a worker has at most 480 MiB of them in hand,
if somebody fills all twelve queues with such. RabbitMQ itself counts messages alone."""
_PAUSE = 1.0
"""Seconds before a message is given back that failed through a mistake of ours, or could not be dead-lettered."""

_Model = TypeVar("_Model", bound=BaseModel)


class InvalidMessageError(RefusedError):
    """The message is JSON, but not the message that belongs on this routing key."""

    reason = "invalid"


def subscribe(
    broker: RabbitBroker,
    routing_key: str,
    message: type[_Model],
    handle: Callable[[_Model], Awaitable[None]],
    senders: Senders = EVERYBODY,
) -> None:
    """Hand every message of this routing key to `handle`, decoded strictly, from a durable queue of its own.

    Args:
        broker: with the Settlement middleware.
        routing_key: of the messages.
        message: what each of them has to be.
        handle: what is done about one.
        senders: from whom they have to be; what is not from them is not even decoded.
    """
    queue = queue_of(routing_key)
    name = queue.removeprefix("order-service.")

    async def read(raw: RabbitMessage) -> _Model:
        reach("message.taken")
        handling_message(raw.raw_message, queue)
        senders.require_trusted(raw.raw_message, routing_key)
        if whole := whole_body(raw.raw_message):
            raise TooLargeError(f"the body has {whole[0]} bytes; at most {MAX_BODY_BYTES} are taken")
        body = _checked(message, await decode_aside(raw.body))
        reach("message.decoded")
        return body

    async def handler(body: _Model) -> None:
        bind_contextvars(order_id=getattr(body, "order_id", None))
        backoff = Backoff(log)
        while True:
            try:
                await handle(body)
                break
            except UnknownTableError as error:
                await backoff.pause("another release has to go on with this saga", error=error)
        reach("message.answered")

    # FastStream writes the contract from the annotation
    handler.__annotations__["body"] = message
    broker.subscriber(
        RabbitQueue(
            queue,
            queue_type=QueueType.QUORUM,
            durable=True,
            arguments=cast("QuorumQueueArgs", dict(QUEUE_ARGUMENTS)),
            routing_key=routing_key,
        ),
        DOMAIN,
        channel=Channel(prefetch_count=PREFETCH),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        decoder=read,
        title=name,
        description=message.__doc__,
    )(handler)


def read_as(message: type[_Model], body: bytes) -> _Model:
    """A body as the message that it has to be.

    Raises:
        RefusedError: it is not.
    """
    return _checked(message, decode(body))


def _checked(message: type[_Model], value: Any) -> _Model:
    try:
        return message.model_validate(value)
    except ValidationError as error:
        raise InvalidMessageError(describe(error)) from error


def describe(error: ValidationError) -> str:
    """A validation error in one line, naming each field; without the values, which may be personal."""
    return "; ".join(
        f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}"
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    )


class Settlement(BaseMiddleware):
    """Acks, dead-letters or gives back: exactly one of them, for every message."""

    bus: Bus

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        message = cast("IncomingMessage", self.msg)
        try:
            match exc_val:
                case None:
                    Acks.of(message).ack(message)
                case RefusedError():
                    await self._dead_letter(message, exc_val)
                case Exception():
                    log.error("a message failed; giving it back", routing_key=message.routing_key, exc_info=exc_val)
                    await self._give_back(message)
                case _:
                    return False
        except BUS_ERRORS as error:
            # the connection is gone, or nearly so: what was not settled is delivered again
            log.warning("a message could not be settled", routing_key=message.routing_key, error=error)
        return True

    async def _dead_letter(self, message: IncomingMessage, error: RefusedError) -> None:
        log.warning("a message cannot be handled", routing_key=message.routing_key, reason=error.reason, error=error)
        reach("letter.refused")
        queue = self.context.get_local("handler_").queue.name
        # given back, it would be delivered and copied again and again; held, it waits
        backoff = Backoff(log)
        while True:
            try:
                await self.bus.dead_letter(message, error.reason, str(error), queue)
            except BusAwayError as away:
                await backoff.pause("a dead letter cannot leave for now", error=away)
            else:
                break
        reach("letter.copied")
        metrics.DEAD_LETTERS.labels(error.reason).inc()
        Acks.of(message).ack(message)

    async def _give_back(self, message: IncomingMessage) -> None:
        await asyncio.sleep(_PAUSE)
        await own_cancellation(message.nack(requeue=True))
        Acks.of(message).settled(message)


def settlement(bus: Bus) -> Any:
    """The middleware for a broker whose dead letters leave through this bus."""
    return type("Settlement", (Settlement,), {"bus": bus})
