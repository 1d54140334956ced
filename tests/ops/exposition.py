"""What `/metrics` can show: the name of every sample, with the labels that it may have."""

from collections.abc import Iterator
from typing import Any

from faststream.rabbit.prometheus import RabbitPrometheusMiddleware
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

Labels = frozenset[str]
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def exposed() -> dict[str, Labels]:
    """The samples of the service and of FastStream, and what Prometheus adds about each instance."""
    shown = {"up": frozenset[str]()}
    for metric in (*of_the_service(), *of_faststream()):
        shown |= samples(metric)
    return shown


def samples(metric: Any) -> Iterator[tuple[str, Labels]]:
    """The samples of a metric, or of a family that a collector makes at the scrape."""
    made_at_the_scrape = isinstance(metric, Metric)
    name, kind = (metric.name, metric.type) if made_at_the_scrape else (metric._name, metric._type)
    for ending in SAMPLES[kind]:
        yield f"{name}{ending}", frozenset([*metric._labelnames, *(["le"] if ending == "_bucket" else [])])


def of_faststream() -> Iterator[MetricWrapperBase]:
    registry = CollectorRegistry()
    RabbitPrometheusMiddleware(registry=registry)
    return metrics_in(registry)


def metrics_in(registry: CollectorRegistry) -> Iterator[MetricWrapperBase]:
    return (one for one in registry._collector_to_names if isinstance(one, MetricWrapperBase))


COUNTERS = {
    "saga_events": ("signal", "outcome"),
    "sagas_started": (),
    "sagas_finished": ("status",),
    "compensations_started": (),
    "steps": ("step", "outcome"),
    "step_timeouts": ("step",),
    "step_retries": ("step",),
    "incidents": ("kind",),
    "database_retries": (),
    "published": ("key",),
    "unpublished": ("key", "why"),
    "dead_letters": ("reason",),
    "task_restarts": ("task",),
    "consumer_restarts": (),
}
HISTOGRAMS = {"saga_duration_seconds": ("status",), "step_duration_seconds": ("step",), "batch_size": ()}
GAUGES = {
    "queue_consumers": ("queue",),
    "saga_timeout_seconds": (),
    "sagas_unfinished": (),
    "sagas_timed_out": (),
    "oldest_unfinished_saga_age_seconds": (),
    "incidents_open": ("kind",),
    "outbox_messages": (),
    "outbox_oldest_message_age_seconds": (),
    "outbox_unroutable_messages": ("key",),
    "dead_letters_open": ("reason",),
    "state_read_success": (),
}


def of_the_service() -> Iterator[Any]:
    """Every metric of the service, those included that are read from the database at the scrape.

    Agreed names for now; `metrics_in` and a collector's families give the real ones.
    """
    for names, kind in ((COUNTERS, Counter), (HISTOGRAMS, Histogram), (GAUGES, Gauge)):
        for name, labels in names.items():
            yield kind(f"order_service_{name}", "", labels, registry=None)
