"""Verifying a saga: its history, folded over the table, must give its row (I11). Pure.

Every entry of a history names the signal that made it. So the saga is born again and told all of it, by `decide`
itself, and must come to where its row stands.

Two things a history does not say. One is the policy of that time: whether a failed attempt was the last one is read
from the entry about parking beside it. The other is how often and when something happened before that was coalesced
into one entry with a `count`. Such an entry may have happened at any time before as well; so the fold goes on with
*every* way that the saga may have taken, one of each kind, and one of them has to lead to the row. Numbers are compared
exactly where nothing was coalesced, else within what is possible.

That ends soon however much was coalesced: what a way may become is worked out once for its kind and an entry, and there
are few kinds. For that a way remembers of its history only what tells kinds apart (`_memory`). Which answers a Conflict
contradicts is looked up in the row: any that was given before, or may have been.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from models.messages import instant_text
from models.states import Command, EntryStatus, IncidentKind, OrderStatus, Timer
from saga.decide import begin, decide
from saga.domain import Deadline, Entry, Event, Policy, Saga
from saga.history import acknowledges, answer_of, open_contradiction, owes_release
from saga.table import TABLES
from saga.transitions import (
    REPLY_MODELS,
    WHEN_DUE,
    Already,
    Conflict,
    Go,
    Ignore,
    Note,
    Refuse,
    Retry,
    SendAgain,
    Signal,
)

# more sends than can be set, and fewer than a float can double; every deadline at once, so that it is the earliest
_GOES_ON = Policy(timedelta(0), 64, timedelta(0), timedelta.resolution, timedelta.max)
_PARKS = replace(_GOES_ON, retry_attempts=0, saga_timeout=timedelta(0))
_NEVER = timedelta(days=3650)
"""A deadline so far ahead will never come."""

_Kind = tuple[Any, ...]


def differences(saga: Saga, order_status: OrderStatus) -> list[str]:
    """All that is wrong with a saga and its order, in words; nothing where all is well."""
    due = saga.position.order_status
    try:
        wrong = refold(saga)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        wrong = [f"history: it cannot be read ({type(error).__name__}: {error})"]
    return wrong + ([f"the order is {order_status}, its saga makes it {due}"] if order_status != due else [])


def refold(saga: Saga) -> list[str]:
    """In what a saga's row differs from what its history leads to; nothing where all is well."""
    if saga.table_version not in TABLES:
        return [f"table version {saga.table_version} is not known here"]
    return _Fold(saga).differences()


class _Fold:
    """The ways that a row's history may stand for."""

    def __init__(self, row: Saga) -> None:
        self._row = row
        self._exact = not any(map(_is_repeated, row.history))
        self._worked_out: dict[tuple[_Kind, int], list[tuple[bool, Saga]]] = {}

    def differences(self) -> list[str]:
        """In what the row differs from the way that comes closest."""
        row = self._row
        ways = [begin(row.id, row.order_id, row.created_at, _GOES_ON, row.table_version).saga]
        for index, entry in enumerate(row.history):
            if entry["status"] == EntryStatus.PARKED and index and _together(row.history[index - 1], entry):
                # it came with the failed attempt before it
                continue
            parks = _may_have_parked(row.history, index)
            ways = _kinds(
                after for way in self._with_repetitions(ways, index) for park, after in self._told(way, index)
                if park in parks
            )  # fmt: skip
            if not ways:
                what = f"{entry['step']} {entry['status']}, upon {entry['event']}"
                return [f"history: entry {index + 1} ({what}) cannot follow those before it"]
        return min((_compare(row, way, exact=self._exact) for way in ways), key=len)

    def _with_repetitions(self, ways: list[Saga], index: int) -> list[Saga]:
        """These ways, and all that coalesced entries lead to if they happened here, as often as it may have been."""
        history = self._row.history
        later = [
            number
            for number in range(index, len(history))
            if _is_repeated(history[number]) and history[number]["status"] != EntryStatus.PARKED
        ]
        found = {_kind(way): way for way in ways}
        new = ways
        while new:
            told = [after for way in new for number in later for _, after in self._told(way, number)]
            new = [way for way in _kinds(told) if _kind(way) not in found]
            found |= {_kind(way): way for way in new}
        return list(found.values())

    def _told(self, way: Saga, index: int) -> list[tuple[bool, Saga]]:
        """Where a way may lead once that entry has happened, and whether by parking; nowhere where it cannot happen."""
        if self._exact:
            return list(self._tell(way, index))
        known = self._worked_out.get((_kind(way), index))
        if known is None:
            # how often something was sent is looked at in the row; here once is enough
            once = replace(way, sent=dict.fromkeys(way.sent, 1))
            known = self._worked_out[_kind(way), index] = list(self._tell(once, index))
        return known

    def _tell(self, way: Saga, index: int) -> Iterator[tuple[bool, Saga]]:
        entry = self._row.history[index]
        now = datetime.fromisoformat(entry["timestamp"])
        if entry["status"] == EntryStatus.IGNORED:
            yield False, replace(way, updated_at=now, history=_memory([*way.history, entry]))
            return
        signal = Signal(entry["event"])
        cell = TABLES[way.table_version][way.position][signal]
        due = way.timer and WHEN_DUE[way.timer]
        if isinstance(cell, Ignore | Refuse | Already) or (signal in WHEN_DUE.values() and signal is not due):
            return
        event = Event(signal, way.order_id, words=_words(entry), actor=entry.get("actor"), deadline=Deadline.of(way))
        before = self._answered(index) if isinstance(cell, Conflict) else way.history
        before_it = replace(way, history=before, due_at=now if signal is due else way.due_at)
        for park in (False, True) if isinstance(cell, Retry) else (False,):
            after = decide(before_it, event, now, _PARKS if park else _GOES_ON).saga
            *_, first, last = (None, None, *after.history)
            written = first if park else last
            if after is before_it or not written or not last or park != (last["status"] == EntryStatus.PARKED):
                continue
            same = (written["step"], written["status"]) == (entry["step"], entry["status"])
            if same and (not self._exact or written["attempt"] == entry["attempt"]):
                yield park, replace(after, history=_memory([*way.history, written]))

    def _answered(self, index: int) -> list[Entry]:
        """What may have been answered before that entry, people's words last: as late as they may have been."""
        history = self._row.history
        if self._exact:
            return history[:index]
        before = [*history[:index], *filter(_is_repeated, history[index:])]
        return sorted(before, key=lambda entry: entry["status"] == EntryStatus.RESOLVED)


def _words(entry: Entry) -> str | None:
    """The participant's or the person's own words that an entry was made with; ours in their place do no harm."""
    return entry.get("words") or (entry["message"] if entry["event"] in REPLY_MODELS else None)


def _is_repeated(entry: Entry) -> bool:
    return entry.get("count", 1) > 1


def _together(one: Entry, other: Entry) -> bool:
    return (one["event"], one["timestamp"]) == (other["event"], other["timestamp"])


def _may_have_parked(history: list[Entry], index: int) -> tuple[bool, ...]:
    """Whether what this entry tells of parked the saga: as the next one says, unless it was coalesced into a later."""
    after = [entry for entry in history[index + 1 :] if entry["status"] == EntryStatus.PARKED]
    if after and after[0] is history[index + 1] and _together(history[index], after[0]):
        return (True,)
    return (False, True) if any(map(_is_repeated, after)) else (False,)


_REMEMBERED: tuple[Callable[[Entry], bool], ...] = (
    lambda entry: entry["event"] == Signal.INVENTORY_RESERVED,
    lambda entry: answer_of(entry) == (Command.RELEASE_INVENTORY, True),
    lambda entry: entry.get("incident") == IncidentKind.CONTRADICTION,
    acknowledges,
)


def _memory(history: list[Entry]) -> list[Entry]:
    """Of a history, the newest entry of each sort that `decide` asks for where nothing is contradicted."""
    newest = {next((i for i in reversed(range(len(history))) if sort(history[i])), None) for sort in _REMEMBERED}
    return [entry for index, entry in enumerate(history) if index in newest]


def _kind(way: Saga) -> _Kind:
    """What the future of a way depends on, and the comparison."""
    incident = way.incident["kind"] if way.incident else None
    state = way.position.name, way.timer, incident, way.cancel_requested, way.failed_step, way.reason
    return *state, owes_release(way.history), open_contradiction(way.history) is not None


def _kinds(ways: Iterable[Saga]) -> list[Saga]:
    """One of each kind."""
    kinds: dict[_Kind, Saga] = {}
    for way in ways:
        kinds.setdefault(_kind(way), way)
    return list(kinds.values())


def _compare(row: Saga, way: Saga, *, exact: bool) -> list[str]:
    """In what the row differs from where a way leads."""
    pairs: list[tuple[str, Any, Any]] = [
        ("position", _name(row), _name(way)),
        ("timer", row.timer, way.timer),
        ("incident", row.incident["kind"] if row.incident else None, way.incident["kind"] if way.incident else None),
        ("cancel_requested", row.cancel_requested, way.cancel_requested),
        ("failed_step", row.failed_step, way.failed_step),
        ("reason", row.reason, way.reason),
    ]
    newest = row.history[-1]["timestamp"] if row.history else instant_text(row.created_at)
    pairs.append(("updated_at", instant_text(row.updated_at), newest))
    if exact:
        pairs += [("sent", row.sent, way.sent), ("completed_at", row.completed_at, way.completed_at)]
    wrong = [f"{what}: the row has {had}, its history gives {given}" for what, had, given in pairs if had != given]
    wrong += _untimely(row, way.due_at or row.created_at if exact else row.created_at)
    return wrong if exact else wrong + list(_impossible(row))


def _untimely(row: Saga, earliest: datetime) -> Iterator[str]:
    """A deadline that cannot be: only what is parked may have none."""
    if row.due_at is None:
        if row.timer not in (None, Timer.REASK):
            yield f"due_at: there is none, and the timer is {row.timer}"
    elif row.timer is None or not earliest <= row.due_at <= row.updated_at + _NEVER:
        yield f"due_at: {row.due_at} is no deadline of this saga"


def _impossible(row: Saga) -> Iterator[str]:
    """Numbers of a row that cannot be, whatever the coalesced entries stand for."""
    if row.completed_at and not row.created_at <= row.completed_at <= row.updated_at:
        yield f"completed_at: {row.completed_at} is not within the saga's life"
    for command in Command:
        least = max((entry["attempt"] for entry in row.history if _was_sent(entry, command)), default=0)
        births = 1 if command is Command.VALIDATE_INVENTORY else 0
        most = births + sum(entry.get("count", 1) for entry in row.history if command in _may_send(row, entry))
        if not least <= row.sent.get(command, 0) <= most:
            yield f"sent: {command} {row.sent.get(command, 0)} times, its history gives {least} to {most}"


def _was_sent(entry: Entry, command: Command) -> bool:
    """Whether an entry's attempt is one of this command's; what was ignored may tell of one that was never sent."""
    return entry["step"] == command and entry["status"] not in (EntryStatus.IGNORED, EntryStatus.CONFLICT)


def _may_send(row: Saga, entry: Entry) -> set[str | None]:
    """The commands that an entry's signal may have sent, wherever the saga stood."""
    if entry["status"] == EntryStatus.IGNORED:
        return set()
    targets: set[Any] = set()
    for cells in TABLES[row.table_version].values():
        match cells[Signal(entry["event"])]:
            case Go(to=to, if_cancelled=cancelled, if_owed=owed):
                targets |= {to, cancelled, owed}
            case Retry(if_cancelled=cancelled):
                targets.add(cancelled)
            case Note(to=to):
                targets.add(to)
            case SendAgain():
                return {entry["step"]}
    return {target.open_command for target in targets if target}


def _name(saga: Saga) -> str:
    return saga.position.name.replace("_", "-").lower()
