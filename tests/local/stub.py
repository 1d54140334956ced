"""An application in the place of the service, for tests of the runner."""

import os

from faststream.asgi import AsgiFastStream, make_ping_asgi
from faststream.rabbit import RabbitBroker

broker = RabbitBroker(os.environ.get("RABBITMQ_URL", "amqp://localhost"))
app = AsgiFastStream(broker, asgi_routes=[("/health/ready", make_ping_asgi(broker, timeout=5))])
