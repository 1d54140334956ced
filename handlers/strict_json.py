"""The strict decoder in front of both doors: bytes to JSON values, or a reason why not.

The usual decoders are lax: a repeated key silently wins, NaN passes, a price becomes a binary float. Here they do not.
"""

import json
from decimal import Decimal
from typing import Any, NoReturn

from models.messages import MAX_BODY_BYTES
from saga.errors import RefusedError


class UnreadableError(RefusedError):
    """The body is not JSON as the contract has it."""

    reason = "unreadable"


class TooLargeError(RefusedError):
    """The body is larger than 1 MiB."""

    reason = "too_large"


def decode(body: bytes) -> Any:
    """The JSON value of a body; numbers with a point or an exponent become `Decimal`.

    Raises:
        TooLargeError: over 1 MiB.
        UnreadableError: not UTF-8, not JSON, a repeated key, NaN or infinity, nested too deeply.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken")
    try:
        return json.loads(body.decode(), object_pairs_hook=_object, parse_float=Decimal, parse_constant=_not_a_number)
    except UnicodeDecodeError as error:
        raise UnreadableError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise UnreadableError("the body is nested too deeply") from error
    except (ValueError, ArithmeticError) as error:
        raise UnreadableError(f"the body is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise UnreadableError(f"the key {repeated[:100]!r} is there twice")
    return value


def _not_a_number(word: str) -> NoReturn:
    raise UnreadableError(f"{word} is not a JSON number")
