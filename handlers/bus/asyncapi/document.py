"""The bus contract: an AsyncAPI 3.0 document, complete and in a fixed order, from what the broker really has.

FastStream knows the queues, the exchange and the routing keys; the models know the payloads. What FastStream 0.7 leaves
out is added here: names, both directions' own schemas, headers, properties, examples, queue arguments.

Source of the form: https://www.asyncapi.com/docs/reference/specification/v3.0.0 and its AMQP bindings 0.3.0.
"""

from collections.abc import Iterator
from typing import Any

from faststream.rabbit import RabbitBroker
from faststream.rabbit.subscriber import RabbitSubscriber
from faststream.specification import AsyncAPI, Specification

from handlers.bus.asyncapi import words
from handlers.bus.asyncapi.form import Document, schemas
from handlers.bus.subscribe import DOMAIN
from models.messages import (
    COMMANDS,
    EVENTS,
    REPLIES,
    CancelOrder,
    CommandMessage,
    CreateOrder,
    Outgoing,
    Reply,
    Wire,
)

VERSION = "1.0.0"
"""The contract's version, not the program's: it grows when a message changes."""

INCOMING: tuple[type[Wire], ...] = (CreateOrder, CancelOrder, *REPLIES)
OUTGOING: tuple[type[Outgoing], ...] = (*COMMANDS.values(), *EVENTS.values())

_SERVICE = {COMMANDS[reply.answers]: reply.service.capitalize() for reply in REPLIES}
"""Who carries out a command."""


def declare_publishers(broker: RabbitBroker) -> None:
    """Say what leaves, for the contract alone.

    Nothing is published through these: the relay does that by itself, from the outbox, with confirms.
    """
    for model in OUTGOING:
        broker.publisher(
            exchange=DOMAIN,
            routing_key=f"domain.order.{model.__name__}",
            schema=model,
            title=model.__name__,
            description=model.__doc__,
            persist=True,
        )


class Contract(AsyncAPI):
    """The contract of the brokers that are added to it; `faststream docs gen` asks for it."""

    def __init__(self) -> None:
        super().__init__(title=words.TITLE, version=VERSION, description=words.DESCRIPTION, license={"name": "MIT"})

    def add_http_route(self, path: str, handler: Any) -> "Contract":  # noqa: ARG002 - FastStream's signature
        """HTTP has a contract of its own, `/openapi.json`."""
        return self

    def to_specification(self) -> Specification:
        """The document.

        Raises:
            LookupError: a message is subscribed or published without being in the contract, or the other way round.
        """
        generated = super().to_specification().to_jsonable()
        names = [model.__name__ for model in (*INCOMING, *OUTGOING)]
        if astray := set(names) ^ generated["channels"].keys():
            raise LookupError(f"the contract and the broker differ in {', '.join(sorted(astray))}")
        address = {name: generated["channels"][name]["address"] for name in names}
        arguments = {
            subscriber.queue.name: dict(subscriber.queue.arguments or {})
            for broker in self.brokers
            for subscriber in broker.subscribers
            if isinstance(subscriber, RabbitSubscriber)
        }
        return Document(
            {
                "asyncapi": "3.0.0",
                "info": generated["info"],
                "defaultContentType": "application/json",
                "servers": {"rabbitmq": _without(generated["servers"]["development"], "pathname")},
                "channels": {name: _channel(name, generated["channels"][name], arguments) for name in names},
                "operations": {
                    operation["title"]: operation
                    for model in (*INCOMING, *OUTGOING)
                    for operation in [_operation(model, generated["operations"][model.__name__])]
                },
                "components": {
                    "messages": {
                        model.__name__: _message(model, address[model.__name__]) for model in (*INCOMING, *OUTGOING)
                    },
                    "schemas": {"OutgoingHeaders": words.OUTGOING_HEADERS} | schemas(INCOMING, OUTGOING),
                    "correlationIds": words.CORRELATION,
                },
            }
        )


def _channel(name: str, generated: dict[str, Any], arguments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    amqp = generated["bindings"]["amqp"]
    # which virtual host it is, is a matter of the deployment
    amqp = {key: _without(value, "vhost") if isinstance(value, dict) else value for key, value in amqp.items()}
    channel = {
        "address": generated["address"],
        "title": name,
        "description": generated["description"],
        "servers": [{"$ref": "#/servers/rabbitmq"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": amqp},
    }
    if "queue" in amqp:
        # the binding has no place for these: a queue of ours, as it is declared, and what it is bound to
        channel["x-queue-arguments"] = arguments[amqp["queue"]["name"]]
        channel["x-exchange"] = {"name": DOMAIN.name, "type": "topic", "durable": True}
    return channel


def _operation(model: type[Wire], generated: dict[str, Any]) -> dict[str, Any]:
    name, action = model.__name__, generated["action"]
    receives = action == "receive"
    # `cc` would ask for further copies; `ack` says nothing about what is sent
    amqp = _without(generated["bindings"]["amqp"], "cc", *(() if receives else ("ack",)))
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "title": f"{action}{name}",
        "summary": f"{'From' if receives else 'To'} {_partner(model)}: {name}",
        "description": _relation(model) or _doc(model),
        "tags": [{"name": _partner(model)}],
        "bindings": {"amqp": amqp if receives else {**amqp, "timestamp": True}},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _message(model: type[Wire], routing_key: str) -> dict[str, Any]:
    name, leaves = model.__name__, issubclass(model, Outgoing)
    message: dict[str, Any] = {
        "name": name,
        "title": name,
        "summary": _doc(model),
        "description": " ".join(filter(None, (_doc(model), _relation(model)))),
        "contentType": "application/json",
        "correlationId": {"$ref": f"#/components/correlationIds/{_correlation(model)}"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "tags": [{"name": _partner(model)}],
    }
    if leaves:
        message["headers"] = {"$ref": "#/components/schemas/OutgoingHeaders"}
        message["bindings"] = {"amqp": {"messageType": routing_key, "bindingVersion": "0.3.0"}}
        message["x-amqp-properties"] = words.properties(routing_key)
    message["examples"] = list(_examples(model, routing_key))
    return message


def _examples(model: type[Wire], routing_key: str) -> Iterator[dict[str, Any]]:
    for number, payload in enumerate(words.examples(model), start=1):
        example = {"name": f"{model.__name__}{number}", "payload": payload}
        yield example | ({"headers": words.headers(routing_key, payload)} if issubclass(model, Outgoing) else {})


def _relation(model: type[Wire]) -> str:
    """Which command a reply answers, and which replies answer a command: there is no `reply` for that on this bus."""
    if issubclass(model, Reply):
        return f"Answers `{model.answers}`; its `causationId` is the command's `eventId`."
    if issubclass(model, CommandMessage):
        by = {reply.success: reply.__name__ for reply in REPLIES if COMMANDS[reply.answers] is model}
        return f"{_partner(model)} answers `{by[True]}` or, where it definitely did not do it, `{by[False]}`."
    return ""


def _partner(model: type[Wire]) -> str:
    """Who is at the other end."""
    if issubclass(model, Reply):
        return model.service.capitalize()
    if issubclass(model, CommandMessage):
        return _SERVICE[model]
    return "Everybody" if issubclass(model, Outgoing) else "Clients"


def _correlation(model: type[Wire]) -> str:
    if issubclass(model, Outgoing):
        return "saga"
    return "request" if model is CreateOrder else "order"


def _doc(model: type[Wire]) -> str:
    return " ".join((model.__doc__ or "").split())


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in names}
