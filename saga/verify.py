"""Verifying a saga: its history, folded over the table, must give its row (I11). Pure.

Every entry of a history names the signal that made it. So the saga is born again and told all of it, by `decide`
itself, and must come to where its row stands.

Two things a history does not say. One is the policy of that time: whether a failed attempt was the last one is read
from the entry about parking beside it. The other is how often and when something happened before that was coalesced
into one entry with a `count`. Such an entry may have happened at any time before as well; so the fold goes on with
*every* way that the saga may have taken, one of each kind, and one of them has to lead to the row. Numbers are compared
exactly where nothing was coalesced, else within what is possible.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from models.messages import instant_text
from models.states import Command, EntryStatus, OrderStatus
from saga.cells import WHEN_DUE, Go, Note, Retry, SendAgain, Signal
from saga.decide import begin, decide
from saga.history import answer_of, owes_release
from saga.table import TABLES
from saga.values import Deadline, Entry, Event, Policy, Saga

# more sends than can be set, and fewer than a float can double
_GOES_ON = Policy(retry_attempts=64, retry_delay=timedelta(0), saga_timeout=timedelta.max)
_PARKS = Policy(retry_attempts=0, saga_timeout=timedelta(0))


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
    exact = not any(_repeated(saga.history))
    ways = [begin(saga.id, saga.order_id, saga.created_at, _GOES_ON, saga.table_version).saga]
    for index, entry in enumerate(saga.history):
        if entry["status"] == EntryStatus.PARKED and index and _together(saga.history[index - 1], entry):
            # it came with the failed attempt before it
            continue
        ways = _with_repetitions(ways, list(_repeated(saga.history[index:])))
        parks = _may_have_parked(saga.history, index)
        ways = _kinds(after for way in ways for after in _told(way, entry, parks, exact=exact))
        if not ways:
            what = f"{entry['step']} {entry['status']}, upon {entry['event']}"
            return [f"history: entry {index + 1} ({what}) cannot follow those before it"]
    return min((_compare(saga, way, exact=exact) for way in ways), key=len)


def _told(saga: Saga, entry: Entry, parks: Iterable[bool], *, exact: bool = False) -> Iterator[Saga]:
    """Where the saga may stand once that has happened; nothing where it cannot happen.

    Args:
        saga: where it stands before.
        entry: what its history says of it.
        parks: whether a failed attempt is the last one.
        exact: whether the attempts have to be right as well.
    """
    now = datetime.fromisoformat(entry["timestamp"])
    if entry["status"] == EntryStatus.IGNORED:
        yield replace(saga, updated_at=now, history=[*saga.history, entry])
        return
    event = Event(Signal(entry["event"]), saga.order_id, actor=entry.get("actor"), deadline=Deadline.of(saga))
    if event.signal in WHEN_DUE.values():
        if saga.timer is None or WHEN_DUE[saga.timer] is not event.signal:
            return
        saga = replace(saga, due_at=now)
    for park in parks:
        after = decide(saga, event, now, _PARKS if park else _GOES_ON).saga
        *_, before, last = (None, None, *after.history)
        written = before if park else last
        if after is saga or written is None or last is None or park != (last["status"] == EntryStatus.PARKED):
            continue
        same = (written["step"], written["status"]) == (entry["step"], entry["status"])
        if same and (not exact or written["attempt"] == entry["attempt"]):
            yield after


def _repeated(history: Iterable[Entry]) -> Iterator[Entry]:
    return (entry for entry in history if entry.get("count", 1) > 1)


def _together(one: Entry, other: Entry) -> bool:
    return (one["event"], one["timestamp"]) == (other["event"], other["timestamp"])


def _may_have_parked(history: list[Entry], index: int) -> list[bool]:
    """Whether what this entry tells of parked the saga: as the next one says, unless it was coalesced into a later."""
    after = [entry for entry in history[index + 1 :] if entry["status"] == EntryStatus.PARKED]
    if after and after[0] is history[index + 1] and _together(history[index], after[0]):
        return [True]
    return [False, True] if any(_repeated(after)) else [False]


def _with_repetitions(ways: list[Saga], entries: list[Entry]) -> list[Saga]:
    """These ways, and all that these entries lead to if they happened here, as often as it may have been."""
    entries = [entry for entry in entries if entry["status"] != EntryStatus.PARKED]
    if not entries:
        return ways
    while True:
        more = _kinds([*ways, *(new for way in ways for entry in entries for new in _told(way, entry, (False, True)))])
        if len(more) == len(ways):
            return ways
        ways = more


def _kinds(ways: Iterable[Saga]) -> list[Saga]:
    """One of each kind: those that differ in nothing that the future depends on, nor the comparison."""
    kinds: dict[Any, Saga] = {}
    for way in ways:
        incident = way.incident["kind"] if way.incident else None
        answers = frozenset(map(answer_of, way.history))
        state = way.position, way.timer, incident, way.cancel_requested, way.failed_step
        kinds.setdefault((*state, owes_release(way.history), answers), way)
    return list(kinds.values())


def _compare(row: Saga, way: Saga, *, exact: bool) -> list[str]:
    """In what the row differs from where a way leads."""
    pairs: list[tuple[str, Any, Any]] = [
        ("position", _name(row), _name(way)),
        ("timer", row.timer, way.timer),
        ("incident", row.incident["kind"] if row.incident else None, way.incident["kind"] if way.incident else None),
        ("cancel_requested", row.cancel_requested, way.cancel_requested),
        ("failed_step", row.failed_step, way.failed_step),
    ]
    newest = row.history[-1]["timestamp"] if row.history else instant_text(row.created_at)
    pairs.append(("updated_at", instant_text(row.updated_at), newest))
    if exact:
        pairs += [("sent", row.sent, way.sent), ("completed_at", row.completed_at, way.completed_at)]
    wrong = [f"{what}: the row has {had}, its history gives {given}" for what, had, given in pairs if had != given]
    return wrong if exact else wrong + list(_impossible(row))


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
