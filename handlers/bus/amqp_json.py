"""AMQP's own values (header tables, properties) as JSON that PostgreSQL takes, and back again.

What JSON or PostgreSQL has no words for becomes an object with one key that begins with `$`: `$bytes` (base64),
`$text` (a string with JSON's escapes), `$time`, `$decimal`, `$float`, `$table` (a table with unusual keys, in pairs),
`$amqp` (nested too deeply: the bytes of the wire, base64), `$lost` (what no AMQP client can have sent).
"""

import base64
import json
import re
import struct
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pamqp import decode, encode

MAX_TABLE_BYTES = 120_000
"""All properties of a message must fit into one frame of 128 KiB: a table larger than this is not sent on."""
_MAX_DEPTH = 20
_MAX_FLOAT = 1e15
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What neither PostgreSQL nor, in part, UTF-8 takes in a text."""


def storable(text: str, longest: int) -> str:
    """A text that PostgreSQL takes, clipped; what it cannot have is replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)[:longest]


def as_json(value: Any, depth: int = 0) -> Any:  # noqa: C901, PLR0911 - a line per kind of value
    """Any value, as JSON; it never fails."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return {"$text": json.dumps(value)[1:-1]} if _UNSTORABLE.search(value) else value
        case float():
            # beyond this PostgreSQL would write out all digits, and it would come back as an integer
            return value if abs(value) < _MAX_FLOAT else {"$float": repr(value)}
        case bytes() | bytearray():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            return {"$time": value.isoformat()}
        case Decimal():
            return {"$decimal": str(value)}
        case dict() | list() if depth >= _MAX_DEPTH:
            return _as_wire(value)
        case list():
            return [as_json(one, depth + 1) for one in value]
        case dict() if all(isinstance(key, str) and _is_plain(key) for key in value):
            return {key: as_json(one, depth + 1) for key, one in value.items()}
        case dict():
            return {"$table": [[as_json(key), as_json(one, depth + 1)] for key, one in value.items()]}
        case _:
            return {"$lost": type(value).__name__}


def table_as_json(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table, as a JSON object."""
    written: dict[str, Any] = as_json(dict(table))
    return written


def from_json(value: Any) -> Any:  # noqa: C901, PLR0911 - a line per kind of value
    """What `as_json` was given."""
    match value:
        case list():
            return [from_json(one) for one in value]
        case {"$text": text}:
            return json.loads(f'"{text}"')
        case {"$float": text}:
            return float(text)
        case {"$bytes": text}:
            return base64.b64decode(text)
        case {"$time": text}:
            return datetime.fromisoformat(text)
        case {"$decimal": text}:
            return Decimal(text)
        case {"$table": pairs}:
            return {from_json(key): from_json(one) for key, one in pairs}
        case {"$amqp": text}:
            return decode.embedded_value(base64.b64decode(text))[1]
        case {"$lost": _}:
            return None
        case dict():
            return {key: from_json(one) for key, one in value.items()}
        case _:
            return value


def sendable(table: Mapping[str, Any]) -> dict[str, Any]:
    """A received table, as the client library is able to send it; what it cannot is sent as text.

    It hands out bytes where a text is not UTF-8, numbers of any size, and takes neither back; of the floats it knows
    single precision only. A table that is too large is replaced by a word about that: the broker would close the
    connection over it.
    """
    try:
        sent = {key: _sendable(value) for key, value in table.items()}
        size = len(encode.field_table(sent))
    except (ValueError, TypeError, RecursionError, struct.error):
        return {"x-headers-dropped": "they cannot be encoded"}
    return sent if size <= MAX_TABLE_BYTES else {"x-headers-dropped": f"{size} bytes are too many"}


def _sendable(value: Any) -> Any:
    match value:
        case bytes():
            return bytearray(value)
        case list():
            return [_sendable(one) for one in value]
        case dict():
            return {key: _sendable(one) for key, one in value.items()}
    try:
        encode.encode_table_value(value)
    except (ValueError, TypeError, OverflowError, struct.error):
        return storable(str(value), 10_000)
    return value


def _is_plain(key: str) -> bool:
    return not key.startswith("$") and not _UNSTORABLE.search(key)


def _as_wire(value: Any) -> dict[str, str]:
    try:
        return {"$amqp": base64.b64encode(encode.encode_table_value(_sendable(value))).decode()}
    except (ValueError, TypeError, RecursionError, struct.error):
        return {"$lost": "nested too deeply"}
