"""What is in a dead letter, shown safely: as text where it is text, as bytes where it is not."""

import codecs
import re
from dataclasses import dataclass

MOST_SHOWN = 64 * 1024
"""Bytes. A page must stay one that can be looked at; the API has all of them."""
_PER_LINE = 16
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Shown:
    """Bytes as a page shows them."""

    text: str
    is_text: bool
    left_out: int
    """How many bytes are not shown."""


def shown(body: bytes, *, whole: bool = True) -> Shown:
    """The beginning of a body: as text if all of it is UTF-8 without control characters, else byte by byte."""
    left_out = max(len(body) - MOST_SHOWN, 0)
    try:
        # a beginning may end within a character
        text = codecs.getincrementaldecoder("utf-8")().decode(body, final=whole)
    except UnicodeDecodeError:
        text = None
    if text is None or _CONTROL.search(text):
        # a byte takes five times as much room as a character
        return Shown(_dump(body[: MOST_SHOWN // 4]), is_text=False, left_out=max(len(body) - MOST_SHOWN // 4, 0))
    return Shown(body[:MOST_SHOWN].decode(errors="ignore"), is_text=True, left_out=left_out)


def _dump(body: bytes) -> str:
    return "\n".join(_line(body, start) for start in range(0, len(body), _PER_LINE))


def _line(body: bytes, start: int) -> str:
    part = body[start : start + _PER_LINE]
    readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)  # noqa: PLR2004 - printable ASCII
    return f"{start:06x}  {part.hex(' '):<{3 * _PER_LINE - 1}}  {readable}"
