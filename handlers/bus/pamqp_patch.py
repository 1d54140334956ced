"""Reading what RabbitMQ delivers, whatever its properties are and however large it is.

RabbitMQ passes properties on as they are; a client decodes them. Where it cannot (a timestamp in microseconds, which is
a year that no calendar knows; a name that is not UTF-8; tables nested too deeply), the client library gives up the
whole connection, and with it every consumer. The message is delivered again to the next connection, which ends the
same way, and in the end from the dead letters too: one message, and the service never consumes again.

Nothing of ours depends on properties. So such a message comes without them, and with their bytes in one header, for
people to look at; its body is what counts.

And where it can, it takes time that grows with the square of a table's size: for every value it copies all that is left
of the table. One header of 120 kB, a value a byte, would hold up the event loop for half a second. Here a value is
decoded from a copy of that value alone.

A body may be as large as RabbitMQ lets it be (16 MiB, before 4.0 128 MiB), and a client puts it together in memory
before anybody can refuse it. One that is refused anyway is not: what is over 1 MiB comes with its beginning alone, and
with its size and digest in headers. A sender who writes these himself is refused for them, and nothing more.
"""

import hashlib
import re
import struct
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from pamqp import decode
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from models.messages import MAX_BODY_BYTES

UNREADABLE = "x-unreadable-properties"
"""The header that has the properties' bytes, as they were on the wire."""
WHOLE_SIZE, WHOLE_SHA256 = "x-whole-body-size", "x-whole-body-sha256"
"""The headers of a message whose body is only its beginning: the size in bytes of the whole one, and its digest, in
hexadecimal."""
BEGINNING_BYTES = 64 * 1024
"""As much is kept of a body that is over 1 MiB: enough for a person to tell what it is."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_strictly = ContentHeader.unmarshal
_whole = Channel._read_content  # noqa: SLF001 - the client library has no seam for it
_SIZES = struct.Struct(">HHQ")
"""Class, weight and the size of the body: what every header frame begins with."""
_LENGTH = struct.Struct(">I")
_SIZED = b"SxAF"
"""The types of value that begin with their length: texts, bytes, arrays and tables."""
_LONGEST_FIXED = 10
"""Bytes of any other value, its type included."""


def read_whatever_comes() -> None:
    """Let every connection of this process read such messages. The client library has no seam for it."""
    ContentHeader.unmarshal = _leniently  # type: ignore[method-assign,assignment]
    Channel._read_content = _bounded  # type: ignore[method-assign,assignment]  # noqa: SLF001 - the same
    decode.METHODS |= {"array": _array, "table": _table}
    decode.TABLE_MAPPING |= {b"A": _array, b"F": _table}


def whole_body(message: AbstractIncomingMessage) -> tuple[int, bytes] | None:
    """The size in bytes and the SHA-256 of a body of which only the beginning is there; None where all of it is."""
    match message.headers.get(WHOLE_SIZE), message.headers.get(WHOLE_SHA256):
        case bool(), _:
            return None
        case int(size), str(digest) if size > len(message.body) and _SHA256.fullmatch(digest):
            return size, bytes.fromhex(digest)
    return None


def _leniently(frame: ContentHeader, data: bytes) -> None:
    try:
        _strictly(frame, data)
    except (ValueError, ArithmeticError, LookupError, RecursionError, struct.error):
        frame.class_id, frame.weight, frame.body_size = _SIZES.unpack_from(data)
        frame.properties = Basic.Properties(headers={UNREADABLE: bytearray(data[_SIZES.size :])})


def _array(data: bytes) -> tuple[int, list[Any]]:
    """Decode an array; the bytes consumed, and the values."""
    offset, end = _span(data)
    values = []
    while offset < end:
        offset, value = _value(data, offset)
        values.append(value)
    return offset, values


def _table(data: bytes) -> tuple[int, dict[str, Any]]:
    """Decode a table; the bytes consumed, and the values by their names."""
    offset, end = _span(data)
    values = {}
    while offset < end:
        begin = offset + 1
        offset = begin + data[offset]
        name = data[begin:offset].decode()
        offset, values[name] = _value(data, offset)
    return offset, values


def _span(data: bytes) -> tuple[int, int]:
    end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    if end > len(data):
        raise ValueError("a table ends before its length")
    return _LENGTH.size, end


def _value(data: bytes, offset: int) -> tuple[int, Any]:
    """Decode the value at this offset; the offset behind it, and the value."""
    end = offset + _LONGEST_FIXED
    if data[offset] in _SIZED:
        end = offset + 1 + _LENGTH.size + _LENGTH.unpack_from(data, offset + 1)[0]
    consumed, value = decode.embedded_value(data[offset:end])
    return offset + consumed, value


async def _bounded(channel: Channel, frame: Basic.Deliver, header: ContentHeader) -> DeliveredMessage:
    if header.body_size <= MAX_BODY_BYTES:
        return await _whole(channel, frame, header)
    beginning, digest, size = bytearray(), hashlib.sha256(), 0
    while size < header.body_size:
        content = await channel._get_frame()  # noqa: SLF001 - as the library's own does
        if not isinstance(content, ContentBody):
            # what it says itself; the channel is closed
            raise ValueError("Unexpected frame", content)  # noqa: TRY004
        beginning += content.value[: BEGINNING_BYTES - len(beginning)]
        digest.update(content.value)
        size += len(content.value)
    properties = header.properties
    properties.headers = {**(properties.headers or {}), WHOLE_SIZE: size, WHOLE_SHA256: digest.hexdigest()}
    return DeliveredMessage(delivery=frame, header=header, body=bytes(beginning), channel=channel)
