"""An application in the place of the service, for tests of the runner."""

import json
import os
from typing import Any

from faststream.asgi import AsgiFastStream, AsgiResponse, get, make_ping_asgi
from faststream.rabbit import RabbitBroker

broker = RabbitBroker(os.environ.get("RABBITMQ_URL", "amqp://localhost"))
TOLD = ("STAND_INS", "SAGA_STEP_TIMEOUT_SECONDS", "SAGA_RETRY_DELAY_SECONDS", "SAGA_REASK_SECONDS")


@get
async def told(_: Any) -> AsgiResponse:
    """What the runner told the service by its environment."""
    return AsgiResponse(json.dumps({name: os.environ.get(name) for name in TOLD}).encode(), 200)


app = AsgiFastStream(broker, asgi_routes=[("/health/ready", make_ping_asgi(broker, timeout=5)), ("/told", told)])
