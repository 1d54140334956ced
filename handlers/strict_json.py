"""Strict JSON decoding for both doors: bytes to JSON values, or the reason for refusing them.

The decoder is jiter, pydantic's own: it rejects what usual decoders let pass (repeated keys, NaN, lone surrogates),
reads decimals exactly, and takes time proportional to the size of the body, whatever is in it.
"""

import asyncio
import gc
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jiter

from models.messages import MAX_BODY_BYTES
from saga.errors import RefusedError

_REPEATED = re.compile('Detected duplicate key "(.*)" at (line [0-9]+ column [0-9]+)')
_LONGEST_KEY = 100
_LONG = 64 * 1024
"""Bytes of a body that is decoded beside the event loop."""
_BESIDE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="json")
"""One body after the other, with pauses between them."""


class UnreadableError(RefusedError):
    """The body is not JSON as the contract has it."""

    reason = "unreadable"


class TooLargeError(RefusedError):
    """The body is larger than this endpoint or queue takes."""

    reason = "too_large"


def decode(body: bytes) -> Any:
    """The JSON value of a body; numbers with a point or an exponent become `Decimal`.

    Raises:
        TooLargeError: over 1 MiB.
        UnreadableError: not UTF-8, not JSON, a repeated key, half a surrogate pair, NaN or infinity, an integer of more
            than 4,300 digits, nested deeper than 200 levels.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLargeError(f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken")
    try:
        with uncollected():
            return jiter.from_json(
                body, allow_inf_nan=False, cache_mode="none", catch_duplicate_keys=True, float_mode="decimal"
            )
    except ValueError as error:
        raise UnreadableError(f"the body is not JSON: {_words(str(error))}") from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector out while many values are made, none of which is garbage.

    Else it walks through all that the process has, again and again: ten times the work of decoding itself.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def decode_aside(body: bytes) -> Any:
    """The same as `decode`; long bodies do not hold up the event loop one after the other.

    Raises:
        TooLargeError: as `decode`.
        UnreadableError: as `decode`.
    """
    if not _LONG < len(body) <= MAX_BODY_BYTES:
        return decode(body)
    return await asyncio.get_running_loop().run_in_executor(_BESIDE, _decode_and_pause, body)


def _decode_and_pause(body: bytes) -> Any:
    """Decode, and leave the interpreter to the event loop for as long again: the decoder does not share it."""
    begin = time.monotonic()
    try:
        return decode(body)
    finally:
        time.sleep(time.monotonic() - begin)


def _words(said: str) -> str:
    """The decoder's words; it escapes a key that it names, and names all of it, however long it is."""
    if repeated := _REPEATED.fullmatch(said):
        key, place = repeated.groups()
        return f'the key "{key[:_LONGEST_KEY]}" is there twice, at {place}'
    # an exponent that no Decimal can have
    return re.sub("^Internal error: .* at (?=line )", "number out of range at ", said)
