"""What `/metrics` can show: the name of every sample, with the labels that it may have."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from faststream.rabbit.prometheus import RabbitPrometheusMiddleware
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from handlers.api.exposition import _Whole
from handlers.queries.overview import Overview

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


def of_the_service() -> Iterator[Any]:
    """Every metric of the service, those included that are read from the database at the scrape."""
    yield from (metric for metric in metrics_in(REGISTRY) if metric._name.startswith("order_service_"))
    yield from _Whole(_NOTHING, timedelta(seconds=300)).collect()


_NOTHING = Overview(0, 0, None, {}, 0, 0, None, 0, None, 0, {}, {})
