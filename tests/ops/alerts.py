"""When each alert is to fire, and with which words: what comes in minute by minute, and what is to be made of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

JOB = {"job": "order-service"}
A_FEW = ("0x9 1x1 2x6 3x10", "0x10 1x1 2x16")
"""On two instances: four within a quarter of an hour, and in minute 19 the fifth."""


@dataclass(frozen=True)
class Case:
    """What two instances, `a` and `b`, show in the course of time.

    Series are in promtool's notation, a sample a minute: `0x2 3x1` is 0 in the minutes 0, 1 and 2, and 3 in 3 and 4.
    """

    alert: str
    why: str
    given: dict[str, str]
    quiet: tuple[int, ...]
    """Minutes in which nothing at all fires."""
    fires: tuple[int, ...]
    """Minutes in which this alert fires, and no other."""
    summary: str
    """What it says in the last of them."""
    labels: dict[str, str] = field(default_factory=lambda: JOB)


def one(instance: str, metric: str, samples: str, **labels: str) -> dict[str, str]:
    """A series of one instance; every metric but `up` is the service's own."""
    name = metric if metric == "up" else f"order_service_{metric}"
    named = ", ".join(f'{label}="{value}"' for label, value in (JOB | {"instance": instance} | labels).items())
    return {f"{name}{{{named}}}": samples}


def both(metric: str, samples: str, **labels: str) -> dict[str, str]:
    """A series that both instances show alike, as they do what they read from the database."""
    return one("a", metric, samples, **labels) | one("b", metric, samples, **labels)


def _key_metrics() -> Iterator[Case]:
    yield Case(
        "OrderServiceSagaTimeout",
        "SAGA_TIMEOUT_SECONDS is 300",
        both("saga_timeout_seconds", "300x9") | both("oldest_unfinished_saga_age_seconds", "300x2 301x3 12x1"),
        quiet=(2, 7),
        fires=(3, 6),
        summary="The oldest unfinished saga is 5m 1s old, past SAGA_TIMEOUT_SECONDS.",
    )
    yield Case(
        "OrderServiceSagaTimeout",
        "SAGA_TIMEOUT_SECONDS is 600",
        both("saga_timeout_seconds", "600x9") | both("oldest_unfinished_saga_age_seconds", "301 599 600x2 601x2 0x1"),
        quiet=(0, 1, 4, 8),
        fires=(5, 7),
        summary="The oldest unfinished saga is 10m 1s old, past SAGA_TIMEOUT_SECONDS.",
    )
    yield Case(
        "OrderServiceCompensationRate",
        "9 %, from minute 21 on 11 %, from minute 41 on none",
        one("a", "compensations_started_total", "0+5x20 106+6x19 220x9")
        | one("b", "compensations_started_total", "0+4x20 85+5x19 180x9")
        | one("a", "sagas_finished_total", "0+90x20 1888+88x29", status="Completed")
        | one("b", "sagas_finished_total", "0+1x50", status="Failed")
        | one("b", "sagas_finished_total", "0+9x50", status="Compensated"),
        quiet=(20, 29, 43),
        fires=(30, 40),
        summary="11% of the sagas decided in the last 15 minutes are undone.",
    )
    yield Case(
        "OrderServiceCompensationRate",
        "all of them, but only a few",
        one("a", "compensations_started_total", A_FEW[0])
        | one("b", "compensations_started_total", A_FEW[1])
        | one("b", "sagas_finished_total", "7x30", status="Completed"),
        quiet=(13, 18, 20, 26),
        fires=(21, 24),
        summary="100% of the sagas decided in the last 15 minutes are undone.",
    )
    yield Case(
        "OrderServiceStepFailureRate",
        "4 %, from minute 21 on 6 %, from minute 41 on none; another step has 4 % all along",
        one("a", "steps_total", "0+2x20 44+4x19 120x9", step="ProcessPayment", outcome="Failed")
        | one("b", "steps_total", "0+2x39 80x10", step="ProcessPayment", outcome="TimedOut")
        | one("a", "steps_total", "0+92x20 1930+90x29", step="ProcessPayment", outcome="Completed")
        | one("b", "steps_total", "0+4x50", step="ProcessPayment", outcome="Cancelled")
        | one("a", "steps_total", "0+4x50", step="ReserveInventory", outcome="Failed")
        | one("b", "steps_total", "0+96x50", step="ReserveInventory", outcome="Completed"),
        quiet=(20, 29, 45),
        fires=(30, 39),
        summary="6% of ProcessPayment failed in the last 15 minutes.",
        labels=JOB | {"step": "ProcessPayment"},
    )
    yield Case(
        "OrderServiceStepFailureRate",
        "all of them, but only a few",
        one("a", "steps_total", A_FEW[0], step="ValidateInventory", outcome="Failed")
        | one("b", "steps_total", A_FEW[1], step="ValidateInventory", outcome="TimedOut"),
        quiet=(13, 18, 20, 26),
        fires=(21, 24),
        summary="100% of ValidateInventory failed in the last 15 minutes.",
        labels=JOB | {"step": "ValidateInventory"},
    )


def _standstills() -> Iterator[Case]:
    yield Case(
        "OrderServiceIncident",
        "one opens, two more, all are closed",
        both("incidents_open", "0x1 1x1 3x1 0x1", kind="payment_outcome_unknown")
        | both("incidents_open", "0x9", kind="contradiction"),
        quiet=(1, 6),
        fires=(2, 5),
        summary="Sagas that need a person: 3 payment_outcome_unknown.",
        labels=JOB | {"kind": "payment_outcome_unknown"},
    )
    yield Case(
        "OrderServiceOutboxStuck",
        "a minute old, and then older for a minute",
        both("outbox_oldest_message_age_seconds", "60x3 61x2 0x2"),
        quiet=(3, 4, 7),
        fires=(5, 6),
        summary="The oldest message in the outbox has not been published for 1m 1s.",
    )
    yield Case(
        "OrderServiceWebhooksUndelivered",
        "an hour old, and then older for five minutes",
        both("webhook_oldest_undelivered_age_seconds", "3600x2 3660x6 0x2"),
        quiet=(2, 7, 10),
        fires=(8, 9),
        summary="A webhook has not been delivered for 1h 1m 0s.",
    )
    queue = "order-service.InventoryReserved"
    yield Case(
        "OrderServiceQueueWithoutConsumer",
        "one instance lets go of a queue, the other too, one is back; another queue is well",
        one("a", "queue_consumers", "1x2 0x9", queue=queue)
        | one("b", "queue_consumers", "1x4 0x2 1x2", queue=queue)
        | one("a", "queue_consumers", "1x9", queue="order-service.PaymentProcessed")
        | one("b", "queue_consumers", "0x9", queue="order-service.PaymentProcessed"),
        quiet=(4, 5, 8),
        fires=(6, 7),
        summary="Nobody consumes order-service.InventoryReserved.",
        labels=JOB | {"queue": queue},
    )
    key = "domain.order.ProcessPayment"
    yield Case(
        "OrderServiceCommandUnroutable",
        "nobody is there, for a while",
        both("outbox_unroutable_messages", "0x1 1x0 2x1 0x1", key=key),
        quiet=(1, 2, 5),
        fires=(3, 4),
        summary=f"No participant listens to {key}: 2 waiting.",
        labels=JOB | {"key": key},
    )
    key = "domain.order.OrderCreated"
    yield Case(
        "OrderServiceEventsDropped",
        "one is dropped in minute 2 on one of two instances",
        one("a", "events_dropped_total", "0x1 1x40", key=key) | one("b", "events_dropped_total", "0x42", key=key),
        quiet=(1, 6, 18),
        fires=(8, 15),
        summary=f"Nobody listens to {key}.",
        labels=JOB | {"key": key},
    )
    yield Case(
        "OrderServiceDeadLetters",
        "two arrive and are dealt with; copies of unanswered commands are there all the time",
        both("dead_letters_open", "0x1 1x1 2x0 0x1", reason="invalid")
        | both("dead_letters_open", "7x9", reason="unanswered"),
        quiet=(1, 5),
        fires=(2, 4),
        summary="Messages that could not be handled: 2 invalid.",
        labels=JOB | {"reason": "invalid"},
    )


def _outages() -> Iterator[Case]:
    yield Case(
        "OrderServiceDown",
        "both instances are gone for a while",
        both("up", "1x1 0x1 1x3"),
        quiet=(2, 4),
        fires=(3,),
        summary="No instance of the order service answers.",
    )
    yield Case(
        "OrderServiceDown",
        "not even Prometheus knows of one, for a while",
        both("up", "1 stale _x3 1x3"),
        quiet=(0, 5),
        fires=(2, 4),
        summary="No instance of the order service answers.",
    )
    yield Case(
        "OrderServiceInstanceDown",
        "one of them is gone for a while",
        one("a", "up", "1x9") | one("b", "up", "1x1 0x3 1x3"),
        quiet=(3, 6),
        fires=(4, 5),
        summary="b cannot be asked for its metrics.",
        labels=JOB | {"instance": "b"},
    )
    yield Case(
        "OrderServiceEventLoopBlocked",
        "one look in minute 4 finds more than a second; the other instance is well",
        both("event_loop_lag_seconds_count", "0+600x16")
        | one("a", "event_loop_lag_seconds_bucket", "0+600x3 2399+600x12", le="1.0")
        | one("b", "event_loop_lag_seconds_bucket", "0+600x16", le="1.0"),
        quiet=(3, 10),
        fires=(4, 8),
        summary="The event loop of a has stood still for more than a second.",
        labels=JOB | {"instance": "a"},
    )
    yield Case(
        "OrderServiceCredentialsRefused",
        "120 a minute from minute 3 on, and as many requests that nobody counts as guesses",
        both("refused_requests_total", "0x3 60+60x20", status="401")
        | both("refused_requests_total", "0+600x24", status="429"),
        quiet=(3, 8),
        fires=(16, 20),
        summary="Credentials are refused all the time: 2 a second.",
    )
    yield Case(
        "OrderServiceStateUnreadable",
        "one cannot read it, then the other one too, then the first can again",
        one("a", "state_read_success", "1x1 0x3 1x3") | one("b", "state_read_success", "1x2 0x6"),
        quiet=(3, 6),
        fires=(4, 5),
        summary="No instance can read the state of the sagas from the database.",
    )


CASES = (*_key_metrics(), *_standstills(), *_outages())
"""Every alert: below its threshold, above it, and when it is over."""
