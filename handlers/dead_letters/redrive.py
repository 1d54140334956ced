"""What a person does about a dead letter: publish it again, or give it up. And what is known before that is done.

A letter stays locked while it is published, and is marked in the same transaction: two who redrive it at once publish
it once, and it counts as redriven only when the broker has confirmed it. If that commit is lost, or the confirmation
comes too late, it is open still, and may be published once more, with the same `eventId`, which everybody deduplicates
on.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

import aio_pika
from aio_pika.abc import DeliveryMode
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.bus.amqp_json import from_json, sendable
from handlers.bus.publisher import Bus
from handlers.bus.queues import KEYS
from handlers.bus.trusted_senders import Senders
from handlers.dead_letters import store as dead_letters
from handlers.dead_letters.store import Letter, LetterState
from models.messages import COMMANDS
from models.states import Command, CurrentStep, SagaStatus
from saga import store
from saga.domain import Event, Policy, Saga, message_id
from saga.errors import RefusedError
from saga.insight.forecast import answers, foretold
from saga.outbox.message import EXCHANGE
from saga.outbox.publisher import UNROUTABLE
from saga.runtime.database import Sessions
from saga.runtime.failpoints import reach
from saga.transitions import REPLY_MODELS

AT_ONCE = 2
"""As many are published at once by one process: fewer than there are connections for reading."""
TURN_SECONDS = 5.0
"""How long a redrive waits for the others before it."""
PUBLISH_WITHIN = timedelta(seconds=2)
"""How long RabbitMQ has to confirm one; far less than PostgreSQL lets a transaction idle, or others wait for a lock."""

Read = Callable[[str, bytes], Event | None]
"""What a message of this routing key tells its saga; None where no saga takes it. Raises RefusedError."""

_COMMANDS = {f"domain.order.{command}": command for command in COMMANDS}
_HEADERS, _HEADERS_FROM = frozenset({"traceparent", "tracestate"}), "ce-"
"""Headers that it is published with again: trace context, and those of CloudEvents. All others stay behind: under our
name some are orders to RabbitMQ, and `CC` and `BCC` would send a stranger's message to whomever he likes."""
_KEPT = (
    "content_type", "content_encoding", "priority", "correlation_id", "message_id", "timestamp", "type", "app_id",
)  # fmt: skip
"""Properties that it is published with again; its expiry belongs to the first time, its sender is told beside, and
nobody is to answer a stranger because it is we who ask."""


@dataclass(frozen=True, slots=True)
class Safety:
    """What the table knows about publishing a letter again."""

    redrivable: bool
    """False where it would do nothing, or harm."""
    awaited: bool | None
    """Whether its saga waits for it at this moment; None where that cannot be told."""
    status: SagaStatus | None
    step: CurrentStep | None
    words: str


def safety(letter: Letter, stored: store.Stored | None, policy: Policy, read: Read, senders: Senders) -> Safety:
    """What would come of redriving a letter, whose order's saga this is, as it stands now.

    One that came from somebody whose word does not count is not published again: it would come back, since it keeps its
    sender. It may be, once TRUSTED_SENDERS names that sender. Nor is one published again that would not come to a queue
    of ours: it would be a stranger's message to somebody else, under our name.

    A command that its saga does not wait for is never published again: its answer would be of no use to anybody, and a
    participant that had not heard of it yet would carry it out. The saga's own command was published by us, with the
    saga's own id for it.

    Args:
        letter: as it is stored.
        stored: its order's saga, if there is one.
        policy: how long sagas wait.
        read: what a message would tell its saga.
        senders: whose messages count, and who we are.
    """
    command = None if letter.queue else _COMMANDS.get(letter.routing_key)
    if stored is None:
        awaited, words = None, _about_nothing(letter, command)
    elif command:
        awaited, words = _about_command(letter, stored.saga, command)
    else:
        awaited, words = _about_message(letter, stored.saga, policy, read)
    against = _against_anybody(letter, senders, command)
    position = stored.saga.position if stored else None
    return Safety(
        redrivable=letter.state is LetterState.OPEN and not against and (command is None or awaited is True),
        awaited=awaited,
        status=position.status if position else None,
        step=position.current_step if position else None,
        words=_closed(letter) or against or words,
    )


def _against_anybody(letter: Letter, senders: Senders, command: Command | None) -> str | None:
    """What speaks against publishing it again, whatever its saga waits for."""
    if letter.whole_sha256:
        why = "Too large: only the beginning of it was kept"
    elif command:
        why = "" if letter.sender == senders.own else "Not trusted: it is a command, and not from this service"
    elif not senders.trusts(letter.belongs_to, letter.sender):
        why = "Not trusted: it is not from whom TRUSTED_SENDERS names for its routing key"
    elif letter.belongs_to not in KEYS or (letter.queue is None and letter.exchange != EXCHANGE):
        why = "Not for this service: where it was sent to, no queue of this service is bound"
    else:
        why = ""
    return f"{why}. It is not published again." if why else None


def _closed(letter: Letter) -> str | None:
    match letter.state:
        case LetterState.REDRIVEN:
            return "It was redriven and has not come back."
        case LetterState.DISCARDED:
            return f"It was discarded: {letter.discard_reason}"
        case LetterState.OPEN:
            return None


def _about_nothing(letter: Letter, command: Command | None) -> str:
    if command:
        return "There is no such order: nobody waits for this command to be carried out."
    known = "It names no order" if letter.order_id is None else "There is no such order"
    return f"{known}. It will be handled as if it came now, and come back if it still cannot be."


def _about_command(letter: Letter, saga: Saga, command: Command) -> tuple[bool, str]:
    own = str(message_id(saga.id, command))
    if saga.position.open_command is not command:
        return False, f"Not awaited: {_stands(saga)}, and does not wait for {command}. It is not published again."
    if letter.message_id != own:
        words = f"Not the saga's own {command}: that has the id {own}, and this one {letter.message_id or 'none'}."
        return False, f"{words} It is not published again."
    words = f"Awaited: {_stands(saga)}, and {command} is its open command. It is asked again under the same eventId."
    return True, words


def _about_message(letter: Letter, saga: Saga, policy: Policy, read: Read) -> tuple[bool | None, str]:
    """What the table says of anything else: it is asked, not guessed at."""
    if letter.body is None:
        return None, f"Its order exists: {_stands(saga)}. It is too long to be read in a list: look at it by itself."
    try:
        event = read(letter.belongs_to, letter.body)
    except RefusedError as error:
        return None, f"Its order exists: {_stands(saga)}. It cannot be read, and would come back: {error}"
    if event is None:
        return (
            None,
            f"Its order exists: {_stands(saga)}, and takes no {letter.belongs_to}. What it asks for is not known.",
        )
    told = foretold(saga, event, policy)
    if event.signal not in REPLY_MODELS:
        return None, f"Its order exists: {_stands(saga)}. {told}"
    awaited = answers(saga, event)
    return awaited, f"{'Awaited' if awaited else 'Not awaited'}: {_stands(saga)}. {told}"


def _stands(saga: Saga) -> str:
    return f"the saga is {saga.position.status} at {saga.position.current_step}"


class RedriveOutcome(StrEnum):
    """What became of the wish to publish a letter again."""

    REDRIVEN = "redriven"
    WOULD_REDRIVE = "would_redrive"
    """A dry run found nothing against it."""
    UNCHANGED = "unchanged"
    """It was redriven before and has not come back: nothing is done twice."""
    REFUSED = "refused"
    UNROUTABLE = "unroutable"
    """No queue takes it; it is open still."""
    BUS_AWAY = "bus_away"
    """RabbitMQ did not confirm it; it is open still."""
    BUSY = "busy"
    """Its turn did not come in time; it is open still."""
    GONE = "gone"
    """There is no such letter."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """What became of one letter, and why."""

    id: UUID
    outcome: RedriveOutcome
    words: str


def foresee(letter: Letter, known: Safety) -> Redrive:
    """What redriving a letter would come to, as far as can be told without doing it."""
    if known.redrivable:
        return Redrive(letter.id, RedriveOutcome.WOULD_REDRIVE, known.words)
    again = letter.state is LetterState.REDRIVEN
    return Redrive(letter.id, RedriveOutcome.UNCHANGED if again else RedriveOutcome.REFUSED, known.words)


class Redrives:
    """Publishes letters again: same body and message id, to the queue that they waited in, or the open command anew.

    One per process. Each takes a connection to the database and locks a letter until RabbitMQ has answered, so only a
    few go on at once, and not for long: whoever reads must not wait for a broker that is away.

    Args:
        sessions: each of which is one transaction.
        bus: publishes them.
        policy: how long sagas wait, for telling what would become of a letter.
        read: what a message, by its routing key and its body, would tell its saga.
        senders: whose messages count, and who we are.
    """

    def __init__(self, sessions: Sessions, bus: Bus, policy: Policy, read: Read, senders: Senders) -> None:
        self._sessions = sessions
        self._bus = bus
        self._policy = policy
        self._read = read
        self._senders = senders
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def known(self, session: AsyncSession, letters: Sequence[Letter]) -> list[tuple[Letter, Safety]]:
        """What the table knows about each of these."""
        order_ids = {letter.order_id for letter in letters if letter.order_id}
        sagas = await store.find_orders(session, order_ids) if order_ids else {}
        return [
            (letter, self._safety(letter, sagas.get(letter.order_id) if letter.order_id else None))
            for letter in letters
        ]

    async def redrive(self, id_: UUID, by: str) -> Redrive:
        """Publish a letter again, as the wish of this person."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            return Redrive(id_, RedriveOutcome.BUSY, "Too many letters are being redriven at this moment.")
        try:
            return await self._redrive(id_, by)
        finally:
            self._turns.release()

    async def _redrive(self, id_: UUID, by: str) -> Redrive:
        async with self._sessions() as session, session.begin():
            letter = await dead_letters.find(session, id_, lock=True)
            if letter is None:
                return Redrive(id_, RedriveOutcome.GONE, "There is no such dead letter.")
            stored = await store.find_saga(session, letter.order_id) if letter.order_id else None
            foreseen = foresee(letter, self._safety(letter, stored))
            if foreseen.outcome is not RedriveOutcome.WOULD_REDRIVE:
                return foreseen
            failure = await self._bus.republish(
                _message(letter), EXCHANGE, letter.belongs_to, letter.sender, PUBLISH_WITHIN
            )
            if failure:
                unroutable = failure == UNROUTABLE
                return Redrive(id_, RedriveOutcome.UNROUTABLE if unroutable else RedriveOutcome.BUS_AWAY, failure)
            reach("redrive.confirmed")
            await dead_letters.mark_redriven(session, id_, by)
        reach("redrive.marked")
        return Redrive(id_, RedriveOutcome.REDRIVEN, foreseen.words)

    def _safety(self, letter: Letter, stored: store.Stored | None) -> Safety:
        return safety(letter, stored, self._policy, self._read, self._senders)


async def discard(sessions: Sessions, id_: UUID, by: str, reason: str) -> Letter | None:
    """Close an open letter with a reason; one that is closed stays as it is.

    Returns:
        the letter as it is now; None where there is none.
    """
    async with sessions() as session, session.begin():
        letter = await dead_letters.find(session, id_, lock=True)
        if letter is None or letter.state is not LetterState.OPEN:
            return letter
        await dead_letters.mark_discarded(session, id_, by, reason)
        return await dead_letters.find(session, id_)


def _message(letter: Letter) -> aio_pika.Message:
    headers = {
        name: value
        for name, value in (letter.headers or {}).items()
        if name in _HEADERS or name.startswith(_HEADERS_FROM)
    }
    body = letter.body or b""
    # the client library would make one up
    properties = {"message_id": dead_letters.name_of(letter.belongs_to, body)} | from_json(letter.properties or {})
    return aio_pika.Message(
        body,
        headers=sendable(from_json(headers)),
        delivery_mode=DeliveryMode.PERSISTENT,
        **{name: properties[name] for name in _KEPT if properties.get(name) is not None},
    )
