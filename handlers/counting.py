"""FastStream's own metrics of the messages that are consumed, with names that only this service can give."""

from typing import TYPE_CHECKING

from aio_pika import IncomingMessage
from faststream.prometheus import ConsumeAttrs
from faststream.prometheus.middleware import PrometheusMiddleware
from faststream.rabbit.prometheus.provider import RabbitMetricsSettingsProvider
from faststream.rabbit.response import RabbitPublishCommand
from prometheus_client import CollectorRegistry

from saga.bus import APP_ID
from saga.outbox import EXCHANGE

if TYPE_CHECKING:
    from faststream.message import StreamMessage


class _Names(RabbitMetricsSettingsProvider):
    """Dead letters keep whatever routing key they came with; each would be a series for ever."""

    def get_consume_attrs_from_message(self, msg: "StreamMessage[IncomingMessage]") -> ConsumeAttrs:
        attributes = super().get_consume_attrs_from_message(msg)
        exchange = msg.raw_message.exchange
        return attributes if exchange == EXCHANGE else {**attributes, "destination_name": exchange or "default"}


def counting(registry: CollectorRegistry) -> PrometheusMiddleware[IncomingMessage, RabbitPublishCommand]:
    """The middleware that counts what is received, and how long handling takes."""
    names = _Names()
    middleware = PrometheusMiddleware(settings_provider_factory=lambda _: names, registry=registry, app_name=APP_ID)
    # of a worker that is gone nothing is in process; FastStream cannot be told so
    in_process = middleware._metrics_container.received_messages_in_process  # noqa: SLF001
    in_process._multiprocess_mode = "livesum"  # noqa: SLF001
    return middleware
