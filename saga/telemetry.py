"""The one seam for telemetry: what is counted, and the trace that a saga belongs to."""

import secrets

from prometheus_client import Counter, Histogram

EVENTS = Counter(
    "order_service_saga_events_total",
    "Events that reached the engine, by signal and by what became of them.",
    ["signal", "outcome"],
)
BATCH = Histogram(
    "order_service_batch_size",
    "Events and order requests that one transaction carried.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200),
)
DATABASE_RETRIES = Counter("order_service_database_retries_total", "Transactions that were tried again.")
PUBLISHED = Counter("order_service_published_total", "Messages that the broker has confirmed, by routing key.", ["key"])
UNPUBLISHED = Counter(
    "order_service_unpublished_total",
    "Messages that could not be published for now and stay in the outbox, by routing key and why.",
    ["key", "why"],
)
DEAD_LETTERS = Counter("order_service_dead_letters_total", "Messages that could not be handled, by reason.", ["reason"])
RESTARTS = Counter("order_service_task_restarts_total", "Background tasks that died and were restarted.", ["task"])
CONSUMER_RESTARTS = Counter(
    "order_service_consumer_restarts_total", "Consuming connections that were given up and opened again."
)


def new_traceparent() -> str:
    """The W3C trace context of a new saga: one trace for its whole life."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(traceparent: str) -> str:
    """The 32 hex digits of the trace that a trace context belongs to."""
    return traceparent.split("-")[1]
