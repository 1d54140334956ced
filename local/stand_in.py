"""A participant as an application of its own: `faststream run local.inventory:app --host 127.0.0.1 --port 5003`.

GET /behaviour shows how each command is treated; PUT /behaviour with `{"ReserveInventory": {"mode": "slow"}}` changes
those it names. Whoever may call it may break the participant: bind it to the loopback address.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from faststream.asgi import AsgiFastStream, AsgiResponse
from faststream.asgi.types import ASGIApp, Receive, Scope, Send
from pydantic import RootModel, ValidationError
from starlette.requests import Request
from yarl import URL

from local.participant import Participant
from local.rule import Behaviour, Rule
from local.tracing import tracer

MAX_BYTES = 64 * 1024
Behaviours = RootModel[dict[str, Behaviour]]


def participant_of(name: str, rules: Mapping[str, Rule]) -> Participant:
    """The participant that the environment describes: RABBITMQ_URL, LEDGER_DIR, and ORDER_SERVICE_USER.

    The last is the broker user that commands have to be from. A local system has one user for all: it is that one.
    """
    url = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/")
    return Participant(
        name,
        rules,
        rabbitmq_url=url,
        ledger=ledger_path(Path(os.environ.get("LEDGER_DIR", ".local")), name),
        orders_from=os.environ.get("ORDER_SERVICE_USER") or URL(url).user,
    )


def ledger_path(folder: Path, name: str) -> Path:
    """Where the participant `name` keeps its ledger."""
    return folder / f"{name}.sqlite"


def app(participant: Participant) -> AsgiFastStream:
    """The participant as an application. Nothing is opened before it runs."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        with tracer(participant.name) as participant.tracer:
            async with participant.book():
                yield

    return AsgiFastStream(
        participant.publisher,
        participant.consumer,
        asgi_routes=[("/behaviour", control(participant))],
        lifespan=lifespan,
    )


def control(participant: Participant) -> ASGIApp:
    """The control endpoint, a bare ASGI application: FastStream routes know GET and POST only."""

    async def answer(request: Request) -> AsgiResponse:
        if not participant.listening:
            # until its queues are there, a command for it cannot be routed
            return said(503, f"{participant.name} does not listen yet")
        if request.method == "PUT":
            body = await request.body()
            try:
                wished = Behaviours.model_validate_json(body[:MAX_BYTES]).root
            except ValidationError as error:
                return said(422, error.errors(include_url=False, include_context=False, include_input=False))
            if unknown := sorted(wished.keys() - participant.rules.keys()):
                return said(
                    422, f"{participant.name} does not know {', '.join(unknown)}, only {', '.join(participant.rules)}"
                )
            participant.behaviour.update(wished)
        elif request.method != "GET":
            return said(405, "GET or PUT")
        return said(200, Behaviours(participant.behaviour).model_dump())

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)

    return endpoint


def said(status: int, body: object) -> AsgiResponse:
    """A JSON answer."""
    return AsgiResponse(json.dumps(body).encode(), status, {"content-type": "application/json"})
