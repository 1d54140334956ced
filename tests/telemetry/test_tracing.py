"""From spans to the collector: which are told, by whom, and that nobody waits for it."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from saga.telemetry import tracing
from saga.telemetry.spans import Span
from saga.telemetry.traceparent import is_sampled, new_root, new_trace_id, trace_id
from saga.telemetry.tracing import Tracer
from tests.collector import Collector


def span(error: str | None = None) -> Span:
    return Span("ReserveInventory", new_root(new_trace_id(), sampled=True), None, 1, 2, error=error)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One that the tracers of this process tell."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


async def test_the_decision_is_made_by_the_share_and_told_to_everybody(collector: Collector) -> None:
    tracer = Tracer()
    assert not is_sampled(tracer.new_root())
    for share, told in ((0, {False}), (0.5, {False, True}), (1, {True})):
        async with tracer.exporting(share):
            roots = [tracer.new_root() for _ in range(200)]
            assert {is_sampled(root) for root in roots} == told
    assert not is_sampled(tracer.new_root())


async def test_what_is_not_told_yet_at_the_end_is_told_then(collector: Collector) -> None:
    tracer = Tracer()
    spans = [span(), span("Failed")]
    async with tracer.exporting(1):
        tracer.tell(spans)
    assert [seen.trace_id for seen in collector.spans] == [trace_id(one.context) for one in spans]
    assert [seen.error for seen in collector.spans] == [None, "Failed"]
    assert [seen.attributes for seen in collector.spans] == [{}, {"error.type": "Failed"}]
    # and nothing after it
    tracer.tell(spans)
    assert len(collector.spans) == 2


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, {"service.name": "order-service"}),
        ({"OTEL_SERVICE_NAME": "shop"}, {"service.name": "shop"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,a=b"}, {"service.name": "shop", "a": "b"}),
    ],
)
async def test_who_tells_is_said_by_the_environment(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracer = Tracer()
    async with tracer.exporting(1):
        tracer.tell([span()])
    assert collector.spans[0].resource.items() > told.items()
    assert collector.spans[0].resource["service.instance.id"]


async def test_a_mistake_in_a_span_is_told_to_the_log_and_to_nobody_else(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    def spans() -> Iterator[Span]:
        yield span()
        raise KeyError("forgotten")

    tracer = Tracer()
    async with tracer.exporting(1):
        tracer.tell(spans())
    assert len(collector.spans) == 1
    assert "a trace has a gap" in caplog.text


async def test_what_finds_no_room_is_dropped(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.hang()
    tracer = Tracer()
    async with tracer.exporting(1):
        # a whole queue could be on its way before the next are told
        for _ in range(100):
            tracer.tell([span()])
        await collector.until(lambda: collector.requests)
        collector.let_go()
    assert 8 <= len(collector.spans) <= 12


@pytest.mark.parametrize("trouble", ["away", "hangs", "refuses", "has moved"])
async def test_a_collector_in_trouble_is_told_of_in_a_line_and_not_waited_for(
    collector: Collector, trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "FLUSH_WITHIN", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
    match trouble:
        case "away":
            collector.close()
        case "hangs":
            collector.hang()
        case "refuses":
            collector.status = 503
        case "has moved":
            collector.status = 404
    tracer = Tracer()
    with caplog.at_level(logging.INFO):
        async with tracer.exporting(1):
            for _ in range(5000):
                tracer.tell([span()])
            if trouble == "hangs":
                await collector.until(lambda: collector.requests)
            began = time.monotonic()
    assert time.monotonic() - began < 5
    assert collector.spans == []
    lines = [record for record in caplog.records if record.name.startswith(("saga", "opentelemetry"))]
    said = [(record.name, record.getMessage()) for record in lines]
    # of what hangs the SDK says nothing until it gives up, but that its queue is full, and that once in a while
    assert len(said) == 1 or (trouble == "hangs" and not said), said
    assert all(name == "saga.telemetry.tracing" and "\n" not in text for name, text in said), said
    if trouble != "has moved":
        # the thread that was left behind has something to do as long as it is there
        collector.status = 200
        collector.let_go()
        if trouble == "away":
            collector.open()
        await collector.until(lambda: len(collector.spans) > 512)
    for left_behind in [thread for thread in threading.enumerate() if thread.name == "last spans"]:
        # what it still says must not be taken for what another one says
        await asyncio.to_thread(left_behind.join, 20)
