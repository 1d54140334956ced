"""Reading what RabbitMQ delivers, whatever its properties are.

RabbitMQ passes properties on as they are; a client decodes them. Where it cannot (a timestamp in microseconds, which is
a year that no calendar knows; a name that is not UTF-8; tables nested too deeply), the client library gives up the
whole connection, and with it every consumer. The message is delivered again to the next connection, which ends the
same way, and in the end from the dead letters too: one message, and the service never consumes again.

Nothing of ours depends on properties. So such a message comes without them, and with their bytes in one header, for
people to look at; its body is what counts.
"""

import struct

from pamqp.commands import Basic
from pamqp.header import ContentHeader

UNREADABLE = "x-unreadable-properties"
"""The header that has the properties' bytes, as they were on the wire."""

_strictly = ContentHeader.unmarshal
_SIZES = struct.Struct(">HHQ")
"""Class, weight and the size of the body: what every header frame begins with."""


def read_whatever_comes() -> None:
    """Let every connection of this process read such messages. The client library has no seam for it."""
    ContentHeader.unmarshal = _leniently  # type: ignore[method-assign,assignment]


def _leniently(frame: ContentHeader, data: bytes) -> None:
    try:
        _strictly(frame, data)
    except (ValueError, ArithmeticError, LookupError, RecursionError, struct.error):
        frame.class_id, frame.weight, frame.body_size = _SIZES.unpack_from(data)
        frame.properties = Basic.Properties(headers={UNREADABLE: bytearray(data[_SIZES.size :])})
