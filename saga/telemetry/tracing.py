"""Where spans go: through OpenTelemetry's SDK to a collector, in batches, from a thread of its own.

All that is standard about it is the SDK's: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*,
OTEL_EXPORTER_OTLP_*. Spans that do not find room, or a collector, are dropped: no saga waits for its trace.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from saga.runtime.backoff import SAY_AGAIN_AFTER
from saga.telemetry.log_setup import get_logger, overheard
from saga.telemetry.redaction import Words
from saga.telemetry.spans import Span
from saga.telemetry.traceparent import is_sampled, new_root, new_trace_id, span_id, trace_id

SERVICE = "order-service"
FLUSH_WITHIN = 2.0
"""Seconds that a stop waits for the collector to take the last spans."""
_SCOPE = InstrumentationScope("order-service")
log = get_logger(__name__)


class Tracer:
    """Decides which sagas are told of, and tells. Without `exporting` it decides on none, and costs nothing."""

    def __init__(self) -> None:
        self._sampler = TraceIdRatioBased(0)
        self._resource = Resource.get_empty()
        self._batches: BatchSpanProcessor | None = None

    def new_root(self) -> str:
        """The trace context of a new saga, with the decision on its sampling."""
        name = new_trace_id()
        decision = self._sampler.should_sample(None, int(name, 16), "").decision
        return new_root(name, sampled=decision is not Decision.DROP)

    def tell(self, spans: Iterable[Span]) -> None:
        """Hand over spans that are to be exported. What goes wrong with them is no matter of the saga's."""
        if not self._batches:
            return
        try:
            for span in spans:
                self._batches.on_end(_readable(span, self._resource))
        except Exception:
            log.exception("a trace has a gap")

    @asynccontextmanager
    async def exporting(self, share: float) -> AsyncIterator[None]:
        """Export as long as the block lasts, and what is left at its end if the collector takes it soon.

        Args:
            share: of the sagas that begin meanwhile are told of, between 0 and 1.
        """
        with overheard("opentelemetry", _Complaints().tell):
            self._sampler, self._resource = TraceIdRatioBased(share), _resource()
            self._batches = batches = BatchSpanProcessor(OTLPSpanExporter())
            try:
                yield
            finally:
                self._sampler, self._batches = TraceIdRatioBased(0), None
                await _flushed(batches)


TRACER = Tracer()


def _resource() -> Resource:
    """Who tells: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, by default this service."""
    named = Resource.create()
    unknown = str(named.attributes[SERVICE_NAME]).startswith("unknown_service")
    return named.merge(Resource({SERVICE_NAME: SERVICE})) if unknown else named


async def _flushed(batches: BatchSpanProcessor) -> None:
    """Export what is left. A collector that does not answer is not waited for: the thread ends with the process."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def flush() -> None:
        batches.shutdown()  # type: ignore[no-untyped-call]
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=flush, name="last spans", daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_WITHIN):
            await done.wait()


class _Complaints:
    """Passes on what the SDK complains of, now and then: it does so at every attempt."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def tell(self, words: Words) -> None:
        """Say it, unless something was said a short while ago."""
        if time.monotonic() >= self._silent_until:
            self._silent_until = time.monotonic() + SAY_AGAIN_AFTER
            log.warning("traces may be lost", error=words)


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        context=_context(span.context),
        parent=_context(span.parent) if span.parent else None,
        resource=resource,
        attributes={**span.attributes, "error.type": span.error} if span.error else span.attributes,
        events=[Event(name, attributes, time) for name, time, attributes in span.events],
        links=[Link(_context(link)) for link in span.links],
        kind=SpanKind[span.kind.upper()],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=_SCOPE,
    )


def _context(traceparent: str) -> SpanContext:
    return SpanContext(
        int(trace_id(traceparent), 16),
        int(span_id(traceparent), 16),
        is_remote=False,
        trace_flags=TraceFlags(is_sampled(traceparent)),
    )
