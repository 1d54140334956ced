"""Whatever is done with what comes from outside takes time in proportion to its size, at the most."""

import asyncio
import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Request
from pamqp import decode as pamqp_decode
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import BaseModel, TypeAdapter
from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.responses import FileResponse

from handlers.access.actor import operator
from handlers.access.api_keys import find_key, make_key, parse_keys
from handlers.access.origin import local_caller
from handlers.access.principal import Scope
from handlers.access.signing import OneKey, SigningKey, keys_of_set
from handlers.access.site import Site
from handlers.access.tokens import MOST_BYTES, Tokens
from handlers.bus.amqp_json import MAX_TABLE_BYTES, as_json, from_json, sendable, storable, table_as_json
from handlers.bus.pamqp_patch import read_whatever_comes
from handlers.bus.subscribe import read_as
from handlers.dashboard.filters import typed
from handlers.dashboard.forms import MAX_FORM_BYTES, _pairs, filled_in
from handlers.dashboard.pages.dead_letter_body import shown
from handlers.dead_letters.consumer import _order_id
from handlers.dead_letters.schemas import _readable
from handlers.http.conditional import _matches, _wait_seconds
from handlers.http.connections import MAX_HEAD_BYTES
from handlers.http.json_body import content_type_of, read_body
from handlers.http.pagination import After, place
from handlers.strict_json import decode
from handlers.webhooks.requests import Subscription
from models.messages import MAX_BODY_BYTES, CancelOrder, CreateOrder, Money, OrderBody, PaymentFailed, Quantity
from saga.telemetry.traceparent import valid
from saga.webhooks.answers import excerpt, retry_after
from saga.webhooks.ssrf import LONGEST_URL, destination
from tests.cost.growth import FACTOR, MOST, growth

pytestmark = pytest.mark.long

JSON_BYTES = 32 * 1024
"""Of the largest JSON text here, though more is taken: all that is made of it fits into the caches of a processor."""
NOW = datetime(2026, 1, 15, tzinfo=UTC)
ITEM = {"productId": str(uuid4()), "productName": "Laptop", "quantity": 1, "price": "1299.99"}
KEYS = parse_keys(make_key("shop", [Scope.ORDERS_READ])[1])
TOKENS = Tokens(
    "https://issuer", "orders", OneKey(SigningKey(None, "ES256", ec.generate_private_key(ec.SECP256R1()).public_key()))
)


@dataclass(frozen=True)
class Eater:
    """A function that eats what comes from outside.

    Args:
        eat: the function.
        largest: the size of the largest input that reaches it.
        feed: by name, inputs of a size.
    """

    eat: Callable[[Any], object]
    largest: int
    feed: dict[str, Callable[[int], Any]]


def of(count: Callable[[int], str], *, opening: str = "", closing: str = "") -> Callable[[int], bytes]:
    """JSON texts of a size: the parts, separated by commas, between an opening and a closing."""

    def make(size: int) -> bytes:
        parts, length, number = [], len(opening) + len(closing), 0
        while length < size - 40:
            parts.append(count(number))
            length += len(parts[-1]) + 1
            number += 1
        return f"{opening}{','.join(parts)}{closing}".encode()

    return make


def repeated(piece: str) -> Callable[[int], str]:
    return lambda size: (piece * (size // len(piece) + 1))[:size]


def in_utf8(make: Callable[[int], str]) -> Callable[[int], bytes]:
    return lambda size: make(size).encode()[:size]


BODIES: dict[str, Callable[[int], Any]] = {
    "a key twice at the end": of(lambda n: f'"{n:05}":0', opening="{", closing=',"last":0,"last":0}'),
    "many keys": of(lambda n: f'"{n:05}":0', opening="{", closing="}"),
    "keys that are long": of(lambda n: f'"{n:0200}":0', opening="{", closing="}"),
    "many objects": of(lambda _: "{}", opening="[", closing="]"),
    "many depths": of(lambda _: "[" * 100 + "]" * 100, opening="[", closing="]"),
    "many decimals": of(lambda _: "0.1", opening="[", closing="]"),
    "many long integers": of(lambda _: "9" * 4000, opening="[", closing="]"),
    "one long decimal": lambda size: b"0." + b"9" * (size - 2),
    "one long text": lambda size: b'"' + b"x" * (size - 2) + b'"',
    "one text of escapes": lambda size: b'"' + b"\\u00e9" * ((size - 2) // 6) + b'"',
    "white space": lambda size: b" " * (size - 2) + b"[]",
    "items": of(lambda _: json.dumps(ITEM), opening='{"items": [', closing="]}"),
    "items that are none": of(lambda _: "0", opening='{"items": [', closing="]}"),
    "a price without end": lambda size: f'{{"items": [{json.dumps(ITEM).replace("1299.99", "9" * size)}]}}'.encode(),
    "a name without end": lambda size: f'{{"items": [{json.dumps(ITEM).replace("Laptop", "x" * size)}]}}'.encode(),
    "a reason without end": lambda size: json.dumps(
        {"eventId": ITEM["productId"], "orderId": ITEM["productId"], "reason": "x" * (size - 200)}
    ).encode(),
}
PIECES = (
    *(
        "a",
        "9",
        "é",
        "\x00",
        "\u200b",
        " ",
        "0 ",
        ",",
        ";",
        "=",
        '"',
        "%",
        "&",
        ".",
        "..",
        "/",
        "@",
        ":",
        "[",
        "-",
        "(",
    ),
    *("a,", "ab.", "1:", "%41", "a=&", "a=b; ", '"a",', 'W/"', '\\"', "0-0,", 'a;b="c";', "wait=1;,"),
)
TEXTS: dict[str, Callable[[int], Any]] = {f"many times {piece!r}": repeated(piece) for piece in PIECES}
BYTES = {name: in_utf8(make) for name, make in TEXTS.items()}


def headers(name: str) -> Callable[[str], Headers]:
    return lambda value: Headers(raw=[(b"host", b"localhost"), (name.encode(), value.encode())])


def request(name: str, value: str) -> Request:
    raw = [(b"host", b"localhost"), (name.encode(), value.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "client": ("127.0.0.1", 1), "headers": raw})


def token(text: str) -> object:
    # nothing in it waits
    return TOKENS.read(text).send(None)


def in_three(make: Callable[[int], str]) -> Callable[[int], str]:
    """Each part as long as base64 can be, so that all sizes are read as far."""
    return lambda size: ".".join([make(size // 12 * 4)] * 3)


def signed_like(claims: Callable[[int], bytes]) -> Callable[[int], str]:
    def make(size: int) -> str:
        head = base64.urlsafe_b64encode(b'{"alg":"ES256"}').decode().rstrip("=")
        said = base64.urlsafe_b64encode(claims(size * 3 // 4 - 80)).decode().rstrip("=")
        return f"{head}.{said}.{'A' * 20}"

    return make


def pieces(count: int) -> object:
    """A body of so many pieces of a byte."""
    left = count

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b" ", "more_body": left > 0}

    return asyncio.run(read_body(Request({"type": "http", "headers": []}, receive), MAX_BODY_BYTES))


def properties(element: bytes, kind: bytes = b"A") -> Callable[[int], bytes]:
    """A header frame whose one header has many elements; a name stands before each in a table."""

    def make(size: int) -> bytes:
        parts: list[bytes] = []
        length = 0
        while length < size:
            name = b"" if kind == b"A" else b"\x05%05d" % len(parts)
            parts.append(name + element)
            length += len(parts[-1])
        values = b"".join(parts)
        header = b"\x01x" + kind + struct.pack(">I", len(values)) + values
        return struct.pack(">HHQHI", Basic.frame_id, 0, 0, Basic.Properties.flags["headers"], len(header)) + header

    return make


def read_properties(frame: bytes) -> Basic.Properties:
    read_whatever_comes()
    header = ContentHeader()
    header.unmarshal(frame)
    assert "x" in (header.properties.headers or {})
    return header.properties


def validated(model: type[BaseModel]) -> Callable[[bytes], object]:
    return lambda body: model.model_validate(decode(body))


def seen(body: str) -> object:
    return filled_in(Subscription, {"url": body, "description": body})


VALUES: dict[str, Callable[[int], Any]] = {
    "many values": lambda size: {"x": list(range(size // 2))},
    "many names": lambda size: {f"{number:05}": None for number in range(size // 7)},
    "a long text": lambda size: {"x": "\x00é" * (size // 2)},
    "many bytes": lambda size: {"x": bytearray(size)},
    "many tables": lambda size: {"x": [{} for _ in range(size // 5)]},
}


def stored(make: Callable[[int], Any]) -> Callable[[int], Any]:
    return lambda size: as_json(make(size))


EATERS = {
    "JSON": Eater(decode, JSON_BYTES, BODIES),
    "an order over HTTP": Eater(validated(OrderBody), JSON_BYTES, BODIES),
    "a subscription": Eater(validated(Subscription), JSON_BYTES, BODIES),
    "CreateOrder": Eater(lambda body: read_as(CreateOrder, body), JSON_BYTES, BODIES),
    "CancelOrder": Eater(lambda body: read_as(CancelOrder, body), JSON_BYTES, BODIES),
    "a reply": Eater(lambda body: read_as(PaymentFailed, body), JSON_BYTES, BODIES),
    "a dead letter's order": Eater(_order_id, JSON_BYTES, BODIES),
    "a dead letter's text": Eater(lambda body: _readable(body, whole=False), JSON_BYTES, BYTES),
    "a dead letter's page": Eater(shown, JSON_BYTES, BYTES),
    "an amount": Eater(
        TypeAdapter(Money).validate_python,
        JSON_BYTES,
        {
            "of many digits": lambda size: Decimal("0." + "9" * size),
            "of many zeros": lambda size: Decimal("1." + "0" * size),
            "of a great exponent": lambda size: Decimal(f"1e{size}"),
            "in a text": repeated("9"),
        },
    ),
    "a quantity": Eater(
        TypeAdapter(Quantity).validate_python,
        JSON_BYTES,
        {
            "of many zeros": lambda size: Decimal("1." + "0" * size),
            "of many digits": lambda size: Decimal("0." + "9" * size),
            "of a great exponent": lambda size: Decimal(f"1e{size}"),
        },
    ),
    "a body in pieces": Eater(pieces, 16_384, {"of a byte": lambda size: size}),
    "a form": Eater(lambda body: _pairs(body.decode("ascii")), MAX_FORM_BYTES, BYTES),
    "a form's fields": Eater(seen, MAX_FORM_BYTES, TEXTS),
    "what is shown of a form": Eater(typed, MAX_FORM_BYTES, TEXTS),
    "a query": Eater(QueryParams, MAX_HEAD_BYTES, TEXTS),
    "a cursor": Eater(lambda text: place(TypeAdapter(After).validate_python(text)), MAX_HEAD_BYTES, TEXTS),
    "cookies": Eater(cookie_parser, MAX_HEAD_BYTES, TEXTS),
    "a content type": Eater(lambda text: content_type_of(request("content-type", text)), MAX_HEAD_BYTES, TEXTS),
    "If-None-Match": Eater(lambda text: _matches('"x"', [text]), MAX_HEAD_BYTES, TEXTS),
    "Prefer": Eater(lambda text: _wait_seconds([text]), MAX_HEAD_BYTES, TEXTS),
    "a range": Eater(lambda text: FileResponse._parse_range_header(f"bytes={text}", 1_500_000), MAX_HEAD_BYTES, TEXTS),
    "Host": Eater(lambda text: local_caller(request("host", text)), MAX_HEAD_BYTES, TEXTS),
    "an origin": Eater(lambda text: local_caller(request("origin", text)), MAX_HEAD_BYTES, TEXTS),
    "an origin of a form": Eater(lambda text: Site().sent(headers("origin")(text)), MAX_HEAD_BYTES, TEXTS),
    "an origin of a WebSocket": Eater(
        lambda text: Site().require_no_other_page(headers("origin")(text)), MAX_HEAD_BYTES, TEXTS
    ),
    "X-Operator": Eater(lambda text: operator(local_caller(request("x", "y")), text), MAX_HEAD_BYTES, TEXTS),
    "traceparent": Eater(valid, MAX_HEAD_BYTES, TEXTS),
    "an API key": Eater(lambda text: find_key(KEYS, f"ok_{text}"), MAX_HEAD_BYTES, TEXTS),
    "a token": Eater(token, MOST_BYTES, {name: in_three(make) for name, make in TEXTS.items()}),
    "a token's claims": Eater(token, MOST_BYTES, {name: signed_like(BODIES[name]) for name in list(BODIES)[:10]}),
    "published keys": Eater(
        keys_of_set,
        JSON_BYTES,
        {"many": of(lambda n: f'{{"kty":"oct","kid":"{n}"}}', opening='{"keys":[', closing="]}")},
    ),
    "a webhook's address": Eater(lambda text: destination(f"https://{text}", frozenset()), LONGEST_URL, TEXTS),
    "a webhook's path": Eater(lambda text: destination(f"https://a.shop.com/{text}", frozenset()), LONGEST_URL, TEXTS),
    "a receiver's answer": Eater(excerpt, 65_536, BYTES),
    "Retry-After": Eater(lambda value: retry_after([value], NOW), MAX_HEAD_BYTES, BYTES),
    "AMQP properties": Eater(
        read_properties,
        MAX_TABLE_BYTES,
        {
            "an array of nothing": properties(b"V"),
            "an array of numbers": properties(b"b\x01"),
            "an array of empty texts": properties(b"S\x00\x00\x00\x00"),
            "an array of empty tables": properties(b"F\x00\x00\x00\x00"),
            "a table of nothing": properties(b"V", b"F"),
            "a table of texts": properties(b"S\x00\x00\x00\x01x", b"F"),
        },
    ),
    "AMQP values as JSON": Eater(table_as_json, MAX_TABLE_BYTES, VALUES),
    "AMQP values from JSON": Eater(from_json, MAX_TABLE_BYTES, {name: stored(make) for name, make in VALUES.items()}),
    "AMQP values to be sent on": Eater(sendable, MAX_TABLE_BYTES, VALUES),
    "a stored text": Eater(lambda text: storable(text, 10_000), MAX_TABLE_BYTES, TEXTS),
}
FED = [(name, how) for name, eater in EATERS.items() for how in eater.feed]


@pytest.mark.parametrize(("name", "how"), FED, ids=lambda one: one)
def test_time_grows_with_the_size(name: str, how: str) -> None:
    eater = EATERS[name]
    assert growth(eater.feed[how], eater.eat, eater.largest) < MOST


def test_what_grows_faster_is_noticed() -> None:
    """The search for a repeated key that once froze a worker for ten seconds."""

    def repeated_key(keys: list[str]) -> str:
        return next(key for key in keys if keys.count(key) > 1)

    assert growth(lambda size: [*map(str, range(size)), "last", "last"], repeated_key, 2_000) > MOST


def test_the_client_library_copies_what_is_left_of_a_table_for_every_value() -> None:
    """If this fails, `handlers.bus.pamqp_patch` need not decode tables any more."""
    grown = growth(lambda size: struct.pack(">I", size) + b"V" * size, pamqp_decode.field_array, MAX_TABLE_BYTES)
    assert grown > FACTOR * 1.3
