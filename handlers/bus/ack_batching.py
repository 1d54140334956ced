"""Acknowledging together what is settled together.

The engine answers all events of a transaction at once. An ack of its own for each of them would be as many writes to
the socket; one ack can speak for all messages of a channel up to and including one. It does so only where every one of
them is known to be settled: delivery tags are counted without gaps, so that a message nobody has seen is never acked.
"""

import asyncio
from contextvars import Context
from weakref import WeakKeyDictionary

from aio_pika import IncomingMessage

from handlers.bus.publisher import BUS_ERRORS
from saga.runtime.failpoints import reach
from saga.runtime.tasks import own_cancellation
from saga.telemetry.log_setup import get_logger

log = get_logger(__name__)

MOST_BEYOND_A_GAP = 1_000
"""Settled messages that are remembered behind one that is not; more than any prefetch."""


class Acks:
    """What became of the messages of one channel."""

    def __init__(self) -> None:
        self._up_to = 0
        """Every message up to this delivery tag is settled."""
        self._beyond: set[int] = set()
        """The delivery tags of settled messages beyond the first that is not."""
        self._ready: list[IncomingMessage] = []
        self._flushing: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, message: IncomingMessage) -> "Acks":
        """The acks of the channel that a message came by."""
        return _of_channel.setdefault(message.channel, cls())

    def settled(self, message: IncomingMessage) -> None:
        """A message was given back, or acked by itself."""
        self._beyond.add(_tag(message))

    def ack(self, message: IncomingMessage) -> None:
        """A message's effect is committed: ack it, with all others that are ready by the end of this turn."""
        self._ready.append(message)
        if self._flushing is None or self._flushing.done():
            # it is about all of them, and not about the message that happens to be the first
            self._flushing = asyncio.create_task(self._flush(), context=Context())

    async def _flush(self) -> None:
        # what becomes ready while the socket is written to goes with the next round
        while self._ready:
            ready, self._ready = sorted(self._ready, key=_tag), []
            self._beyond.update(_tag(message) for message in ready)
            while self._up_to + 1 in self._beyond:
                self._up_to += 1
                self._beyond.discard(self._up_to)
            if len(self._beyond) > MOST_BEYOND_A_GAP:
                self._beyond.clear()
            together = [message for message in ready if _tag(message) <= self._up_to]
            reach("message.acking")
            try:
                if together:
                    await own_cancellation(together[-1].ack(multiple=True))
                for message in ready[len(together) :]:
                    await own_cancellation(message.ack())
            except BUS_ERRORS as error:
                log.debug("the channel is gone, its messages come again", error=error)
            reach("message.acked")


_of_channel: WeakKeyDictionary[object, Acks] = WeakKeyDictionary()


def _tag(message: IncomingMessage) -> int:
    assert message.delivery_tag is not None, "a message that was delivered has a tag"
    return message.delivery_tag
