"""The messages of a saga, as far as its history and the outbox tell: what was sent, what is still here, what came."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from handlers.dashboard.timeline import Stay
from handlers.queries.unsent import Unsent
from models.messages import REPLIES, Reply
from models.states import Command, EntryStatus, OrderEvent, Position
from saga.domain import Entry, Saga, message_id
from saga.history import ids_of
from saga.outbox.message import EXCHANGE
from saga.outbox.publisher import UNROUTABLE
from saga.transitions import REPLY_MODELS, Signal


@dataclass(frozen=True, slots=True)
class Sent:
    """A message to others. Sent again it stays the same message."""

    name: str
    to: str
    event_id: UUID
    times: int
    when: list[datetime]
    """When it was sent, as far as the history tells."""
    unsent: list[Unsent]
    """Those of its copies that have not left yet."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message from others, or several that said the same."""

    name: str
    by: str
    event_ids: list[str]
    entry: Entry


def sent(saga: Saga, stays: list[Stay], unsent: list[Unsent]) -> list[Sent]:
    """What the saga sent, in the order in which it was sent first."""

    def message(kind: Command | OrderEvent, to: str, times: int, when: list[datetime], *, copy: bool = False) -> Sent:
        id_ = message_id(saga.id, kind)
        waiting = [one for one in unsent if one.message_id == id_ and copy == (one.exchange != EXCHANGE)]
        return Sent(kind, to, id_, times, when, waiting)

    messages = [message(OrderEvent.ORDER_CREATED, "everybody", 1, [saga.created_at])]
    for command, times in saga.sent.items():
        when = [time for stay in stays if stay.command == command for time in stay.sends]
        messages.append(message(Command(command), _asked(command).service.capitalize(), times, when))
    for entry in saga.history:
        if entry["status"] == EntryStatus.PARKED:
            parked, times = [datetime.fromisoformat(entry["timestamp"])], entry.get("count", 1)
            messages.append(message(Command(entry["step"]), "the dead letters", times, parked, copy=True))
    if saga.completed_at:
        good = saga.position is Position.COMPLETED
        end = OrderEvent.ORDER_COMPLETED if good else OrderEvent.ORDER_FAILED
        messages.append(message(end, "everybody", 1, [saga.completed_at]))
    return sorted(messages, key=lambda one: min(one.when, default=saga.updated_at))


def received(saga: Saga) -> list[Received]:
    """What came, in the order in which it came last."""
    return [Received(*_told(entry), ids, entry) for entry in saga.history if (ids := ids_of(entry))]


def why_here(unsent: Unsent, now: datetime) -> str:
    """Why a message has not left, in words."""
    if unsent.last_error == UNROUTABLE:
        return "no queue takes it: whoever it is for has not declared one"
    if unsent.last_error:
        return f"it could not be published ({unsent.last_error})"
    if unsent.lease_until > now:
        return "a worker is publishing it"
    return "the worker that had it did not publish it in time"


def _told(entry: Entry) -> tuple[str, str]:
    """The name of the message that an entry is about, and who sent it."""
    if entry["event"] == Signal.TRANSIENT_FAILURE:
        failure = _asked(entry["step"], success=False)
        return f"{failure.__name__}, retryable", failure.service.capitalize()
    reply = REPLY_MODELS.get(Signal(entry["event"]))
    return entry["event"], reply.service.capitalize() if reply else "a client"


def _asked(command: str, *, success: bool = True) -> type[Reply]:
    return next(reply for reply in REPLIES if reply.answers == command and reply.success is success)
