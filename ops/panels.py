"""What the dashboard shows: rows of panels, and what each panel asks. `ops.dashboard` makes Grafana's JSON of it."""

from dataclasses import dataclass
from typing import Literal

from ops.promql import lately, mean, per_second, quantile, quantiles, recorded, stored, together


@dataclass(frozen=True)
class Panel:
    """One picture of one or several series."""

    title: str
    asks: dict[str, str]
    """By the name in the legend, in which `{{step}}` stands for that label's value."""
    unit: Literal["short", "s", "percentunit", "ops"] = "short"
    says: str = ""
    """What the title does not tell."""
    kind: Literal["timeseries", "stat", "table"] = "timeseries"
    width: int = 8
    """Of 24."""
    alarm: float | None = None
    """The value from which on it is red."""


KEY_METRICS = (
    Panel(
        "Completion rate",
        {"": recorded("job:order_service_saga_completion:ratio_rate15m")},
        "percentunit",
        "Of the sagas that ended within 15 minutes, the share that was completed.",
        "stat",
        width=4,
    ),
    Panel(
        "Average duration",
        {"": recorded("job:order_service_saga_duration_seconds:mean15m")},
        "s",
        "From the order to the end of its saga, over 15 minutes.",
        "stat",
        width=4,
    ),
    Panel(
        "Compensation rate",
        {"": recorded("job:order_service_compensation:ratio_rate15m")},
        "percentunit",
        "Of the sagas whose fate was decided within 15 minutes, the share that has to be undone.",
        "stat",
        width=4,
        alarm=0.10,
    ),
    Panel(
        "Step failure rate",
        {"": f"max ({recorded('job_step:order_service_step_failure:ratio_rate15m')})"},
        "percentunit",
        "Of the step that fails most often, over 15 minutes.",
        "stat",
        width=4,
        alarm=0.05,
    ),
    Panel(
        "Sagas past the timeout",
        {"": stored("order_service_sagas_timed_out")},
        says="Not ended, and older than SAGA_TIMEOUT_SECONDS.",
        kind="stat",
        width=4,
        alarm=1,
    ),
    Panel(
        "Alerts",
        {"": 'count (ALERTS{job="$job", alertstate="firing"}) or vector(0)'},
        says="How many are firing; the table below names them.",
        kind="stat",
        width=4,
        alarm=1,
    ),
    Panel(
        "Firing now",
        {"": 'ALERTS{job="$job", alertstate="firing"}'},
        says="What each of them means, and what to do, is in Prometheus under Alerts.",
        kind="table",
        width=24,
    ),
)

SAGAS = (
    Panel(
        "Sagas a second",
        {
            "started": per_second("order_service_sagas_started_total"),
            "{{status}}": per_second("order_service_sagas_finished_total", "status"),
        },
        "ops",
    ),
    Panel(
        "Unfinished",
        {
            "unfinished": stored("order_service_sagas_unfinished"),
            "past the timeout": stored("order_service_sagas_timed_out"),
        },
    ),
    Panel(
        "The oldest unfinished",
        {
            "its age": stored("order_service_oldest_unfinished_saga_age_seconds"),
            "SAGA_TIMEOUT_SECONDS": stored("order_service_saga_timeout_seconds"),
        },
        "s",
    ),
    Panel("Duration of a saga", quantiles("order_service_saga_duration_seconds"), "s", "From the order to its end."),
    Panel(
        "Average duration, by how it ended",
        {"{{status}}": mean("order_service_saga_duration_seconds", "status")},
        "s",
    ),
    Panel(
        "Completed and undone",
        {
            "undone": recorded("job:order_service_compensation:ratio_rate15m"),
            "completed": recorded("job:order_service_saga_completion:ratio_rate15m"),
        },
        "percentunit",
        "Of the sagas that ended within 15 minutes, the share completed; of those decided, the share undone.",
    ),
)

STEPS = (
    Panel(
        "Step failure rate",
        {"{{step}}": recorded("job_step:order_service_step_failure:ratio_rate15m")},
        "percentunit",
        "Definite refusals, over 15 minutes. A step that nobody answers has not ended: it is an incident.",
        width=12,
    ),
    Panel(
        "Attempts that timed out",
        {"{{step}}": recorded("job_step:order_service_step_timeouts:increase15m")},
        says="Within 15 minutes. Most are answered when they are asked again.",
        width=12,
    ),
    *(
        Panel(
            f"Duration of a step, p{percent}",
            {"{{step}}": quantile(percent, "order_service_step_duration_seconds", "step")},
            "s",
            "All its attempts together.",
        )
        for percent in (50, 95, 99)
    ),
    Panel("How steps end", {"{{step}} {{outcome}}": per_second("order_service_steps_total", "step", "outcome")}, "ops"),
    Panel("Sent again", {"{{step}}": per_second("order_service_step_retries_total", "step")}, "ops"),
    Panel("Compensations a second", {"started": per_second("order_service_compensations_started_total")}, "ops"),
)

PEOPLE = (
    Panel("Incidents open", {"{{kind}}": stored("order_service_incidents_open", "kind")}, width=6),
    Panel("Incidents within 15 minutes", {"{{kind}}": lately("order_service_incidents_total", "kind")}, width=6),
    Panel("Dead letters open", {"{{reason}}": stored("order_service_dead_letters_open", "reason")}, width=6),
    Panel(
        "Dead letters within 15 minutes",
        {
            "{{reason}}": lately("order_service_dead_letters_total", "reason"),
            "not kept: {{reason}}": lately("order_service_dead_letters_not_kept_total", "reason"),
        },
        width=6,
    ),
)

MESSAGES = (
    Panel(
        "Outbox",
        {
            "messages": stored("order_service_outbox_messages"),
            "nobody listens to {{key}}": stored("order_service_outbox_unroutable_messages", "key"),
        },
        says="Committed, and not yet confirmed by RabbitMQ.",
    ),
    Panel("The oldest in the outbox", {"its age": stored("order_service_outbox_oldest_message_age_seconds")}, "s"),
    Panel("Published", {"{{key}}": per_second("order_service_published_total", "key")}, "ops"),
    Panel("Events that nobody listens to", {"{{key}}": lately("order_service_events_dropped_total", "key")}),
    Panel("Not published for now", {"{{key}}: {{why}}": lately("order_service_unpublished_total", "key", "why")}),
    Panel(
        "Consumers",
        {"{{queue}}": together("order_service_queue_consumers", "queue")},
        says="Workers that consume a queue. None, and what arrives there waits.",
    ),
    Panel(
        "Events applied",
        {"{{signal}}": per_second("order_service_saga_events_total", "signal", where='outcome="applied"')},
        "ops",
    ),
    Panel(
        "Events that changed nothing",
        {"{{outcome}}": per_second("order_service_saga_events_total", "outcome", where='outcome!="applied"')},
        "ops",
        "Duplicates, late or unexpected answers, contradictions, refused requests.",
    ),
    Panel(
        "Messages handled",
        {
            "received": per_second("faststream_received_messages_total"),
            "{{status}}": per_second("faststream_received_processed_messages_total", "status"),
        },
        "ops",
    ),
    Panel(
        "Handling a message",
        quantiles("faststream_received_processed_messages_duration_seconds"),
        "s",
        "The commit included.",
    ),
    Panel("In hand", {"{{handler}}": together("faststream_received_messages_in_process", "handler")}),
)

WEBHOOKS = (
    Panel(
        "Webhooks undelivered",
        {
            "deliveries": stored("order_service_webhooks_undelivered"),
            "endpoints disabled": stored("order_service_webhook_endpoints_disabled"),
        },
    ),
    Panel(
        "The oldest undelivered webhook",
        {"its age": stored("order_service_webhook_oldest_undelivered_age_seconds")},
        "s",
        "Some customer's system does not take it.",
    ),
    Panel("Attempts", {"{{outcome}}": per_second("order_service_webhook_attempts_total", "outcome")}, "ops"),
    Panel("An attempt", quantiles("order_service_webhook_attempt_duration_seconds"), "s"),
)

WORKERS = (
    Panel(
        "Events in one transaction",
        {"average": mean("order_service_batch_size"), "p95": quantile(95, "order_service_batch_size")},
        says="What arrived while the transaction before it ran.",
    ),
    Panel(
        "Trouble within 15 minutes",
        {
            "transactions tried again": lately("order_service_database_retries_total"),
            "{{task}} restarted": lately("order_service_task_restarts_total", "task"),
            "connection for consuming opened again": lately("order_service_consumer_restarts_total"),
        },
    ),
    Panel(
        "The event loop waits",
        quantiles("order_service_event_loop_lag_seconds"),
        "s",
        "How long what is due is kept waiting, requests and heartbeats included.",
    ),
    Panel(
        "Requests refused within 15 minutes",
        {"{{status}}": lately("order_service_refused_requests_total", "status")},
        says="401: no credential, or a wrong one; 403: it may not do that; 429: asked too often.",
    ),
    Panel(
        "Instances",
        {
            "answer": together("up"),
            "read the database": together("order_service_state_read_success"),
        },
    ),
)

ROWS = {
    "Is all well?": KEY_METRICS,
    "Sagas": SAGAS,
    "Steps": STEPS,
    "What needs a person": PEOPLE,
    "Messages": MESSAGES,
    "Webhooks": WEBHOOKS,
    "Workers": WORKERS,
}
