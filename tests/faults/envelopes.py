"""Odd envelopes: properties and headers as no client library would write them, and some as none should.

What the service owes a message does not depend on them: its properties are a help for people and tools.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

from pamqp.commands import Basic

_NOT_UTF8 = b"\xff\xfe\xf0"
_MICROSECONDS = 1_768_469_400_000_000
"""Of 2026, where AMQP has seconds: an easy mistake, and a year that no calendar knows."""


class Properties(Basic.Properties):
    """Properties that may hold the very bytes of the wire instead of a value."""

    def encode_property(self, name: str, value: Any) -> bytes:
        """The bytes as they are, all else as usual."""
        return value if isinstance(value, bytes) else super().encode_property(name, value)


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _table(*entries: bytes) -> bytes:
    raw = b"".join(entries)
    return struct.pack(">I", len(raw)) + raw


def _deep(depth: int) -> bytes:
    raw = _table()
    for _ in range(depth):
        raw = _table(_short(b"a") + b"F" + raw)
    return raw


def _odd_text(random: Random) -> str:
    return random.choice(
        ("", " ", "x" * 255, "é" * 127, "\x00", "a\nb", "\u2028", "None", "5b1f7f0e", "{}", "'; --", "\x1b[2J")
    )


def _odd_value(random: Random) -> Any:
    return random.choice(_ODD_VALUES)


_ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63 - 1, -(2**63), 1e30, -1e-30, Decimal("1.5"), "", "\x00", "é" * 5000, "x" * 60_000,
    bytearray(b"\xff\x00"), datetime(2106, 2, 7, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), [], {},
    [None, [1, "x"]], {"a": {"b": [{"c": None}]}}, {"$text": "x"}, {"": ""}, [1] * 500,
)  # fmt: skip
"""Without those that RabbitMQ itself takes amiss, and closes the sender's connection over: NaN and infinity."""
_KNOWN = (
    "traceparent", "tracestate", "ce-id", "ce-type", "x-death", "x-delivery-count", "x-dead-letter-reason",
    "x-dead-letter-error", "x-dead-letter-message-id", "x-dead-letter-exchange", "x-first-death-queue", "content-type",
    "x-match", "", "$", "\x00", "é", "a" * 128,
)  # fmt: skip


def _headers(random: Random) -> dict[str, Any]:
    names = random.sample(_KNOWN, random.randint(1, 4))
    return {name: _odd_value(random) for name in names}


def plain(_: Random) -> Properties:
    """As the contract has them, or none."""
    return Properties(content_type="application/json", delivery_mode=2)


def odd(random: Random) -> Properties:
    """Values that AMQP allows, and nobody expects."""
    properties = Properties(headers=_headers(random))
    for name in random.sample(
        ("content_type", "content_encoding", "correlation_id", "message_id", "type", "app_id"), 3
    ):
        setattr(properties, name, _odd_text(random))
    properties.reply_to = random.choice((None, "order-service.CreateOrder", "no such queue", "é"))
    properties.content_type = random.choice((properties.content_type, "text/plain", "application/json; charset=utf-16"))
    properties.priority, properties.delivery_mode = random.choice((None, 0, 9, 255)), random.choice((None, 1, 2))
    # long enough: the firehose would lose what expires
    properties.expiration = random.choice((None, "3600000"))
    properties.timestamp = random.choice((None, datetime(1970, 1, 1, tzinfo=UTC), datetime(2106, 2, 7, tzinfo=UTC)))
    return properties


def wild(random: Random) -> Properties:
    """What cannot be decoded, though RabbitMQ passes it on: it reads no more of a message than it needs."""
    properties = plain(random)
    instant = struct.pack(">Q", random.choice((_MICROSECONDS, _MICROSECONDS * 1000, 2**64 - 1)))
    spoil: tuple[Callable[[], None], ...] = (
        lambda: setattr(properties, "timestamp", instant),
        lambda: setattr(properties, "headers", _table(_short(b"sent-at") + b"T" + instant)),
        lambda: setattr(properties, "headers", _table(_short(_NOT_UTF8) + b"V")),
        lambda: setattr(properties, "headers", _deep(3_000)),
        lambda: setattr(
            properties, random.choice(("message_id", "type", "app_id", "correlation_id")), _short(_NOT_UTF8)
        ),
    )
    random.choice(spoil)()
    return properties


ENVELOPES: dict[str, tuple[Callable[[Random], Properties], int]] = {
    "plain": (plain, 10),
    "odd": (odd, 9),
    "wild": (wild, 1),
}
"""By name: how, and how often among all."""


def envelope(random: Random) -> Properties:
    """One of them."""
    makers = [maker for maker, _ in ENVELOPES.values()]
    (maker,) = random.choices(makers, [weight for _, weight in ENVELOPES.values()])
    return maker(random)
