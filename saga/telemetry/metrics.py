"""What is counted, in this process: all that the instances have in common is read from the database instead.

With `--workers N` any of the workers answers a scrape, and it has to tell of all. So each keeps its values in a file,
beside those of the others (prometheus_client's multi-process mode), and whoever is asked adds them up.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from models.states import DEAD_LETTER_REASONS, SENDERS_FAULTS, TERMINAL, Command, IncidentKind
from models.states import EntryStatus as S
from saga.outbox.message import EVENT_KEYS
from saga.runtime.processes import common_folder, is_alive, is_worker
from saga.webhooks.attempts import Outcome

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SHARED = is_worker() or _FOLDER in os.environ
if _SHARED:
    # decided before the first metric is made: each asks for its kind of value then
    os.environ.setdefault(_FOLDER, str(common_folder()))
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 86400)
"""From a step that is answered at once to a saga that waited for a person."""

EVENTS = Counter(
    "order_service_saga_events_total",
    "Events that reached the engine, by signal and by what became of them.",
    ["signal", "outcome"],
)
STARTED = Counter("order_service_sagas_started_total", "Sagas that began.")
FINISHED = Counter("order_service_sagas_finished_total", "Sagas that ended, by how.", ["status"])
COMPENSATIONS = Counter("order_service_compensations_started_total", "Sagas that began to undo what was done.")
STEPS = Counter("order_service_steps_total", "Steps that ended, by how.", ["step", "outcome"])
TIMEOUTS = Counter("order_service_step_timeouts_total", "Attempts that nobody answered in time.", ["step"])
RETRIES = Counter("order_service_step_retries_total", "Commands that were sent again.", ["step"])
INCIDENTS = Counter("order_service_incidents_total", "Incidents that began: a person should look.", ["kind"])
SAGA_SECONDS = Histogram(
    "order_service_saga_duration_seconds", "From a saga's begin to its end.", ["status"], buckets=_SECONDS
)
STEP_SECONDS = Histogram(
    "order_service_step_duration_seconds", "From a step's first command to its end.", ["step"], buckets=_SECONDS
)
BATCH = Histogram(
    "order_service_batch_size",
    "Arrivals that one transaction carried: events, order requests, a turn of the timers.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200),
)
DATABASE_RETRIES = Counter("order_service_database_retries_total", "Transactions that were tried again.")
PUBLISHED = Counter("order_service_published_total", "Messages that the broker has confirmed, by routing key.", ["key"])
DROPPED = Counter(
    "order_service_events_dropped_total", "Events that no queue is bound for, by routing key: nobody was told.", ["key"]
)
UNPUBLISHED = Counter(
    "order_service_unpublished_total",
    "Messages that could not be published for now and stay in the outbox, by routing key and why.",
    ["key", "why"],
)
DEAD_LETTERS = Counter("order_service_dead_letters_total", "Messages that could not be handled, by reason.", ["reason"])
DEAD_LETTERS_NOT_KEPT = Counter(
    "order_service_dead_letters_not_kept_total",
    "Dead letters of senders that have too many open ones already, by reason.",
    ["reason"],
)
WEBHOOK_ATTEMPTS = Counter(
    "order_service_webhook_attempts_total", "Attempts at delivering webhooks, by what became of them.", ["outcome"]
)
WEBHOOK_SECONDS = Histogram(
    "order_service_webhook_attempt_duration_seconds",
    "From the begin of an attempt to the receiver's answer, or to where it was given up.",
    ["outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)
TASK_RESTARTS = Counter("order_service_task_restarts_total", "Background tasks that died and were restarted.", ["task"])
CONSUMER_RESTARTS = Counter(
    "order_service_consumer_restarts_total", "Consuming connections that were given up and opened again."
)
LOOP_LAG = Histogram(
    "order_service_event_loop_lag_seconds",
    "How long the event loop kept waiting what was due, looked at ten times a second.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
REFUSED = Counter(
    "order_service_refused_requests_total",
    "Requests that were refused: 401 for their credential, 403 for what it may not do, 429 for asking too often.",
    ["status"],
)
QUEUE_CONSUMERS = Gauge(
    "order_service_queue_consumers",
    "Workers of this service that consume from a queue.",
    ["queue"],
    multiprocess_mode="livesum",
)

_ENDS = (S.COMPLETED, S.FAILED, S.TIMED_OUT, S.CANCELLED, S.RESOLVED, S.CONFLICT)
"""How steps end."""
_KNOWN: tuple[tuple[Counter | Histogram, Iterable[Sequence[str]]], ...] = (
    (FINISHED, product(TERMINAL)),
    (SAGA_SECONDS, product(TERMINAL)),
    (STEPS, product(Command, _ENDS)),
    (STEP_SECONDS, product(Command)),
    (TIMEOUTS, product(Command)),
    (RETRIES, product(Command)),
    (INCIDENTS, product(IncidentKind)),
    (DEAD_LETTERS, product(DEAD_LETTER_REASONS)),
    (DEAD_LETTERS_NOT_KEPT, product(SENDERS_FAULTS)),
    (WEBHOOK_ATTEMPTS, product(Outcome)),
    (WEBHOOK_SECONDS, product(Outcome)),
    (DROPPED, product(EVENT_KEYS)),
    (REFUSED, product(("401", "403", "429"))),
)
for _counter, _series in _KNOWN:
    for _words in _series:
        # from nothing to one is no increase: the first of each would not be seen
        _counter.labels(*_words)


def of_all_workers() -> CollectorRegistry | None:
    """The sums over all workers of this service; None where there is only this one, with nothing to add."""
    if not _SHARED:
        return None
    folder = Path(os.environ[_FOLDER])
    for file in folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not is_alive(pid):
            with suppress(FileNotFoundError):
                # another worker was quicker
                mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry
