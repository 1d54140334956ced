"""Reading what RabbitMQ delivers, whatever its properties are and however large it is.

RabbitMQ passes properties on as they are; a client decodes them. Where it cannot (a timestamp in microseconds, which is
a year that no calendar knows; a name that is not UTF-8; tables nested too deeply), the client library gives up the
whole connection, and with it every consumer. The message is delivered again to the next connection, which ends the
same way, and in the end from the dead letters too: one message, and the service never consumes again.

Nothing of ours depends on properties. So such a message comes without them, and with their bytes in one header, for
people to look at; its body is what counts.

A body may be as large as RabbitMQ lets it be (16 MiB, before 4.0 128 MiB), and a client puts it together in memory
before anybody can refuse it. One that is refused anyway is not: what is over 1 MiB comes with its beginning alone, and
with its size and digest in headers. A sender who writes these himself is refused for them, and nothing more.
"""

import hashlib
import re
import struct

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
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


def read_whatever_comes() -> None:
    """Let every connection of this process read such messages. The client library has no seam for it."""
    ContentHeader.unmarshal = _leniently  # type: ignore[method-assign,assignment]
    Channel._read_content = _bounded  # type: ignore[method-assign,assignment]  # noqa: SLF001 - the same


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
