"""What is counted. Counters and histograms are this process's own; what all instances share is read from the database.

With several workers in one service the values of all of them are in files beside each other, and each can tell the sum
(`saga.multiprocess` says where).
"""

from prometheus_client import Counter, Gauge, Histogram

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
TASK_RESTARTS = Counter("order_service_task_restarts_total", "Background tasks that died and were restarted.", ["task"])
CONSUMER_RESTARTS = Counter(
    "order_service_consumer_restarts_total", "Consuming connections that were given up and opened again."
)
QUEUE_CONSUMERS = Gauge(
    "order_service_queue_consumers",
    "Workers of this service that consume from a queue.",
    ["queue"],
    multiprocess_mode="livesum",
)
