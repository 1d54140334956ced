"""How times, durations and people's own words look on a page: the filters of the templates."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from models.messages import instant_text

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def duration(length: timedelta | float) -> str:
    """A length of time in two figures at most, as people say it: `340 ms`, `12.3 s`, `4 min 05 s`, `5 d 3 h`."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    seconds = max(seconds, 0.0)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def left(seconds: float) -> str:
    """A time that is still to come, in whole seconds; countdown.js goes on with it."""
    return "any moment" if round(seconds) <= 0 else duration(float(round(seconds)))


def moment(instant: datetime | str) -> str:
    """A time to the millisecond, without its zone: pages say once that it is UTC."""
    text = machine(instant)
    return f"{text[:10]} {text[11:23]}"


def clock(instant: datetime) -> str:
    """The minute of the day."""
    return f"{instant:%H:%M}"


def machine(instant: datetime | str) -> str:
    """A time for the attribute `datetime`."""
    return instant if isinstance(instant, str) else instant_text(instant)


def _visible(code: int) -> str:
    # Unicode has pictures for these
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"  # noqa: PLR2004 - where they end


_INVISIBLE = {
    code: _visible(code)
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x200B, *range(0x200E, 0x2010), *range(0x2028, 0x202F),
                 *range(0x2066, 0x206A), 0xFEFF)
    if chr(code) not in "\n\t"
}  # fmt: skip


def typed(text: str) -> str:
    """What somebody typed, shown whole: characters that would hide, or turn the line around, are named."""
    return text.translate(_INVISIBLE)


def together(words: Iterable[str]) -> list[tuple[str, str]]:
    """Options of a choice whose words are their values."""
    return [(word, word) for word in words]


FILTERS: dict[str, Callable[..., Any]] = {
    "duration": duration,
    "left": left,
    "together": together,
    "moment": moment,
    "clock": clock,
    "machine": machine,
    "typed": typed,
}
