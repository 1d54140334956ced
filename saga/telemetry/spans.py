"""The spans of a saga's trace: what a move, or a publication, looks like in it.

A span is made when what it tells of is over, from what is stored: a saga may take hours and three workers. The root
lasts from the saga's begin to its end; under it is a span for each step, with its attempts as events; under a step its
commands' publishing, which the participant's own spans continue, and what was handled for it. Names are those of
OpenTelemetry's conventions for messaging and HTTP; what is ours begins with `saga.` or `order.`. A message is called by
its routing key, since the exchange is always the same. No attribute carries a name, an item, or anybody's own words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from models.states import Command, EntryStatus, OrderStatus
from saga.domain import Entry, Outcome, Saga
from saga.outbox.message import DEAD_LETTER_EXCHANGE, Envelope
from saga.telemetry.applied_events import COMPENSATIONS, Move, Origin
from saga.telemetry.traceparent import is_sampled, new_child, of_message, of_step, trace_id
from saga.transitions import Signal
from saga.webhooks.attempts import Attempt
from saga.webhooks.attempts import Outcome as AttemptOutcome

Attributes = Mapping[str, str | int | bool]
Kind = Literal["internal", "server", "consumer", "producer", "client"]
_RIGHT_ENDS = (EntryStatus.COMPLETED, EntryStatus.RESOLVED, EntryStatus.CANCELLED)
"""How a step ends without an error."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Times are nanoseconds since 1970; contexts are W3C trace contexts."""

    name: str
    context: str
    parent: str | None
    start: int
    end: int
    kind: Kind = "internal"
    attributes: Attributes = field(default_factory=dict)
    events: tuple[tuple[str, int, Attributes], ...] = ()
    links: tuple[str, ...] = ()
    error: str | None = None
    """What went wrong, in a word or two of ours; None: nothing."""


def of_move(move: Move, now: int) -> Iterator[Span]:
    """What a committed move tells: what was handled, and the step and the saga that ended with it."""
    if not is_sampled(move.traceparent):
        return
    step = of_step(move.traceparent, move.before) if move.before else move.traceparent
    if move.origin:
        yield _handling(move, move.origin, step, now)
    elif move.before and move.before.due_at:
        yield _timer(move, move.before.due_at, step, now)
    if left := move.left:
        yield _step(move, *left, step)
    if move.ended:
        yield _root(move)


def of_publication(envelope: Envelope, now: int) -> Span:
    """A message's way from the transaction that wrote it to the broker's confirmation, outages included."""
    start = _nanoseconds(envelope.created_at)
    destination = f"{envelope.exchange}:{envelope.routing_key}"
    dead = envelope.exchange == DEAD_LETTER_EXCHANGE
    attributes: dict[str, str | int] = {
        **MESSAGING,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": envelope.routing_key,
        "messaging.message.id": str(envelope.message_id),
        "messaging.message.conversation_id": str(envelope.saga_id),
        "messaging.message.body.size": len(envelope.body),
    }
    if envelope.last_error:
        attributes["saga.outbox.message.delayed_by"] = envelope.last_error.partition(":")[0]
    return Span(
        f"publish {destination if dead else envelope.routing_key}",
        of_message(envelope.traceparent, envelope.id),
        envelope.traceparent,
        start,
        max(start, now),
        "producer",
        attributes,
        error="dead letter" if dead else None,
    )


def of_attempt(attempt: Attempt, outcome: AttemptOutcome) -> Iterator[Span]:
    """One attempt at telling a customer's system, where the event that it tells of is told of at all."""
    claimed, status = attempt.claimed, attempt.answer.status
    if not (claimed.traceparent and attempt.context and is_sampled(claimed.traceparent)):
        return
    attributes: dict[str, str | int | bool] = {
        "webhook.id": str(claimed.webhook_id),
        "webhook.delivery.id": str(claimed.id),
        "webhook.attempt": claimed.attempts + 1,
        "webhook.outcome": outcome,
        "http.request.method": "POST",
    }
    if claimed.order_id:
        attributes["order.id"] = str(claimed.order_id)
    if status is not None:
        attributes["http.response.status_code"] = status
    failed = "no answer" if status is None else None if outcome is AttemptOutcome.DELIVERED else str(status)
    yield Span(
        f"webhook {claimed.type}",
        attempt.context,
        claimed.traceparent,
        attempt.began,
        max(attempt.began, attempt.ended),
        "client",
        attributes,
        error=failed,
    )


MESSAGING = {"messaging.system": "rabbitmq"}


def _handling(move: Move, origin: Origin, step: str, now: int) -> Span:
    """What brought the event here, from its arrival to the commit.

    It stands under the participant's span where it names one that is told. A trace of somebody else's is linked.
    """
    name, attributes = origin.describe()
    came_from = origin.traceparent
    ours = came_from is not None and trace_id(came_from) == trace_id(move.traceparent)
    return Span(
        name,
        new_child(move.traceparent),
        came_from if came_from and ours and is_sampled(came_from) else step,
        min(origin.began, now),
        now,
        "consumer" if origin.is_message else "server",
        {**attributes, **_identity(move.after), "saga.signal": move.signal, "saga.outcome": move.outcome},
        links=() if ours or came_from is None else (came_from,),
        error="conflict" if move.outcome is Outcome.CONFLICT else None,
    )


def _timer(move: Move, due_at: datetime, step: str, now: int) -> Span:
    """A deadline, from when it came to the commit of what it brought."""
    start = _nanoseconds(due_at)
    attributes = {**_identity(move.after), "saga.signal": move.signal, "saga.outcome": move.outcome}
    return Span(
        f"timer {move.signal}",
        new_child(move.traceparent),
        step,
        min(start, now),
        now,
        attributes=attributes,
        error=move.signal if move.signal == Signal.TIMED_OUT else None,
    )


def _step(move: Move, saga: Saga, command: Command, context: str) -> Span:
    """A step, from its first command to what ended it."""
    start = _nanoseconds(saga.entered_at)
    entries = [one for one in move.after.history if one["step"] == command and _time(one) >= start]
    outcome = move.outcome_of_step
    return Span(
        command,
        context,
        move.traceparent,
        start,
        max(start, _nanoseconds(move.after.updated_at)),
        attributes={
            **_identity(saga),
            "saga.step": command,
            "saga.step.outcome": outcome,
            "saga.step.attempts": saga.attempt,
            "saga.compensation": command in COMPENSATIONS,
        },
        events=(("Sent", start, {}), *map(_event, entries)),
        error=None if outcome in _RIGHT_ENDS else outcome,
    )


def _root(move: Move) -> Span:
    """The saga, from its begin to its end."""
    saga = move.after
    start = _nanoseconds(saga.created_at)
    attributes: dict[str, str | int | bool] = {
        **_identity(saga),
        "saga.status": saga.position.status,
        "saga.compensated": any(entry["step"] in COMPENSATIONS for entry in saga.history),
        "saga.cancel_requested": saga.cancel_requested,
    }
    if saga.failed_step:
        attributes["saga.failed_step"] = saga.failed_step
    return Span(
        "order saga",
        move.traceparent,
        None,
        start,
        max(start, _nanoseconds(saga.completed_at or saga.updated_at)),
        attributes=attributes,
        error=None if saga.position.order_status is OrderStatus.CONFIRMED else saga.position.status,
    )


def _identity(saga: Saga) -> dict[str, str]:
    return {"order.id": str(saga.order_id), "saga.id": str(saga.id)}


def _event(entry: Entry) -> tuple[str, int, Attributes]:
    """An entry of the history, without its words."""
    more = {"saga.count": entry["count"]} if "count" in entry else {}
    return entry["status"], _time(entry), {"saga.signal": entry["event"], "saga.attempt": entry["attempt"], **more}


def _time(entry: Entry) -> int:
    return _nanoseconds(datetime.fromisoformat(entry["timestamp"]))


def _nanoseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000_000) * 1000
