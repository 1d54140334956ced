"""What `/metrics` shows: this service's own counters, those of all its workers, and how the whole stands.

What is counted in a process is shown for the service: with several workers, the sum of them all. What is read from the
database is the same from every instance: take the `max` of it, not the `sum`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from handlers.api.fresh import Fresh
from handlers.queries.overview import MOST, Overview, look
from models.states import DEAD_LETTER_REASONS, IncidentKind
from saga.errors import classify
from saga.runtime.database import Sessions
from saga.telemetry.log_setup import get_logger
from saga.telemetry.metrics import of_all_workers

log = get_logger(__name__)

_SAME = "The same from every instance."

ANSWER_SECONDS = 2.0
"""How long the database may take to tell. A scrape must not wait for it."""


class Exposition:
    """Metrics in Prometheus' text format.

    Args:
        sessions: for looking, in which every statement is a transaction.
        framework: FastStream's own metrics.
        saga_timeout: shown beside the ages, so that alerts compare with what is set.
    """

    def __init__(self, sessions: Sessions, framework: CollectorRegistry, saga_timeout: timedelta) -> None:
        self._sessions = sessions
        self._framework = framework
        self._saga_timeout = saga_timeout
        # many who ask do not make it look more often
        self._look = Fresh(self._ask)

    async def text(self) -> bytes:
        """All of it; without what the database knows where it does not tell."""
        whole = CollectorRegistry()
        whole.register(_Whole(await self._look(), self._saga_timeout))
        if workers := of_all_workers():
            # their files are read: not on the event loop
            return await asyncio.to_thread(_texts, [workers, whole])
        return _texts([REGISTRY, self._framework, whole])

    async def _ask(self) -> Overview | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._sessions() as session:
                return await look(session, self._saga_timeout)
        except Exception as error:
            if not classify(error).transient:
                log.exception("cannot tell how the whole stands")
            return None


def _texts(registries: Iterable[CollectorRegistry]) -> bytes:
    return b"".join(map(generate_latest, registries))


class _Whole(Collector):
    def __init__(self, overview: Overview | None, saga_timeout: timedelta) -> None:
        self._overview = overview
        self._saga_timeout = saga_timeout

    def collect(self) -> Iterator[Metric]:
        known = self._overview is not None
        yield _gauge("saga_timeout_seconds", "SAGA_TIMEOUT_SECONDS, as set.", self._saga_timeout.total_seconds())
        yield _gauge("state_read_success", "Whether the database told how the whole stands, just now.", float(known))
        if self._overview is not None:
            yield from _standing(self._overview)


def _standing(all_: Overview) -> Iterator[Metric]:
    yield _gauge("sagas_unfinished", f"Sagas that have not ended, up to {MOST}. {_SAME}", all_.unfinished)
    yield _gauge("sagas_timed_out", f"Of those, the ones older than SAGA_TIMEOUT_SECONDS. {_SAME}", all_.timed_out)
    yield _gauge(
        "oldest_unfinished_saga_age_seconds",
        f"Age of the oldest saga that has not ended, 0 where all have. {_SAME}",
        _seconds(all_.oldest_unfinished),
    )
    incidents = {str(kind): all_.incidents.get(kind, 0) for kind in IncidentKind}
    yield _gauges("incidents_open", f"Sagas that a person should look at. {_SAME}", "kind", incidents)
    yield _gauge("outbox_messages", f"Messages that are not known to have left, up to {MOST}. {_SAME}", all_.outbox)
    yield _gauge(
        "outbox_oldest_message_age_seconds",
        f"Age of the oldest of those that a queue would take, 0 where there is none. {_SAME}",
        _seconds(all_.outbox_oldest),
    )
    unroutable = "Of those, the ones that no queue takes"
    yield _gauges("outbox_unroutable_messages", f"{unroutable}. {_SAME}", "key", all_.unroutable)
    yield _gauge(
        "webhooks_undelivered", f"Deliveries of webhooks that wait, up to {MOST}. {_SAME}", all_.webhooks_undelivered
    )
    yield _gauge(
        "webhook_oldest_undelivered_age_seconds",
        f"Age of the oldest of those, 0 where there is none. {_SAME}",
        _seconds(all_.webhook_oldest),
    )
    yield _gauge(
        "webhook_endpoints_disabled", f"Endpoints that are sent nothing, up to {MOST}. {_SAME}", all_.webhooks_disabled
    )
    letters = dict.fromkeys(DEAD_LETTER_REASONS, 0)
    for reason, count in all_.dead_letters.items():
        # whoever may publish may invent reasons
        letters[reason if reason in DEAD_LETTER_REASONS else "unknown"] += count
    yield _gauges("dead_letters_open", f"Dead letters that nobody has dealt with. {_SAME}", "reason", letters)


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(f"order_service_{name}", told, value)


def _gauges(name: str, told: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"order_service_{name}", told, labels=[label])
    for word, value in values.items():
        family.add_metric([word], value)
    return family


def _seconds(age: timedelta | None) -> float:
    return max(age.total_seconds(), 0.0) if age else 0.0
