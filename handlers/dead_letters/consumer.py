"""What could not be handled: taken from the queue of dead letters, whatever it is, and stored.

Nothing comes after this queue. So nothing in a message is decoded that need not be, and a letter is acked when it is
committed and not before: while the database is away it is held, and tried again in its place.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from aio_pika import IncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage

from handlers.bus.amqp_json import as_json, storable, table_as_json
from handlers.bus.pamqp_patch import whole_body
from handlers.bus.publisher import DEAD_LETTER_ARGUMENTS, DEAD_LETTER_QUEUE
from handlers.bus.queues import KEY_OF_QUEUE
from handlers.bus.trusted_senders import sender_of
from handlers.dead_letters.store import Arrival, belonging, identity_of, keep
from handlers.strict_json import uncollected
from models.states import Command
from saga.errors import DatabaseFault, classify
from saga.outbox.message import DEAD_LETTER_EXCHANGE, EXCHANGE
from saga.runtime.backoff import Backoff
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.telemetry import metrics
from saga.telemetry.log_setup import get_logger

if TYPE_CHECKING:
    from faststream.rabbit.schemas.queue import QuorumQueueArgs

log = get_logger(__name__)

PREFETCH = 20
"""Letters that are handed to one worker at once."""
_PROPERTIES = (
    "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "expiration", "message_id",
    "timestamp", "type", "user_id", "app_id",
)  # fmt: skip
_LONGEST_WORD, _LONGEST_ERROR, _LONGEST_NAME = 100, 1_000, 255
"""Characters: of a reason, of an error, of a routing key or an exchange."""
_COMMANDS = frozenset(f"domain.order.{command}" for command in Command)
_BROKERS_REASONS = frozenset({"rejected", "expired", "maxlen", "delivery_limit"})


def dead_letters(
    broker: RabbitBroker,
    sessions: Sessions,
    own: str | None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Subscribe to the dead letters.

    Args:
        broker: with the Settlement middleware: it acks what returns, and gives back what raises.
        sessions: each of which is one transaction; one is used at a time.
        own: the broker user of this service.
        pause: waits that many seconds.
    """
    one_at_a_time = asyncio.Lock()

    async def handler(message: IncomingMessage) -> None:
        reach("letter.taken")
        arrival = arrival_of(message, own)
        async with one_at_a_time:
            count = await _keep(sessions, arrival, pause)
        reach("letter.stored")
        if not _is_copy(message, own):
            # what this service dead-letters itself was counted when it did so
            metrics.DEAD_LETTERS.labels(arrival.reason).inc()
        if not count:
            metrics.DEAD_LETTERS_NOT_KEPT.labels(arrival.reason).inc()
            log.warning(
                "a dead letter is not kept: too many of its sender's are open",
                routing_key=arrival.routing_key,
                reason=arrival.reason,
                order_id=arrival.order_id,
            )
            return
        log.info(
            "stored a dead letter",
            routing_key=arrival.routing_key,
            reason=arrival.reason,
            order_id=arrival.order_id,
            count=count,
        )

    broker.subscriber(
        RabbitQueue(
            DEAD_LETTER_QUEUE,
            queue_type=QueueType.QUORUM,
            durable=True,
            arguments=cast("QuorumQueueArgs", dict(DEAD_LETTER_ARGUMENTS)),
            routing_key="#",
        ),
        RabbitExchange(DEAD_LETTER_EXCHANGE, type=ExchangeType.TOPIC, durable=True),
        channel=Channel(prefetch_count=PREFETCH),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        decoder=_undecoded,
        # no part of the contract: nobody but this service reads that queue
        include_in_schema=False,
    )(handler)


async def _undecoded(message: RabbitMessage) -> IncomingMessage:
    return message.raw_message


async def _keep(sessions: Sessions, arrival: Arrival, pause: Callable[[float], Awaitable[None]]) -> int:
    """Store it, however often it takes.

    Returns:
        how often it has arrived; 0 where it is not kept.

    Raises:
        Exception: a mistake of ours; the letter must be given back.
    """
    backoff = Backoff(log, pause)
    bare = False
    while True:
        try:
            async with sessions() as session, session.begin():
                return await keep(session, arrival)
        except Exception as error:
            match classify(error):
                case DatabaseFault.AWAY | DatabaseFault.BUSY:
                    await backoff.pause("a dead letter cannot be stored yet", error=error)
                case DatabaseFault.DATA if not bare:
                    log.exception("PostgreSQL refuses the headers of a dead letter; storing it without them")
                    arrival, bare = replace(arrival, headers={}, properties={}), True
                case DatabaseFault.DATA | DatabaseFault.BUG:
                    raise


def arrival_of(message: IncomingMessage, own: str | None) -> Arrival:
    """What a message says about itself, whatever it is; it never fails.

    Its `user_id` is that of whoever sent it at first.

    The dead-letter exchange keeps routing keys. A message that this service could not handle tells why in headers of
    its own; one that RabbitMQ gave up has an `x-death`; a command that was parked has neither. What a message says in
    our headers counts where we have written them.
    """
    headers = message.headers
    death = _latest_death(headers)
    given: Any = message.message_id
    queue: Any = None
    routing_key = message.routing_key or ""
    sender = sender_of(message, own)
    if _is_copy(message, own):
        reason, error = headers["x-dead-letter-reason"], headers.get("x-dead-letter-error", "")
        exchange, queue = headers.get("x-dead-letter-exchange", EXCHANGE), headers.get("x-dead-letter-queue")
        given = headers.get("x-dead-letter-message-id")
    elif death:
        word = death.get("reason")
        reason = word if isinstance(word, str) and word in _BROKERS_REASONS else "unknown"
        error = f"RabbitMQ gave it up in {death.get('queue')}: {word}, {death.get('count')} times"
        exchange, queue = death.get("exchange", EXCHANGE), death.get("queue")
    elif routing_key in _COMMANDS and _is_ours(message, own):
        reason, error, exchange = "unanswered", "its saga was parked: no answer after the last attempt", EXCHANGE
    else:
        reason, error, exchange = "unknown", "it says nothing about how it came here", EXCHANGE
    message_id = given if isinstance(given, str) else message.message_id
    queue = queue if isinstance(queue, str) and queue in KEY_OF_QUEUE else None
    size, digest = whole_body(message) or (None, None)
    return Arrival(
        identity=identity_of(
            belonging(queue, routing_key), message_id, digest or message.body, sender if sender != own else None
        ),
        reason=storable(str(reason), _LONGEST_WORD),
        error=storable(str(error), _LONGEST_ERROR),
        routing_key=storable(routing_key, _LONGEST_NAME),
        exchange=storable(str(exchange), _LONGEST_NAME),
        queue=queue,
        headers=table_as_json(headers),
        properties={
            name: as_json(value)
            for name, value in _properties(message, message_id, sender).items()
            if value is not None
        },
        body=message.body,
        order_id=None if digest else _order_id(message.body),
        whole_size=size,
        whole_sha256=digest,
    )


def _is_copy(message: IncomingMessage, own: str | None) -> bool:
    """Whether this service has put a message here that it could not handle."""
    return "x-dead-letter-reason" in message.headers and _is_ours(message, own)


def _is_ours(message: IncomingMessage, own: str | None) -> bool:
    """Whether this service has published it, as RabbitMQ knows; headers are anybody's to write.

    Where a certificate alone tells RabbitMQ who we are, we do not know our own name there. What was published straight
    to the dead letters is ours then, since nobody else may, and what RabbitMQ has put there is not.
    """
    return message.user_id == own if own else "x-death" not in message.headers


def _properties(message: IncomingMessage, message_id: str | None, sender: str | None) -> dict[str, Any]:
    known = {name: getattr(message, name, None) for name in _PROPERTIES}
    return known | {"message_id": message_id or None, "user_id": sender}


def _latest_death(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None


def _order_id(body: bytes) -> UUID | None:
    try:
        with uncollected():
            return UUID(json.loads(body)["orderId"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
