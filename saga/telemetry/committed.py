"""The one seam for telemetry: what happened is told here, after it was committed, and at most once.

A process that dies between the two tells nothing, nor does one that has lost its connection in the commit and finds its
work done: what is counted is then a little less than what is stored, never more.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from models.states import EntryStatus
from saga.outbox.message import Envelope
from saga.telemetry import metrics, spans
from saga.telemetry.activity import ACTIVITY
from saga.telemetry.applied_events import Move
from saga.telemetry.log_setup import get_logger
from saga.telemetry.traceparent import is_sampled, trace_id
from saga.telemetry.tracing import TRACER
from saga.webhooks.attempts import Attempt, Outcome

log = get_logger(__name__)


def committed(moves: Sequence[Move], batch: int) -> None:
    """A transaction was committed: these moves, in their order, from so many arrivals."""
    metrics.BATCH.observe(batch)
    ACTIVITY.add(moves)
    now = time.time_ns()
    for move in moves:
        _count(move)
        _log(move)
        TRACER.tell(spans.of_move(move, now))


def published(envelopes: Sequence[Envelope]) -> None:
    """The broker has confirmed these messages, and their rows are gone."""
    now = time.time_ns()
    for envelope in envelopes:
        _labelled(metrics.PUBLISHED, envelope.routing_key).inc()
    TRACER.tell(spans.of_publication(envelope, now) for envelope in envelopes if is_sampled(envelope.traceparent))


def dropped(envelopes: Iterable[Envelope]) -> None:
    """Nobody listens to these events, and their rows are gone."""
    for envelope in envelopes:
        _labelled(metrics.DROPPED, envelope.routing_key).inc()


def not_published(failed: Iterable[tuple[Envelope, str]]) -> None:
    """These messages stay in the outbox for now, and why."""
    for (key, why), count in Counter((envelope.routing_key, why.split(":")[0]) for envelope, why in failed).items():
        metrics.UNPUBLISHED.labels(key, why).inc(count)


def attempted(attempt: Attempt, outcome: Outcome) -> None:
    """An attempt at delivering a webhook is over, and what became of it is written down."""
    claimed, answer = attempt.claimed, attempt.answer
    _labelled(metrics.WEBHOOK_ATTEMPTS, outcome).inc()
    _labelled(metrics.WEBHOOK_SECONDS, outcome).observe(answer.seconds)
    TRACER.tell(spans.of_attempt(attempt, outcome))
    log.info(
        "webhook attempt",
        webhook_id=claimed.webhook_id,
        delivery_id=claimed.id,
        event_id=claimed.event_id,
        order_id=claimed.order_id,
        attempt=claimed.attempts + 1,
        outcome=outcome,
        http_status=answer.status,
        seconds=round(answer.seconds, 3),
        trace_id=trace_id(claimed.traceparent) if claimed.traceparent else None,
    )


@cache
def _labelled(metric: Any, *labels: str) -> Any:
    """The metric for these labels, of which there are few: the library takes longer to find it than to count."""
    return metric.labels(*labels)


def _count(move: Move) -> None:
    _labelled(metrics.EVENTS, move.signal, move.outcome).inc()
    if move.after is move.before:
        return
    if move.began:
        metrics.STARTED.inc()
    if move.ended:
        status = move.after.position.status
        _labelled(metrics.FINISHED, status).inc()
        _labelled(metrics.SAGA_SECONDS, status).observe(move.lasted)
    _count_step(move)
    if move.compensates:
        metrics.COMPENSATIONS.inc()
    if move.incident:
        _labelled(metrics.INCIDENTS, move.incident).inc()


def _count_step(move: Move) -> None:
    if left := move.left:
        saga, command = left
        _labelled(metrics.STEPS, command, move.outcome_of_step).inc()
        _labelled(metrics.STEP_SECONDS, command).observe((move.after.updated_at - saga.entered_at).total_seconds())
    for entry in move.entries:
        if entry["status"] == EntryStatus.TIMED_OUT:
            _labelled(metrics.TIMEOUTS, entry["step"]).inc()
    for send in move.sends:
        if send.attempt and send.attempt > 1 and not send.dead_letter:
            _labelled(metrics.RETRIES, send.kind).inc()


def _log(move: Move) -> None:
    saga = move.after
    log.info(
        "saga event",
        order_id=saga.order_id,
        saga_id=saga.id,
        step=move.step,
        status=saga.position.status,
        stands_at=saga.position.open_command or saga.position.current_step,
        attempt=saga.attempt,
        signal=move.signal,
        outcome=move.outcome,
        incident=move.incident,
        trace_id=trace_id(move.traceparent),
    )
