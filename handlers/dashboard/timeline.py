"""The history of a saga over time: how long it stood at each step, how often it asked there, and the gaps between."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.states import Command, EntryStatus, Position
from saga.domain import Entry, Saga
from saga.history import ids_of
from saga.insight.replay import Move

SCALE = 1000
"""The width of the time line; its marks are in these units."""
_NARROWEST = 2.0
_SENT_AGAIN = (EntryStatus.RETRYING, EntryStatus.RESUMED, EntryStatus.CONFLICT)


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of the history."""

    entry: Entry
    gap: timedelta
    """Since the entry before, or since the saga began."""
    event_ids: list[str]


@dataclass(frozen=True, slots=True)
class Stay:
    """A time during which one command was open."""

    command: Command
    sends: list[datetime]
    until: datetime
    open: bool
    """Whether it goes on."""

    @property
    def length(self) -> timedelta:
        """How long it took, or takes so far."""
        return self.until - self.sends[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """A stay, drawn: where it begins on the time line, how wide it is, and where a command left."""

    stay: Stay
    x: float
    width: float
    ticks: list[float]


def lines(saga: Saga) -> list[Line]:
    """Every entry, the oldest first."""
    times = [saga.created_at, *(_time(entry) for entry in saga.history)]
    return [
        Line(entry, time - before, ids_of(entry))
        for entry, before, time in zip(saga.history, times, times[1:], strict=False)
    ]


def stays(saga: Saga, moves: list[Move], now: datetime) -> list[Stay]:
    """The times at which a command was open, the oldest first; none where the way is not known.

    Of what happened more than once only the last time is told, and is taken for the only one.
    """
    if not moves and saga.position is not Position.VALIDATING:
        return []
    found: list[Stay] = []
    here, sends = Position.VALIDATING, [saga.created_at]
    for move in moves:
        if move.entry is None:
            continue
        entry = saga.history[move.entry]
        if move.here is not move.to:
            found += _stay(here, sends, _time(entry), open_=False)
            here, sends = move.to, [_time(entry)]
        elif entry["status"] in _SENT_AGAIN:
            sends.append(_time(entry))
    return found + _stay(here, sends, now, open_=True)


def bars(saga: Saga, stayed: list[Stay]) -> list[Bar]:
    """These stays on one time line, from the saga's beginning to the end of the last of them."""
    if not stayed:
        return []
    start, life = saga.created_at, max(stayed[-1].until - saga.created_at, timedelta(milliseconds=1))

    def at(time: datetime) -> float:
        return round(SCALE * ((time - start) / life), 1)

    def bar(stay: Stay) -> Bar:
        # however short it was, it can be seen
        x = min(at(stay.sends[0]), SCALE - _NARROWEST)
        return Bar(stay, x, round(max(at(stay.until) - x, _NARROWEST), 1), [at(time) for time in stay.sends])

    return [bar(stay) for stay in stayed]


def _stay(here: Position, sends: list[datetime], until: datetime, *, open_: bool) -> list[Stay]:
    return [Stay(here.open_command, sends, max(until, sends[0]), open_)] if here.open_command else []


def _time(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry["timestamp"])
