"""FastStream's own metrics of the messages that are consumed, with names that only this service can give."""

from typing import TYPE_CHECKING

from aio_pika import IncomingMessage
from faststream.prometheus import ConsumeAttrs
from faststream.prometheus.middleware import BasePrometheusMiddleware, PrometheusMiddleware
from faststream.rabbit.prometheus.provider import RabbitMetricsSettingsProvider
from faststream.rabbit.response import RabbitPublishCommand
from faststream.rabbit.subscriber import RabbitSubscriber
from prometheus_client import CollectorRegistry

from handlers.bus.publisher import APP_ID

if TYPE_CHECKING:
    from faststream import ContextRepo
    from faststream.message import StreamMessage


class _Names(RabbitMetricsSettingsProvider):
    """Names a message after where its queue is bound: its routing key is its sender's to invent, a series for ever."""

    def __init__(self, subscriber: RabbitSubscriber) -> None:
        super().__init__()
        self._subscriber = subscriber

    def get_consume_attrs_from_message(self, msg: "StreamMessage[IncomingMessage]") -> ConsumeAttrs:
        bound = f"{self._subscriber.exchange.name}.{self._subscriber.queue.routing()}"
        return {**super().get_consume_attrs_from_message(msg), "destination_name": bound}


class _Counting(PrometheusMiddleware[IncomingMessage, RabbitPublishCommand]):
    """FastStream asks for names with the message alone; whose it is, it has in its context."""

    def __call__(
        self, msg: IncomingMessage | None, /, *, context: "ContextRepo"
    ) -> BasePrometheusMiddleware[RabbitPublishCommand]:
        subscriber = context.get_local("handler_")
        return BasePrometheusMiddleware(
            msg,
            metrics_manager=self._metrics_manager,
            settings_provider_factory=lambda _: _Names(subscriber),
            context=context,
            custom_labels={},
        )


def counting(registry: CollectorRegistry) -> PrometheusMiddleware[IncomingMessage, RabbitPublishCommand]:
    """The middleware that counts what is received, and how long handling takes."""
    middleware = _Counting(settings_provider_factory=lambda _: None, registry=registry, app_name=APP_ID)
    # of a worker that is gone nothing is in process; FastStream cannot be told so
    in_process = middleware._metrics_container.received_messages_in_process  # noqa: SLF001
    in_process._multiprocess_mode = "livesum"  # noqa: SLF001
    return middleware
