"""`decide()`: what a signal does to a saga. Pure: the table says what, this function carries it out on values.

Nothing here reads a clock, mints an id, draws a random number or does I/O, so a decision can be made again at any
time from the same values: by a test, by the model check, by whoever folds a history to verify a row.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NotRequired, TypedDict
from uuid import UUID, uuid5

from models.messages import clip, instant_text
from models.states import Command, EntryStatus, IncidentKind, OrderEvent, Position, Timer
from saga.cells import (
    REPLY_MODELS,
    Acknowledge,
    Already,
    Conflict,
    Go,
    Ignore,
    Note,
    Refuse,
    Retry,
    SendAgain,
    Signal,
)
from saga.table import FORWARD_STEPS, TABLES


class Entry(TypedDict):
    """One entry of the history, as it is stored. `event` is the signal; the HTTP API leaves it out."""

    step: str
    status: str
    message: str
    timestamp: str
    attempt: int
    event: str
    eventId: NotRequired[str]
    actor: NotRequired[str]
    count: NotRequired[int]


class Incident(TypedDict):
    """Why a person should look at a saga, since when (RFC 3339), in words."""

    kind: str
    since: str
    detail: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How long a saga waits and how often it asks."""

    step_timeout: timedelta = timedelta(seconds=30)
    retry_attempts: int = 3
    retry_delay: timedelta = timedelta(seconds=5)
    reask: timedelta | None = timedelta(seconds=300)
    """How often a parked command is asked again by itself; None: never."""
    saga_timeout: timedelta = timedelta(seconds=300)


@dataclass(frozen=True, slots=True)
class Deadline:
    """What a timer belongs to. A timer whose saga has moved on is stale and does nothing."""

    command: Command
    timer: Timer
    attempt: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to a saga."""

    signal: Signal
    order_id: UUID
    event_id: UUID | None = None
    """Identity of the message that brought it; None for timers and HTTP requests."""
    causation_id: UUID | None = None
    """The command that a reply says it answers."""
    retryable: bool = False
    """A failure reply that says it is transient."""
    words: str | None = None
    """The participant's or the person's own words, shown in the history."""
    actor: str | None = None
    deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga as `decide` sees it: a value. `history` is never changed in place."""

    id: UUID
    order_id: UUID
    table_version: int
    position: Position
    created_at: datetime
    updated_at: datetime
    sent: dict[str, int]
    """How often each command was sent so far; the attempt of the open one among them."""
    history: list[Entry]
    timer: Timer | None = None
    due_at: datetime | None = None
    completed_at: datetime | None = None
    incident: Incident | None = None
    cancel_requested: bool = False
    failed_step: str | None = None
    reason: str | None = None

    @property
    def attempt(self) -> int:
        """How often the open command was sent; 0 where none is open."""
        command = self.position.open_command
        return self.sent.get(command, 0) if command else 0

    @property
    def parked(self) -> bool:
        """Whether the fast retries are spent."""
        return self.timer is Timer.REASK


@dataclass(frozen=True, slots=True)
class Send:
    """A message to be published: a command or an order event; its body is built from the saga and the order."""

    kind: Command | OrderEvent
    attempt: int | None = None
    dead_letter: bool = False
    """A copy for the dead letters, not for the participant."""


class Outcome(StrEnum):
    """What became of an event. Every consumed event has exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    CONFLICT = "conflict"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    """The saga afterwards (the very same object when nothing changed), what to publish, and why."""

    outcome: Outcome
    saga: Saga
    sends: tuple[Send, ...] = ()
    why: str = ""


def message_id(saga_id: UUID, kind: Command | OrderEvent) -> UUID:
    """The `eventId` of a saga's command or event: derived, so that it never changes, whatever is retried (I6)."""
    return uuid5(saga_id, kind)


def begin(saga_id: UUID, order_id: UUID, now: datetime, policy: Policy, version: int) -> Decision:
    """The first decision of a saga: validate the inventory, and tell everybody that there is an order."""
    unborn = Saga(
        id=saga_id,
        order_id=order_id,
        table_version=version,
        position=Position.VALIDATING,
        created_at=now,
        updated_at=now,
        sent={},
        history=[],
    )
    saga, sends = _enter(unborn, Position.VALIDATING, now, policy)
    return Decision(Outcome.APPLIED, saga, (Send(OrderEvent.ORDER_CREATED), *sends))


def decide(saga: Saga, event: Event, now: datetime, policy: Policy) -> Decision:
    """What this event does to this saga at this time.

    Args:
        saga: where it stands.
        event: what happened.
        now: the database's clock.
        policy: how long to wait, how often to ask.

    Returns:
        the decision; nothing has been changed.
    """
    if event.deadline is not None and not _is_current(saga, event.deadline, now):
        return Decision(Outcome.IGNORED, saga, why="stale timer")
    signal = _signal(saga, event)
    if signal is None:
        return _ignore(saga, event, "a transient failure of a command that is not open", now)
    if (reply := REPLY_MODELS.get(event.signal)) and event.causation_id:
        if event.causation_id != message_id(saga.id, reply.answers):
            return _ignore(saga, event, "it answers another command", now)
    cell = TABLES[saga.table_version][saga.position][signal]
    if _is_duplicate(saga, event, lasting=isinstance(cell, Ignore)):
        return Decision(Outcome.DUPLICATE, saga, why="already applied")
    match cell:
        case Go():
            return _go(saga, event, cell, now, policy)
        case Retry():
            return _retry(saga, event, cell, now, policy)
        case SendAgain():
            return _send_again(saga, event, cell, now, policy)
        case Note():
            return _note_cancel(saga, event, cell, now, policy)
        case Conflict():
            return _conflict(saga, event, cell, now)
        case Acknowledge():
            return _acknowledge(saga, event, cell, now)
        case Ignore(why):
            return _ignore(saga, event, why, now)
        case Refuse(why):
            return replace(_ignore(saga, event, why, now), outcome=Outcome.REFUSED)
        case Already(why):
            return Decision(Outcome.DUPLICATE, saga, why=why)


def _is_current(saga: Saga, deadline: Deadline, now: datetime) -> bool:
    mine = (saga.position.open_command, saga.timer, saga.attempt)
    return (
        mine == (deadline.command, deadline.timer, deadline.attempt) and saga.due_at is not None and saga.due_at <= now
    )


def _signal(saga: Saga, event: Event) -> Signal | None:
    if not event.retryable:
        return event.signal
    return Signal.TRANSIENT_FAILURE if REPLY_MODELS[event.signal].answers == saga.position.open_command else None


def _is_duplicate(saga: Saga, event: Event, *, lasting: bool) -> bool:
    """The history is the inbox. What was ignored once may be awaited now; and a success that answers the open command
    always counts, since a participant that deduplicates repeats its very answer (semantics, rule 8).
    """
    if event.signal is Signal.CANCEL and saga.cancel_requested:
        return True
    if event.event_id is None:
        return False
    key = str(event.event_id)
    seen = [entry["status"] for entry in saga.history if entry.get("eventId") == key]
    if not seen:
        return False
    reply = REPLY_MODELS.get(event.signal)
    if reply and reply.success and reply.answers == saga.position.open_command:
        return False
    return lasting or any(status != EntryStatus.IGNORED for status in seen)


def _go(saga: Saga, event: Event, cell: Go, now: datetime, policy: Policy) -> Decision:
    here, to = saga.position, cell.to
    if event.signal is Signal.CANCEL:
        saga = replace(saga, cancel_requested=True)
    if cell.if_cancelled and saga.cancel_requested:
        to = cell.if_cancelled
    if cell.if_owed and _owes_release(saga):
        to = cell.if_owed
    entry = _entry(saga, event, cell.status, cell.say, now, step=cell.step)
    if here.open_command in FORWARD_STEPS and not here.ended and to not in (Position.COMPLETED, *_AHEAD):
        saga = replace(saga, failed_step=here.current_step, reason=saga.reason or event.words or cell.say)
    incident = _incident_after(saga, cell, to, entry)
    saga = replace(saga, incident=incident, history=_append(saga, entry, coalesce=here.ended or to is here))
    saga, sends = _enter(saga, to, now, policy)
    outcome = Outcome.CONFLICT if cell.status is EntryStatus.CONFLICT else Outcome.APPLIED
    return Decision(outcome, saga, sends, why=entry["message"])


_AHEAD = (Position.VALIDATING, Position.RESERVING, Position.CHARGING)


def _enter(saga: Saga, to: Position, now: datetime, policy: Policy) -> tuple[Saga, tuple[Send, ...]]:
    """Take a position: send its command, set its timer; a saga that ends tells so, exactly once."""
    sends: list[Send] = []
    ends = to.ended and saga.completed_at is None
    if ends:
        sends.append(Send(OrderEvent.ORDER_COMPLETED if to is Position.COMPLETED else OrderEvent.ORDER_FAILED))
    saga = replace(
        saga,
        position=to,
        updated_at=now,
        completed_at=now if ends else saga.completed_at,
        timer=None,
        due_at=None,
    )
    if command := to.open_command:
        saga, send = _ask(saga, command)
        saga = replace(saga, timer=Timer.REPLY, due_at=now + policy.step_timeout)
        sends.append(send)
    return saga, tuple(sends)


def _ask(saga: Saga, command: Command) -> tuple[Saga, Send]:
    attempt = saga.sent.get(command, 0) + 1
    return replace(saga, sent=saga.sent | {command: attempt}), Send(command, attempt)


def _retry(saga: Saga, event: Event, cell: Retry, now: datetime, policy: Policy) -> Decision:
    if cell.if_cancelled and saga.cancel_requested:
        status = EntryStatus.TIMED_OUT if event.signal is Signal.TIMED_OUT else EntryStatus.FAILED
        return _go(saga, event, Go(cell.if_cancelled, status, _attempt_failed(event, policy)), now, policy)
    if saga.parked:
        entry = _entry(saga, event, EntryStatus.FAILED, "failed again while parked", now)
        return Decision(
            Outcome.APPLIED,
            replace(saga, updated_at=now, history=_append(saga, entry, coalesce=True)),
            why=entry["message"],
        )
    timed_out = event.signal is Signal.TIMED_OUT
    entry = _entry(
        saga, event, EntryStatus.TIMED_OUT if timed_out else EntryStatus.FAILED, _attempt_failed(event, policy), now
    )
    saga = replace(saga, updated_at=now, history=_append(saga, entry))
    if saga.attempt <= policy.retry_attempts and now - saga.created_at < policy.saga_timeout:
        due_at = now + _backoff(saga, policy)
        return Decision(Outcome.APPLIED, replace(saga, timer=Timer.RETRY, due_at=due_at), why=entry["message"])
    return _park(saga, event, cell, now, policy)


def _attempt_failed(event: Event, policy: Policy) -> str:
    if event.signal is Signal.TIMED_OUT:
        return f"no reply within {policy.step_timeout.total_seconds():g} s; the outcome is unknown"
    return "failed; it will be asked again"


def _backoff(saga: Saga, policy: Policy) -> timedelta:
    """Doubled per retry, plus up to 10 % that differs from saga to saga, so that retries do not come in step."""
    jitter = (saga.id.int >> (8 * (saga.attempt % 8)) & 0xFF) / 2550
    return timedelta(seconds=policy.retry_delay.total_seconds() * 2 ** (saga.attempt - 1) * (1 + jitter))


def _park(saga: Saga, event: Event, cell: Retry, now: datetime, policy: Policy) -> Decision:
    command = saga.position.open_command
    assert command is not None, "only a position with an open command has a Retry cell"
    detail = f"{command} was not answered after {saga.attempt} attempts"
    entry = _entry(saga, event, EntryStatus.PARKED, detail, now, own_words=True)
    late = saga.incident is not None and saga.incident["kind"] == IncidentKind.LATE_PAYMENT
    saga = replace(
        saga,
        history=_append(saga, entry),
        incident=saga.incident if late else _incident(cell.park, entry),
        timer=Timer.REASK,
        due_at=now + policy.reask if policy.reask else None,
    )
    return Decision(Outcome.APPLIED, saga, (Send(command, saga.attempt, dead_letter=True),), why=detail)


def _send_again(saga: Saga, event: Event, cell: SendAgain, now: datetime, policy: Policy) -> Decision:
    command = saga.position.open_command
    assert command is not None, "only a position with an open command has a SendAgain cell"
    asked, send = _ask(saga, command)
    entry = _entry(asked, event, cell.status, cell.say, now)
    asked = replace(asked, updated_at=now, history=_append(saga, entry, coalesce=event.signal is not Signal.RETRY_DUE))
    if saga.parked:
        due_at = now + policy.reask if policy.reask else None
    else:
        asked, due_at = replace(asked, timer=Timer.REPLY), now + policy.step_timeout
    return Decision(Outcome.APPLIED, replace(asked, due_at=due_at), (send,), why=entry["message"])


def _note_cancel(saga: Saga, event: Event, cell: Note, now: datetime, policy: Policy) -> Decision:
    saga = replace(saga, cancel_requested=True, reason=event.words or cell.say)
    if saga.timer is not Timer.REPLY:
        return _go(saga, event, Go(cell.to, EntryStatus.CANCELLED, cell.say), now, policy)
    entry = _entry(saga, event, EntryStatus.CANCELLED, f"{cell.say}; waiting for the reply in flight", now)
    saga = replace(saga, updated_at=now, history=_append(saga, entry))
    return Decision(Outcome.APPLIED, saga, why=entry["message"])


def _conflict(saga: Saga, event: Event, cell: Conflict, now: datetime) -> Decision:
    reply = REPLY_MODELS[event.signal]
    if not any(_polarity(entry) is (not reply.success) for entry in saga.history if entry["step"] == reply.answers):
        return _ignore(saga, event, cell.otherwise, now)
    entry = _entry(
        saga, event, EntryStatus.CONFLICT, f"{event.signal} contradicts an earlier answer", now, own_words=True
    )
    saga = replace(
        saga,
        updated_at=now,
        history=_append(saga, entry, coalesce=True),
        incident=saga.incident or _incident(IncidentKind.CONTRADICTION, entry),
    )
    return Decision(Outcome.CONFLICT, saga, why=entry["message"])


def _acknowledge(saga: Saga, event: Event, cell: Acknowledge, now: datetime) -> Decision:
    if saga.incident is None:
        return Decision(Outcome.REFUSED, saga, why=cell.otherwise)
    entry = _entry(saga, event, EntryStatus.RESOLVED, "Acknowledged by an operator", now)
    saga = replace(saga, updated_at=now, incident=None, history=_append(saga, entry, coalesce=True))
    return Decision(Outcome.APPLIED, saga, why=entry["message"])


def _ignore(saga: Saga, event: Event, why: str, now: datetime) -> Decision:
    """Nothing happens. A message leaves a trace in the history; whoever asked over HTTP is told directly."""
    if event.event_id is None:
        return Decision(Outcome.IGNORED, saga, why=why)
    entry = _entry(saga, event, EntryStatus.IGNORED, f"{event.signal}: {why}", now, own_words=True)
    saga = replace(saga, updated_at=now, history=_append(saga, entry, coalesce=True))
    return Decision(Outcome.IGNORED, saga, why=why)


def _polarity(entry: Entry) -> bool | None:
    """Whether an entry is a definite success (True) or failure (False) of its step; None: neither."""
    if entry["status"] in (EntryStatus.IGNORED, EntryStatus.CONFLICT):
        return None
    if entry["status"] == EntryStatus.RESOLVED:
        return entry["event"] == Signal.OPERATOR_SUCCEEDED
    reply = REPLY_MODELS.get(Signal(entry["event"]))
    return reply.success if reply else None


def _owes_release(saga: Saga) -> bool:
    """Whether Inventory said that it reserved after it last said that it released."""
    reserved = released = -1
    for index, entry in enumerate(saga.history):
        if entry["event"] == Signal.INVENTORY_RESERVED:
            reserved = index
        elif entry["step"] == Command.RELEASE_INVENTORY and _polarity(entry):
            released = index
    return reserved > released


def _incident_after(saga: Saga, cell: Go, to: Position, entry: Entry) -> Incident | None:
    """An answer to the open command closes what was open; a contradiction waits for a person, a late payment for its
    refund.
    """
    if cell.incident:
        return _incident(cell.incident, entry)
    if saga.incident is None or saga.incident["kind"] == IncidentKind.CONTRADICTION:
        return saga.incident
    if to is saga.position:
        return saga.incident
    refunded = saga.position.open_command is Command.REFUND_PAYMENT
    return saga.incident if saga.incident["kind"] == IncidentKind.LATE_PAYMENT and not refunded else None


def _incident(kind: IncidentKind, entry: Entry) -> Incident:
    return {"kind": kind, "since": entry["timestamp"], "detail": entry["message"]}


def _entry(
    saga: Saga,
    event: Event,
    status: EntryStatus,
    say: str,
    now: datetime,
    *,
    step: Command | None = None,
    own_words: bool = False,
) -> Entry:
    reply = REPLY_MODELS.get(event.signal)
    about = step or (reply.answers if reply else saga.position.open_command)
    spoken = event.words if status in (EntryStatus.COMPLETED, EntryStatus.FAILED) else None
    if not reply and event.words and not own_words:
        spoken = f"{say}: {event.words}"
    entry: Entry = {
        "step": about or saga.position.current_step,
        "status": status,
        "message": clip(say if own_words else spoken or say),
        "timestamp": instant_text(now),
        "attempt": max(saga.sent.get(about, 0), 1) if about else 1,
        "event": event.signal if not event.retryable else Signal.TRANSIENT_FAILURE,
    }
    if event.event_id:
        entry["eventId"] = str(event.event_id)
    if event.actor:
        entry["actor"] = event.actor
    return entry


def _append(saga: Saga, entry: Entry, *, coalesce: bool = False) -> list[Entry]:
    """The history with one more entry. Repetitions become one entry with a count, so that it never grows without bound."""
    if coalesce:
        for index, old in enumerate(saga.history):
            if _alike(old, entry):
                again: Entry = {**entry, "count": old.get("count", 1) + 1}
                return [*saga.history[:index], *saga.history[index + 1 :], again]
    return [*saga.history, entry]


def _alike(one: Entry, other: Entry) -> bool:
    return (one["step"], one["status"], one["event"], one["message"], one.get("actor")) == (
        other["step"],
        other["status"],
        other["event"],
        other["message"],
        other.get("actor"),
    )
