"""What a person does about a dead letter: publish it again, or give it up. And what is known before that is done.

A letter stays locked while it is published, and is marked in the same transaction: two who redrive it at once publish
it once, and it counts as redriven only when the broker has confirmed it. If that commit is lost it is open still, and
may be published once more, with the same `eventId`, which everybody deduplicates on.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import aio_pika
from aio_pika.abc import DeliveryMode

from models.messages import COMMANDS, REPLIES
from models.states import Command, CurrentStep, SagaStatus
from saga import dead_letters, store
from saga.amqp_values import from_json, sendable
from saga.bus import UNROUTABLE, Bus
from saga.database import Sessions
from saga.dead_letters import Letter, LetterState
from saga.failpoints import reach
from saga.outlook import waiting
from saga.values import Policy

_COMMANDS = {f"domain.order.{command}": command for command in COMMANDS}
_REPLIES = {f"domain.{reply.service}.{reply.__name__}": reply.__name__ for reply in REPLIES}
_OURS = ("x-dead-letter-", "x-death", "x-first-death-", "x-last-death-", "x-delivery-count")
"""Headers that a message got on its way to the dead letters."""
_KEPT = (
    "content_type", "content_encoding", "priority", "correlation_id", "reply_to", "message_id", "timestamp", "type",
    "app_id",
)  # fmt: skip
"""Properties that it is published with again; its sender's name and its expiry belong to the first time."""


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


def safety(letter: Letter, stored: store.Stored | None, policy: Policy) -> Safety:
    """What would come of redriving a letter, whose order's saga this is, as it stands now.

    A command that its saga does not wait for is never published again: its answer would be of no use to anybody, and a
    participant that had not heard of it yet would carry it out.
    """
    position = stored.saga.position if stored else None
    awaited = _awaited(letter, stored, policy)
    forbidden = letter.routing_key in _COMMANDS and not awaited
    return Safety(
        redrivable=letter.state is LetterState.OPEN and not forbidden,
        awaited=awaited,
        status=position.status if position else None,
        step=position.current_step if position else None,
        words=_words(letter, stored, awaited=awaited),
    )


def _awaited(letter: Letter, stored: store.Stored | None, policy: Policy) -> bool | None:
    if stored is None:
        return None
    if command := _COMMANDS.get(letter.routing_key):
        return stored.saga.position.open_command is command
    if letter.routing_key not in _REPLIES:
        return None
    awaited = waiting(stored.saga, policy)
    return awaited is not None and _REPLIES[letter.routing_key] in awaited["for"]


def _words(letter: Letter, stored: store.Stored | None, *, awaited: bool | None) -> str:  # noqa: PLR0911 - a line per case
    if letter.state is LetterState.REDRIVEN:
        return "It was redriven and has not come back."
    if letter.state is LetterState.DISCARDED:
        return f"It was discarded: {letter.discard_reason}"
    command: Command | None = _COMMANDS.get(letter.routing_key)
    if stored is None:
        if command:
            return "There is no such order: nobody waits for this command to be carried out."
        if letter.order_id is None:
            return "It names no order. It will be handled as if it came now, and come back if it still cannot be."
        return "There is no such order. It will be handled as if it came now, and come back if it still cannot be."
    stands = f"the saga is {stored.saga.position.status} at {stored.saga.position.current_step}"
    if command and awaited:
        return f"Awaited: {stands}, and {command} is its open command. It is asked again under the same eventId."
    if command:
        return f"Not awaited: {stands}, and does not wait for {command}. It is not published again."
    if awaited:
        return f"Awaited: {stands}, and takes it as the answer to its open command."
    if awaited is None:
        return f"Its order exists: {stands}. A request that was granted before changes nothing."
    return f"Not awaited: {stands}. The table says what becomes of it; what was applied before changes nothing."


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


async def redrive(sessions: Sessions, bus: Bus, id_: UUID, by: str, policy: Policy) -> Redrive:
    """Publish a letter again as it was: same body, message id and headers, to where it was published at first.

    Args:
        sessions: each of which is one transaction.
        bus: publishes it.
        id_: the letter.
        by: the person who wants that.
        policy: how long sagas wait, for telling what they wait for.
    """
    async with sessions() as session, session.begin():
        letter = await dead_letters.find(session, id_, lock=True)
        if letter is None:
            return Redrive(id_, RedriveOutcome.GONE, "There is no such dead letter.")
        stored = await store.find_saga(session, letter.order_id) if letter.order_id else None
        foreseen = foresee(letter, safety(letter, stored, policy))
        if foreseen.outcome is not RedriveOutcome.WOULD_REDRIVE:
            return foreseen
        failure = await bus.republish(_message(letter), letter.exchange, letter.routing_key)
        if failure:
            unroutable = failure == UNROUTABLE
            return Redrive(id_, RedriveOutcome.UNROUTABLE if unroutable else RedriveOutcome.BUS_AWAY, failure)
        reach("redrive.confirmed")
        await dead_letters.mark_redriven(session, id_, by)
    reach("redrive.marked")
    return Redrive(id_, RedriveOutcome.REDRIVEN, foreseen.words)


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
    headers = {name: value for name, value in (letter.headers or {}).items() if not name.startswith(_OURS)}
    body = letter.body or b""
    # the client library would make one up
    properties = {"message_id": dead_letters.name_of(letter.routing_key, body)} | from_json(letter.properties or {})
    return aio_pika.Message(
        body,
        headers=sendable(from_json(headers)),
        delivery_mode=DeliveryMode.PERSISTENT,
        **{name: properties[name] for name in _KEPT if properties.get(name) is not None},
    )
