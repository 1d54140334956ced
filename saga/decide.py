"""`decide()`: what a signal does to a saga. Pure: the table says what, this function carries it out on values.

Nothing here reads a clock, mints an id, draws a random number or does I/O, so a decision can be made again at any
time from the same values: by a test, by the model check, by whoever folds a history to verify a row.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from models.messages import clip
from models.states import Command, EntryStatus, IncidentKind, OrderEvent, Position, Timer
from saga.domain import Deadline, Decision, Entry, Event, Incident, Outcome, Policy, Saga, Send, message_id
from saga.history import answers, append, entry_of, incident_of, open_contradiction, owes_release, seen_as
from saga.table import FORWARD_STEPS, TABLES
from saga.transitions import (
    REPLY_MODELS,
    WHEN_DUE,
    WISHES,
    Acknowledge,
    Already,
    Cell,
    Conflict,
    Go,
    Ignore,
    Note,
    Refuse,
    Retry,
    SendAgain,
    Signal,
)

_AHEAD = (Position.VALIDATING, Position.RESERVING, Position.CHARGING)


def begin(saga_id: UUID, order_id: UUID, now: datetime, policy: Policy, version: int) -> Decision:
    """The first decision of a saga: validate the inventory, and tell everybody that there is an order."""
    unborn = Saga(
        id=saga_id,
        order_id=order_id,
        table_version=version,
        position=Position.VALIDATING,
        created_at=now,
        updated_at=now,
        entered_at=now,
        sent={},
        history=[],
    )
    saga, sends = _enter(unborn, Position.VALIDATING, now, policy)
    return Decision(Outcome.APPLIED, saga, (Send(OrderEvent.ORDER_CREATED), *sends))


def decide(saga: Saga, event: Event, now: datetime, policy: Policy) -> Decision:  # noqa: C901, PLR0911 - a line per cell
    """What this event does to this saga at this time.

    Args:
        saga: where it stands.
        event: what happened.
        now: the database's clock.
        policy: how long to wait, how often to ask.

    Returns:
        the decision; nothing has been changed.
    """
    cell = _cell(saga, event, now)
    if _is_duplicate(saga, event, cell):
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
            ignored = _ignore(saga, event, why, now)
            return ignored if event.event_id else replace(ignored, outcome=Outcome.REFUSED)
        case Already(why):
            return Decision(Outcome.DUPLICATE, saga, why=why)


def _cell(saga: Saga, event: Event, now: datetime) -> Cell:
    """What the table says, unless the event is not about what is open here at all."""
    signal = event.signal
    if signal in WHEN_DUE.values() and not _is_current(saga, event.deadline, now):
        return Ignore("stale timer")
    if reply := REPLY_MODELS.get(signal):
        if event.saga_id not in (None, saga.id):
            return Ignore("it names another saga")
        if event.causation_id not in (None, message_id(saga.id, reply.answers)):
            return Ignore("it answers another command")
        if event.retryable and reply.answers != saga.position.open_command:
            return Ignore("a transient failure of a command that is not open")
        if event.retryable:
            signal = Signal.TRANSIENT_FAILURE
    cell = TABLES[saga.table_version][saga.position][signal]
    if signal in WISHES and _means_another(saga, event) and not isinstance(cell, Refuse | Already):
        return Refuse("another command is open by now: look again")
    return cell


def _means_another(saga: Saga, event: Event) -> bool:
    """Whether somebody who names what they mean, a command or the saga itself, names something that is not open."""
    command = saga.position.open_command
    return event.causation_id not in (None, message_id(saga.id, command) if command else saga.id)


def _is_current(saga: Saga, deadline: Deadline | None, now: datetime) -> bool:
    """Timers belong to (command, timer, attempt); only the database's clock decides (I13)."""
    mine = Deadline.of(saga)
    return mine is not None and mine == deadline and saga.due_at is not None and saga.due_at <= now


def _is_duplicate(saga: Saga, event: Event, cell: Cell) -> bool:
    """Whether this was applied before: the history is the inbox (docs/state-machine.md, rule 8).

    What was ignored once may be awaited now; and a success that answers the open command always counts, since a
    participant that deduplicates repeats its very answer.
    """
    if event.signal is Signal.CANCEL and saga.cancel_requested:
        return True
    if event.event_id is None or not (seen := seen_as(saga.history, event)):
        return False
    reply = REPLY_MODELS.get(event.signal)
    if reply and reply.success and reply.answers == saga.position.open_command:
        return False
    inert = isinstance(cell, Ignore | Refuse) or (isinstance(cell, Conflict) and not _contradicts(saga, event, cell))
    return inert or any(status != EntryStatus.IGNORED for status in seen)


def _go(saga: Saga, event: Event, cell: Go, now: datetime, policy: Policy) -> Decision:
    here, to = saga.position, cell.to
    if event.signal is Signal.CANCEL:
        saga = replace(saga, cancel_requested=True)
    if cell.if_cancelled and saga.cancel_requested:
        to = cell.if_cancelled
    if cell.if_owed and owes_release(saga.history):
        to = cell.if_owed
    entry = entry_of(saga, event, cell.status, cell.say, now, step=cell.step, incident=cell.incident)
    if here.open_command in FORWARD_STEPS and not here.ended and to not in (Position.COMPLETED, *_AHEAD):
        saga = replace(saga, failed_step=here.current_step, reason=saga.reason or clip(event.words or cell.say))
    incident = _incident_after(saga, cell, to, entry)
    # the way forward is gone once; on the way back a participant may change its mind without end
    coalesce = here.open_command not in FORWARD_STEPS
    saga = replace(saga, incident=incident, history=append(saga.history, entry, coalesce=coalesce))
    parked = saga.parked and to is here
    saga, sends = _enter(saga, to, now, policy)
    if parked:
        # asked once more, but still unanswered: it stays parked
        saga = replace(saga, timer=Timer.REASK, due_at=_reask_at(now, policy))
    outcome = Outcome.CONFLICT if cell.status is EntryStatus.CONFLICT else Outcome.APPLIED
    return Decision(outcome, saga, sends, why=entry["message"])


def _enter(saga: Saga, to: Position, now: datetime, policy: Policy) -> tuple[Saga, tuple[Send, ...]]:
    """Take a position: send its command, set its timer; a saga that ends tells so, exactly once."""
    sends: list[Send] = []
    ends = to.ended and saga.completed_at is None
    if ends:
        sends.append(Send(OrderEvent.ORDER_COMPLETED if to is Position.COMPLETED else OrderEvent.ORDER_FAILED))
    saga = replace(
        saga,
        position=to,
        entered_at=saga.entered_at if to is saga.position else now,
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
    if saga.timer is not Timer.REPLY:
        return _failed_again(saga, event, now)
    timed_out = event.signal is Signal.TIMED_OUT
    # sends beyond the planned ones come from a way that is gone again and again
    again = saga.attempt > policy.retry_attempts + 1
    status = EntryStatus.TIMED_OUT if timed_out else EntryStatus.FAILED
    entry = entry_of(saga, event, status, _attempt_failed(event, policy), now, own_words=again)
    saga = replace(saga, updated_at=now, history=append(saga.history, entry, coalesce=again))
    if due_at := _next_attempt_at(saga, now, policy):
        return Decision(Outcome.APPLIED, replace(saga, timer=Timer.RETRY, due_at=due_at), why=entry["message"])
    return _park(saga, event, cell, now, policy)


def _attempt_failed(event: Event, policy: Policy) -> str:
    if event.signal is Signal.TIMED_OUT:
        return f"no reply within {policy.step_timeout.total_seconds():g} s; the outcome is unknown"
    return "this attempt failed"


def _failed_again(saga: Saga, event: Event, now: datetime) -> Decision:
    """A failure while no attempt is in flight: it tells nothing new, and must not put off what is planned."""
    say = "failed again while parked" if saga.parked else "failed again before the next attempt"
    entry = entry_of(saga, event, EntryStatus.FAILED, say, now, own_words=True)
    saga = replace(saga, updated_at=now, history=append(saga.history, entry, coalesce=True))
    return Decision(Outcome.APPLIED, saga, why=entry["message"])


def _next_attempt_at(saga: Saga, now: datetime, policy: Policy) -> datetime | None:
    """When the next attempt is due; None where no sends are left, or the saga would be too old by then."""
    if saga.attempt > policy.retry_attempts:
        return None
    due_at = now + _backoff(saga, policy)
    return due_at if due_at - saga.created_at < policy.saga_timeout else None


def _backoff(saga: Saga, policy: Policy) -> timedelta:
    """Doubled per retry, plus up to 10 % that differs from saga to saga, so that retries do not come in step."""
    jitter = (saga.id.int >> (8 * (saga.attempt % 8)) & 0xFF) / 2550
    return timedelta(seconds=policy.retry_delay.total_seconds() * 2 ** (saga.attempt - 1) * (1 + jitter))


def _park(saga: Saga, event: Event, cell: Retry, now: datetime, policy: Policy) -> Decision:
    command = saga.position.open_command
    assert command is not None, "only a position with an open command has a Retry cell"
    detail = f"{command} was not answered after {saga.attempt} attempts"
    entry = entry_of(saga, event, EntryStatus.PARKED, detail, now, own_words=True)
    late = saga.incident is not None and saga.incident["kind"] == IncidentKind.LATE_PAYMENT
    saga = replace(
        saga,
        history=append(saga.history, entry, coalesce=True),
        incident=saga.incident if late else incident_of(cell.park, entry),
        timer=Timer.REASK,
        due_at=_reask_at(now, policy),
    )
    return Decision(Outcome.APPLIED, saga, (Send(command, saga.attempt, dead_letter=True),), why=detail)


def _reask_at(now: datetime, policy: Policy) -> datetime | None:
    return now + policy.reask if policy.reask else None


def _send_again(saga: Saga, event: Event, cell: SendAgain, now: datetime, policy: Policy) -> Decision:
    command = saga.position.open_command
    assert command is not None, "only a position with an open command has a SendAgain cell"
    asked, send = _ask(saga, command)
    entry = entry_of(asked, event, cell.status, cell.say, now)
    asked = replace(
        asked, updated_at=now, history=append(saga.history, entry, coalesce=event.signal is not Signal.RETRY_DUE)
    )
    if saga.parked:
        due_at = _reask_at(now, policy)
    else:
        asked, due_at = replace(asked, timer=Timer.REPLY), now + policy.step_timeout
    return Decision(Outcome.APPLIED, replace(asked, due_at=due_at), (send,), why=entry["message"])


def _note_cancel(saga: Saga, event: Event, cell: Note, now: datetime, policy: Policy) -> Decision:
    saga = replace(saga, cancel_requested=True, reason=clip(event.words or cell.say))
    if saga.timer is not Timer.REPLY:
        return _go(saga, event, Go(cell.to, EntryStatus.CANCELLED, cell.say), now, policy)
    entry = entry_of(saga, event, EntryStatus.CANCELLED, f"{cell.say}; waiting for the reply in flight", now)
    saga = replace(saga, updated_at=now, history=append(saga.history, entry))
    return Decision(Outcome.APPLIED, saga, why=entry["message"])


def _conflict(saga: Saga, event: Event, cell: Conflict, now: datetime) -> Decision:
    if not _contradicts(saga, event, cell):
        return _ignore(saga, event, cell.otherwise, now)
    say, kind = f"{event.signal} contradicts an earlier answer", IncidentKind.CONTRADICTION
    entry = entry_of(saga, event, EntryStatus.CONFLICT, say, now, own_words=True, incident=kind)
    saga = replace(
        saga,
        updated_at=now,
        history=append(saga.history, entry, coalesce=True),
        incident=saga.incident or incident_of(kind, entry),
    )
    return Decision(Outcome.CONFLICT, saga, why=entry["message"])


def _contradicts(saga: Saga, event: Event, cell: Conflict) -> bool:
    """Whether its command was answered before, and otherwise."""
    reply = REPLY_MODELS[event.signal]
    vouched = answers(saga.history).get((reply.answers, not reply.success))
    return vouched is not None and (vouched or not cell.vouched)


def _acknowledge(saga: Saga, event: Event, cell: Acknowledge, now: datetime) -> Decision:
    if saga.incident is None:
        return Decision(Outcome.REFUSED, saga, why=cell.otherwise)
    entry = entry_of(saga, event, EntryStatus.RESOLVED, "Acknowledged by an operator", now)
    saga = replace(saga, updated_at=now, incident=None, history=append(saga.history, entry, coalesce=True))
    return Decision(Outcome.APPLIED, saga, why=entry["message"])


def _ignore(saga: Saga, event: Event, why: str, now: datetime) -> Decision:
    """Nothing happens. A message leaves a trace in the history; whoever asked over HTTP is told directly."""
    if event.event_id is None:
        return Decision(Outcome.IGNORED, saga, why=why)
    entry = entry_of(saga, event, EntryStatus.IGNORED, f"{event.signal}: {why}", now, own_words=True)
    saga = replace(saga, updated_at=now, history=append(saga.history, entry, coalesce=True))
    return Decision(Outcome.IGNORED, saga, why=why)


def _incident_after(saga: Saga, cell: Go, to: Position, entry: Entry) -> Incident | None:
    """What a person should look at after a move.

    An answer to the open command closes what was open; a late payment waits for its refund. A contradiction waits for
    a person: what came over it since does not close it.
    """
    if cell.incident:
        known = saga.incident is not None and saga.incident["kind"] == cell.incident
        return saga.incident if known else incident_of(cell.incident, entry)
    kind = saga.incident and saga.incident["kind"]
    refunded = saga.position.open_command is Command.REFUND_PAYMENT
    late = kind == IncidentKind.LATE_PAYMENT and not refunded
    if to is saga.position or kind == IncidentKind.CONTRADICTION or late:
        return saga.incident
    return open_contradiction(saga.history)
