"""The way that a saga has taken through its table, read off its history. Pure.

Every entry of a history names the signal that made it, so each is looked up in the table at the position that the ones
before it led to. Where a cell has several ways out, what comes later tells which one was gone.

Entries that were coalesced are kept where they happened last. What they led to before is filled in where the rest would
not make a way without it: as few moves as will do. So only a saga on its way back, to which the same happened more than
once, may have gone another way than the one that is found; how it went forward, how it ended and where it stands is
always what it was.
"""

from collections.abc import Iterator
from typing import NamedTuple

from models.messages import instant_text
from models.states import EntryStatus, Position, SagaStatus
from saga.domain import Entry, Saga
from saga.history import owes_release
from saga.table import TABLES
from saga.transitions import Acknowledge, Conflict, Go, Note, Retry, SendAgain, Signal


class Move(NamedTuple):
    """An arrow of the state diagram that was gone: to another position, or back to the same where it asked again."""

    here: Position
    to: Position
    entry: int | None
    """The index of the entry that tells of it; None where only the count of a later one does."""


class _Way(NamedTuple):
    moves: tuple[Move, ...] = ()
    filled_in: int = 0
    """How many of them no entry in its place tells."""


_Ways = dict[Position, _Way]
"""The best way to each position that is possible."""


def way_taken(saga: Saga) -> list[Move]:
    """All moves of a saga, the oldest first; none where its table is another release's, or its history no way of it."""
    if saga.table_version not in TABLES:
        return []
    reader, ways = _Reader(saga), {Position.VALIDATING: _Way()}
    for index in range(len(saga.history)):
        ways = reader.after(reader.with_repetitions(ways, index), index)
    return list(ways.get(saga.position, _Way()).moves)


class _Reader:
    """Reads one history."""

    def __init__(self, saga: Saga) -> None:
        self._table = TABLES[saga.table_version]
        self._history = saga.history
        self._ended_at = instant_text(saga.completed_at) if saga.completed_at else None

    def after(self, ways: _Ways, index: int) -> _Ways:
        """Where these ways lead to once that entry has happened in its place."""
        entry, after = self._history[index], _Ways()
        for here, way in ways.items():
            for to, moved in self._leads(here, entry, index):
                if self._timely(here, to, entry):
                    moves = (*way.moves, Move(here, to, index)) if moved else way.moves
                    _keep(after, to, _Way(moves, way.filled_in))
        return after

    def with_repetitions(self, ways: _Ways, index: int) -> _Ways:
        """These ways, and those to other positions that lead on by what is told, counted, from that entry on."""
        counted = self._counted(index)
        found, new = dict(ways), ways
        while new and counted:
            further = _Ways()
            for here, way in new.items():
                targets = [to for entry in counted for to, _ in self._leads(here, entry, index)]
                for to in targets:
                    if to not in found:
                        _keep(further, to, _Way((*way.moves, Move(here, to, None)), way.filled_in + 1))
            found |= further
            new = further
        return found

    def _leads(self, here: Position, entry: Entry, index: int) -> Iterator[tuple[Position, bool]]:
        """Where an entry may lead to, the likelier first, and whether by an arrow; nowhere where it cannot be."""
        status = entry["status"]
        if status == EntryStatus.IGNORED:
            yield here, False
            return
        match cell := self._table[here][Signal(entry["event"])]:
            case Go():
                likely = self._turn(here, cell, index)
                yield likely, True
                if cell.if_owed and self._counted(index):
                    # what is owed may have been told where it happened first
                    yield (cell.to if likely is cell.if_owed else cell.if_owed), True
            case Retry():
                to = cell.if_cancelled if cell.if_cancelled and self._is_cancelled(index) else here
                yield to, status != EntryStatus.PARKED
            case SendAgain():
                yield here, True
            case Note():
                yield here, False
                yield cell.to, True
            case Conflict() | Acknowledge():
                yield here, False

    def _counted(self, index: int) -> list[Entry]:
        """What is told from there on and happened before as well."""
        return [entry for entry in self._history[index:] if entry.get("count", 1) > 1]

    def _turn(self, here: Position, cell: Go, index: int) -> Position:
        if cell.if_cancelled and self._is_cancelled(index):
            return cell.if_cancelled
        before = self._history[:index]
        if here.status is SagaStatus.COMPENSATED and self._ended_at:
            # with the end a release was told, wherever its entry is by now
            before = [entry for entry in before if entry["timestamp"] > self._ended_at]
        return cell.if_owed if cell.if_owed and owes_release(before) else cell.to

    def _is_cancelled(self, index: int) -> bool:
        cancelled = (Signal.CANCEL, EntryStatus.CANCELLED)
        return any((entry["event"], entry["status"]) == cancelled for entry in self._history[:index])

    def _timely(self, here: Position, to: Position, entry: Entry) -> bool:
        """Whether a move fits to when the saga ended."""
        time, end = entry["timestamp"], self._ended_at
        return (here.ended, to.ended) == (end is not None and time > end, end is not None and time >= end)


def _keep(ways: _Ways, to: Position, way: _Way) -> None:
    if to not in ways or way.filled_in < ways[to].filled_in:
        ways[to] = way
