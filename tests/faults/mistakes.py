"""Known mistakes, planted one at a time where somebody would make them; each must be found by a check of the harness.

`plant` is called in the service's own process before it is composed. Nothing of the harness is touched.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from aio_pika.exceptions import PublishError

import settings
from handlers.bus import consumer as consuming
from handlers.bus import publisher as bus
from handlers.bus import subscribe as subscribing
from handlers.bus.ack_batching import Acks
from handlers.dead_letters import consumer as dead_letters
from saga import engine, timers
from saga.batch import Batch
from saga.engine import Engine
from saga.errors import DatabaseFault, classify
from saga.outbox import message as outbox
from saga.outbox import relay
from saga.outbox import store as outbox_store
from saga.outbox.relay import Relay
from saga.runtime import backoff
from saga.runtime import tasks as supervise

_FLUSHED = 0.1
"""Seconds after which an ack is on the wire."""


def _instead(owner: object, name: str, wrong: object) -> None:
    assert hasattr(owner, name), f"there is no {name} any more: the mistake must be planted elsewhere"
    setattr(owner, name, wrong)


def ack_before_commit() -> None:
    """A message is acked when it is taken, and its effect is committed later."""

    async def on_receive(self: Any) -> None:
        Acks.of(self.msg).ack(self.msg)

    async def keep_quiet(*_: Any) -> bool:
        return True

    _instead(subscribing.Settlement, "on_receive", on_receive)
    _instead(subscribing.Settlement, "__aexit__", keep_quiet)


def default_ack_policy() -> None:
    """Whatever fails is rejected, the database's absence too."""

    async def reject(_: Any, message: Any) -> None:
        await message.reject(requeue=False)
        Acks.of(message).settled(message)

    _instead(engine, "classify", lambda _: DatabaseFault.BUG)
    _instead(subscribing.Settlement, "_give_back", reject)


def row_deleted_before_the_confirm() -> None:
    """The outbox row goes when the message is sent, and not when it has arrived."""

    async def publish(self: Relay, envelopes: list[Any]) -> None:
        if envelopes:
            async with self._sessions() as session:
                await outbox_store.remove_published(session, [one.id for one in envelopes])
            await self._publisher.publish(envelopes)

    _instead(Relay, "_publish", publish)


def except_exception_in_the_relay() -> None:
    """A background task that catches `Exception`, logs it, and believes that this is all that can happen."""

    async def as_it_is(work: Any) -> Any:
        return await work

    async def once(_: str, work: Callable[[], Any]) -> None:
        with suppress(Exception):
            await work()

    _instead(bus, "own_cancellation", as_it_is)
    _instead(supervise, "_keep_running", once)


def cursor_over_the_outbox() -> None:
    """What is behind the cursor is never looked at again."""
    claim, seen = outbox_store.claim_overdue, set[object]()

    async def claim_new(session: Any, lease: timedelta, limit: int) -> list[Any]:
        claimed = [one for one in await claim(session, lease, limit) if one.id not in seen]
        seen.update(one.id for one in claimed)
        return claimed

    _instead(outbox_store, "claim_overdue", claim_new)


def one_shot_recovery() -> None:
    """What a crash left behind is looked for at the start, and never again."""
    sweep, swept = Relay._sweep, set[int]()

    async def once(self: Relay) -> None:
        if id(self) not in swept:
            swept.add(id(self))
            await sweep(self)

    _instead(Relay, "_sweep", once)


def handed_over_before_the_commit() -> None:
    """Two writes, one to the database and one to the bus, and nothing that ties them together."""
    begin, write = Engine.__init__, Batch.write

    def remember(self: Engine, *arguments: Any) -> None:
        begin(self, *arguments)
        hand_over[0] = self._hand_over

    async def write_and_send(self: Batch) -> Any:
        envelopes = await write(self)
        hand_over[0](envelopes)
        await asyncio.sleep(_FLUSHED)
        return []

    async def no_outbox(*_: Any) -> None:
        pass

    hand_over: list[Any] = [None]
    _instead(outbox_store, "enqueue", no_outbox)
    _instead(Engine, "__init__", remember)
    _instead(Batch, "write", write_and_send)


def new_id_per_attempt() -> None:
    """A command that is sent again gets an identity of its own."""
    _instead(outbox, "message_id", lambda *_: uuid4())


def deadlines_in_memory() -> None:
    """Timers that nobody finds again."""

    async def never(_: Any) -> None:
        return None

    _instead(timers.Timers, "_until_next", never)


def failed_commit_taken_for_done() -> None:
    """A commit that failed is taken for one that may have worked, and that for one that did."""

    async def commit(self: Engine, arrivals: list[Any]) -> None:
        with suppress(Exception):
            async with self._sessions() as session, session.begin():
                batch = Batch(session, self._policy)
                await batch.decide(arrivals)
                envelopes = await batch.write()
        self._committed(batch, envelopes)

    _instead(Engine, "_commit", commit)


def acked_before_dead_lettered() -> None:
    """What cannot be handled is acked first, and copied to the dead letters then."""
    dead_letter = subscribing.Settlement._dead_letter

    async def early(self: Any, message: Any, error: Any) -> None:
        Acks.of(message).ack(message)
        await asyncio.sleep(_FLUSHED)
        await dead_letter(self, message, error)

    _instead(subscribing.Settlement, "_dead_letter", early)


def letter_acked_before_it_is_stored() -> None:
    """A dead letter is acked when it is taken."""

    async def early(message: Any) -> Any:
        Acks.of(message.raw_message).ack(message.raw_message)
        await asyncio.sleep(_FLUSHED)
        return message.raw_message

    _instead(dead_letters, "_undecoded", early)


def lock_taken_for_a_refusal() -> None:
    """A row that somebody else has locked is taken for data that PostgreSQL refuses."""

    def confuse(error: BaseException) -> DatabaseFault:
        fault: DatabaseFault = classify(error)
        return DatabaseFault.DATA if fault is DatabaseFault.BUSY else fault

    _instead(engine, "classify", confuse)


def nobody_looks_after_bindings() -> None:
    """What was declared once is believed to be there."""

    async def nothing(*_: Any) -> list[str]:
        return []

    _instead(consuming.Consumers, "_mend", nothing)


def publish_without_a_timeout() -> None:
    """A broker that does not confirm is waited for."""
    _instead(bus, "PUBLISH_TIMEOUT", timedelta(hours=1))
    # the client library's own, which ends what is silent after three minutes
    _instead(settings, "_HEARTBEAT", 60)


def leases_kept_when_stopping() -> None:
    """What a worker had in hand when it was told to stop waits until its lease has run out."""

    async def nothing(_: Relay) -> None:
        pass

    _instead(Relay, "_hand_back", nothing)


def hot_loop() -> None:
    """No pause between two attempts."""

    async def at_once(self: backoff.Backoff, why: str, **known: object) -> None:
        self.say(why, **known)
        await asyncio.sleep(0)

    _instead(backoff.Backoff, "pause", at_once)


def returned_taken_for_published() -> None:
    """A message that no queue takes looks like a success."""
    publish = bus._publish

    async def whatever(*arguments: Any) -> None:
        with suppress(PublishError):
            await publish(*arguments)

    _instead(bus, "_publish", whatever)


def parked_for_good() -> None:
    """A message that could not leave is put off, and nobody takes it up again."""
    _instead(relay, "TRY_AGAIN_AFTER", timedelta(days=1))


def plant(name: str) -> None:
    """Plant the mistake of this name."""
    globals()[name]()
