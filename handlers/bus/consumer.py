"""The consuming side of RabbitMQ: FastStream's broker, patient at its start, watchful afterwards, and quick to let go.

The client library opens a lost connection again by itself, and consumes again from a queue that was deleted. It does
not see a peer that went silent, a binding that somebody removed, or a consumer that is gone without a word. So all is
declared anew every other second, which costs next to nothing, and a connection that does not answer, or lacks a
consumer for long, is given up: what it has not acked is handed out again.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from faststream.rabbit import RabbitBroker
from faststream.rabbit.subscriber import RabbitSubscriber

from handlers.bus.publisher import BUS_ERRORS, DEAD_LETTER_QUEUE, close
from saga.errors import BusAwayError, ConfigurationError
from saga.outbox.message import DEAD_LETTER_EXCHANGE, EXCHANGE
from saga.runtime.backoff import Backoff, Trouble
from saga.runtime.tasks import own_cancellation
from saga.runtime.tls import refused_certificate
from saga.telemetry import metrics
from saga.telemetry.log_setup import get_logger
from saga.telemetry.redaction import Words, tell

log = get_logger(__name__)

LOOK_EVERY = 1.5
"""Seconds between two looks at whether everything is still there."""
ANSWER_SECONDS = 2.5
"""How long RabbitMQ may take to answer. Twice in vain, and the connection is given up: within 8 s in all."""
FINISH_SECONDS = 5.0
"""How long what is being handled has to finish when its connection is closed."""
_CONNECT_SECONDS, _START_SECONDS, _DECLARE_SECONDS, _CANCEL_SECONDS = 5.0, 15.0, 10.0, 1.0


class Consumers(RabbitBroker):
    """FastStream's broker with every subscriber of ours. `run` must be running.

    Args:
        url: `amqp://…` or `amqps://…`.
        options: FastStream's.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(
            url, timeout=_CONNECT_SECONDS, reconnect_interval=1.0, graceful_timeout=FINISH_SECONDS, **options
        )
        self._unanswered = 0
        """Looks one after the other that got no answer, or missed a consumer."""
        self._watching: asyncio.Task[Any] | None = None
        self._once_there = False

    async def start(self) -> None:
        """Nothing yet. FastStream calls this when the service starts; `run` starts when RabbitMQ is there."""

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Take no more, let what is being handled finish, and close; within 8 s, whatever hangs.

        FastStream by itself waits first, and what arrives meanwhile goes back with its delivery count raised.
        """
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        with suppress(*BUS_ERRORS):
            async with asyncio.timeout(_CANCEL_SECONDS):
                await own_cancellation(asyncio.gather(*(_cancel(one) for one in self._ours)))
        try:
            async with asyncio.timeout(FINISH_SECONDS + 1):
                await own_cancellation(super().stop(exc_type, exc_val, exc_tb))
        except (*BUS_ERRORS, ExceptionGroup) as error:
            log.debug("closing a dead connection", error=error)
            await self._abandon()

    async def run(self) -> None:
        """Consume, and see that it stays so, until cancelled.

        Raises:
            ConfigurationError: RabbitMQ refuses us, or a queue of ours exists in another form.
        """
        self._watching = asyncio.current_task()
        await self._begin()
        trouble = Trouble(log)
        while True:
            self._show(self.gone)
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._look()
            except BUS_ERRORS as error:
                self._unanswered += 1
                trouble.say("not all is consumed", error=error)
                if self._unanswered > 1:
                    metrics.CONSUMER_RESTARTS.inc()
                    await self._begin()
            else:
                self._unanswered = 0
                trouble.over("all is consumed again")

    @property
    def gone(self) -> list[str]:
        """The queues that are not consumed from at this moment."""
        connection = self._connection
        alive = connection is not None and connection.connected.is_set() and not self._unanswered
        return [one.queue.name for one in self._ours if not (alive and one.running)]

    @property
    def _ours(self) -> list[RabbitSubscriber]:
        return [one for one in self.subscribers if isinstance(one, RabbitSubscriber)]

    @property
    def _names(self) -> list[str]:
        """What is declared by this service."""
        return [EXCHANGE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, *(one.queue.name for one in self._ours)]

    async def _begin(self) -> None:
        """Connect, declare and consume, however often it takes."""
        self._show([one.queue.name for one in self._ours])
        backoff = Backoff(log)
        while True:
            await self._abandon()
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await own_cancellation(super().start())
            except BUS_ERRORS as error:
                # what worked before is not mistyped: somebody is changing it
                if not self._once_there and (refusal := _refusal(error, self._names)):
                    raise ConfigurationError(refusal) from error
                await backoff.pause("RabbitMQ cannot be reached for consuming", error=error)
            else:
                self._unanswered, self._once_there = 0, True
                backoff.over("RabbitMQ is there; consuming")
                return

    def _show(self, gone: list[str]) -> None:
        for one in self._ours:
            metrics.QUEUE_CONSUMERS.labels(one.queue.name).set(one.queue.name not in gone)

    async def _abandon(self) -> None:
        """Leave the connection behind, as it is: one that may be dead is asked for nothing.

        What is being handled goes on; its ack fails, and it is handed out again.
        """
        connection = self._connection
        self._channel = self._connection = None
        self.config.disconnect()
        if connection is not None:
            await close(connection)

    async def _look(self) -> None:
        """See that RabbitMQ answers, that queues and bindings are there, and that each has its consumer.

        Raises:
            Exception: one of BUS_ERRORS: it does not answer, or a consumer is missing.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            probe = await own_cancellation(self._open_probe())
        missing: list[str] = []
        try:
            async with asyncio.timeout(_DECLARE_SECONDS):
                missing = await own_cancellation(self._mend(probe))
        except BUS_ERRORS as error:
            # a queue alone, without a leader, say: the others must not suffer for it
            log.warning("a queue cannot be looked after", queue=_meant(error, self._names), error=error)
        finally:
            with suppress(*BUS_ERRORS):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await own_cancellation(probe.close())
        if missing:
            # the client library may be about to consume again by itself; the next look will tell
            raise BusAwayError(f"no consumer for {', '.join(missing)}")

    async def _open_probe(self) -> AbstractChannel:
        transport = self._connection.transport if self._connection else None
        # the client library has a RuntimeError for a connection that is closed
        if transport is None or transport.connection.is_closed:
            raise BusAwayError("there is no connection")
        return await transport.connection.channel(publisher_confirms=False)

    async def _mend(self, probe: AbstractChannel) -> list[str]:
        """Declare all anew; the queues that are not consumed from."""
        missing = []
        for exchange in (EXCHANGE, DEAD_LETTER_EXCHANGE):
            await probe.exchange_declare(exchange, exchange_type="topic", durable=True)
        for one in self._ours:
            queue = one._queue_obj  # noqa: SLF001 - FastStream shows neither its queue nor its consumer
            if queue is None:
                continue
            await probe.queue_declare(queue.name, durable=True, arguments=queue.arguments)
            await probe.queue_bind(queue.name, one.exchange.name, one.queue.routing())
            channel = cast("aiormq.Channel", await queue.channel.get_underlay_channel())
            if one._consumer_tag not in channel.consumers:  # noqa: SLF001 - the same
                missing.append(queue.name)
        return missing


def _refusal(error: BaseException, names: list[str]) -> str | None:
    """What is wrong with the configuration, in words; None where RabbitMQ is only away."""
    if why := refused_certificate(error):
        return f"RABBITMQ_URL: RabbitMQ's certificate is refused: {why}"
    match error:
        case ChannelPreconditionFailed():
            which = _meant(error, names) or "RabbitMQ's log names it"
            return (
                f"a queue or exchange of this service exists in another form ({which}): let it run empty,"
                " delete it (rabbitmqctl delete_queue NAME), and start again"
            )
        case AuthenticationError() | ProbableAuthenticationError() | ChannelAccessRefused():
            return f"RABBITMQ_URL: RabbitMQ refuses the user, the password or a right ({tell(error)})"
        case ConnectionNotAllowed() | InvalidFrameError() if "Close" in str(error):
            # all that the client library tells of a virtual host that is not to be had
            return "RABBITMQ_URL: RabbitMQ refuses the virtual host: it does not exist, or the user may not use it"
        case _:
            return None


def _meant(error: BaseException, names: list[str]) -> Words | None:
    """Which of these RabbitMQ speaks of, in words that are told no further."""
    return next((Words(name) for name in names if f"'{name}'" in str(error)), None)


async def _cancel(one: RabbitSubscriber) -> None:
    queue, tag = one._queue_obj, one._consumer_tag  # noqa: SLF001 - FastStream cancels only after it has waited
    if queue is not None and tag is not None:
        one._consumer_tag = None  # noqa: SLF001 - the same
        await queue.cancel(tag)
