"""A participant's own part of a saga's trace: what it does for a command, and its answer.

Where OTEL_EXPORTER_OTLP_ENDPOINT is set they are told there; otherwise nothing is told, and the context of a command
goes into its answer as it came.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

COLLECTOR_SECONDS = 2.0
"""How long a batch may take: a collector that does not answer keeps nobody from stopping."""
_TRACE_CONTEXT = TraceContextTextMapPropagator()


@contextmanager
def tracer(name: str) -> Iterator[Tracer]:
    """The tracer of the participant `name`; what it has not told yet is told at the end of the block."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        yield NoOpTracer()
        return
    resource = Resource.create({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=COLLECTOR_SECONDS)))
    try:
        yield provider.get_tracer(name)
    finally:
        provider.shutdown()


@contextmanager
def processing(tracer: Tracer, routing_key: str, queue: str, headers: Mapping[str, Any]) -> Iterator[None]:
    """A message is processed in the block, in the trace that its headers name."""
    attributes = _attributes("process", "process", f"domain:{routing_key}:{queue}", routing_key)
    sent_by = _TRACE_CONTEXT.extract(headers, Context())
    with tracer.start_as_current_span(f"process {routing_key}", sent_by, SpanKind.CONSUMER, attributes):
        yield


@contextmanager
def publishing(tracer: Tracer, routing_key: str) -> Iterator[dict[str, str]]:
    """A message is published in the block, with these headers: they tell whoever handles it of its publishing."""
    attributes = _attributes("publish", "send", f"domain:{routing_key}", routing_key)
    with tracer.start_as_current_span(f"publish {routing_key}", kind=SpanKind.PRODUCER, attributes=attributes):
        headers: dict[str, str] = {}
        _TRACE_CONTEXT.inject(headers)
        yield headers


def _attributes(name: str, kind: str, destination: str, routing_key: str) -> dict[str, str]:
    """What OpenTelemetry's conventions for messaging ask for."""
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": routing_key,
    }
