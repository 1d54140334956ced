"""A share of the sagas is told, each of them wholly or not at all; and by the names that the settings give."""

import asyncio

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from tests.collector import Collector
from tests.system.conftest import order_body
from tests.telemetry.conftest import HOURS, World, told_to
from tests.telemetry.shapes import HAPPY, shaped
from tests.telemetry.trees import Tree

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHARE = 0.1


@pytest.fixture(scope="module")
def environment(collector: Collector) -> dict[str, str]:
    settings = told_to(collector, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG=f"{SHARE}")
    return HOURS | settings | {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}


def chosen(trace_id: str) -> bool:
    """What any implementation of the standard's sampler decides on this trace."""
    return TraceIdRatioBased(SHARE).should_sample(None, int(trace_id, 16), "").decision is not Decision.DROP


async def test_a_saga_is_told_wholly_or_not_at_all(world: World) -> None:
    told: set[str] = set()
    untold: set[str] = set()
    flags: dict[str, set[str]] = {}
    while not told or not untold:
        for order_id in await asyncio.gather(*(world.order(order_body()) for _ in range(20))):
            trace_id = (await world.ended(order_id))["traceId"]
            (told if chosen(trace_id) else untold).add(trace_id)
            if trace_id in told:
                await world.tree(order_id, shaped(HAPPY))
    await world.quiet()
    # with what it had not told yet
    await asyncio.to_thread(world.service.stop)

    assert {span.trace_id for span in world.collector.spans} == told
    assert [broken for trace_id in told if (broken := Tree(world.collector.trace(trace_id)).broken())] == []
    # everybody else is told of the decision with every message
    for message in world.ear.heard:
        _, trace_id, _, flag = str(message.headers["traceparent"]).split("-")
        flags.setdefault(trace_id, set()).add(flag)
    assert flags == {trace_id: {"01" if trace_id in told else "00"} for trace_id in told | untold}
    assert {(span.service, span.resource.get("deployment.environment.name")) for span in world.collector.spans} == {
        ("order-service", "test"),
        ("inventory", None),
        ("billing", None),
    }
