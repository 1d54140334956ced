"""What a receiver answered, as far as it is of use to us. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

LONGEST_EXCERPT = 500
"""Characters."""
LONGEST_WAIT = timedelta(days=1)
"""That a receiver can ask for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one attempt."""

    status: int | None
    """None: nobody answered."""
    error: str | None
    """Why nobody did, in our own words: it never quotes the receiver. None where there is a status."""
    excerpt: str
    """The beginning of the answer's text: printable, on one line, at most `LONGEST_EXCERPT` characters."""
    retry_after: timedelta | None
    """How long the receiver asks to be left alone; between nothing and `LONGEST_WAIT`."""
    seconds: float
    """From the beginning until the last of it was read, or it was given up."""
    refused: bool = False
    """Whether nothing was sent, since nothing may be sent there."""

    @property
    def good(self) -> bool:
        """Whether what was sent is delivered, as Standard Webhooks has it."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


def excerpt(body: bytes) -> str:
    """The beginning of a text, without anything that a terminal or a page could take for more than text."""
    text = body.decode("utf-8", errors="replace")
    words = "".join(one if one.isprintable() else " " for one in text).split()
    return " ".join(words)[:LONGEST_EXCERPT]


def retry_after(values: Iterable[bytes], now: datetime) -> timedelta | None:
    """Read `Retry-After`: seconds or a date (RFC 9110, 10.2.3). None where there is none that can be read."""
    for value in values:
        text = value.decode("latin-1").strip()
        if re.fullmatch("[0-9]+", text):
            # a number of more digits than that is longer than the longest wait, and perhaps than Python can count
            return LONGEST_WAIT if len(text.lstrip("0")) > len("86400") else _within(timedelta(seconds=int(text)))
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return _within((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now)
    return None


def _within(wait: timedelta) -> timedelta:
    return min(max(wait, timedelta()), LONGEST_WAIT)
