"""The saga's history: what is written into it, what it remembers, and how it stays small.

It is the inbox too (docs/state-machine.md, rule 8), and what a row can be verified with: every entry names the signal
that made it.
"""

from datetime import datetime

from models.messages import clip, instant_text
from models.states import Command, EntryStatus, IncidentKind
from saga.domain import Entry, Event, Incident, Saga
from saga.transitions import REPLY_MODELS, Signal

MOST_REASONS = 20
"""Entries of one kind by people, with a reason each; then the oldest gives way."""
MOST_IDS = 50
"""Replaced messages that an entry remembers; who sends one again after so many others is taken for new."""
_COMMANDS = frozenset(Command)


def entry_of(  # noqa: PLR0913 - an entry tells that much
    saga: Saga,
    event: Event,
    status: EntryStatus,
    say: str,
    now: datetime,
    *,
    step: Command | None = None,
    own_words: bool = False,
    incident: IncidentKind | None = None,
) -> Entry:
    """What is to be written about an event, now.

    Args:
        saga: as it stands after the event, where `attempt` counts.
        event: what happened.
        status: what became of the step.
        say: our words; a participant's own are shown in their place where it finished or failed a step.
        now: the database's clock.
        step: what it is about, where that is neither what was answered nor what is open.
        own_words: only ours.
        incident: what it shows to a person.
    """
    reply = REPLY_MODELS.get(event.signal)
    about = step or (reply.answers if reply else saga.position.open_command)
    spoken = event.words if status in (EntryStatus.COMPLETED, EntryStatus.FAILED) else None
    persons = event.words if not reply and not own_words else None
    if persons:
        spoken = f"{say}: {persons}"
    entry: Entry = {
        "step": about or saga.position.current_step,
        "status": status,
        "message": clip(say if own_words else spoken or say),
        "timestamp": instant_text(now),
        "attempt": max(saga.sent.get(about, 0), 1) if about else 1,
        "event": event.signal if not event.retryable else Signal.TRANSIENT_FAILURE,
    }
    if event.event_id:
        entry["eventId"] = str(event.event_id)
    if event.actor:
        entry["actor"] = event.actor
    if persons:
        entry["words"] = clip(persons)
    if incident:
        entry["incident"] = incident
    return entry


def append(history: list[Entry], entry: Entry, *, coalesce: bool = False) -> list[Entry]:
    """The history with one more entry; with `coalesce`, repetitions become one entry with a count, the newest."""
    old = _repeated(history, entry) if coalesce else None
    if old is None:
        return [*history, entry]
    again: Entry = {**entry, "count": old.get("count", 1) + 1}
    if (ids := ids_of(old)) and entry["status"] != EntryStatus.IGNORED:
        again["earlierIds"] = ids[-MOST_IDS:]
    return [*(one for one in history if one is not old), again]


def _repeated(history: list[Entry], entry: Entry) -> Entry | None:
    """The entry whose place this one takes; None where it says something new."""
    alike = [old for old in history if _kind(old) == _kind(entry)]
    if "actor" not in entry:
        return alike[-1] if alike else None
    same = [old for old in alike if (old["actor"], old["message"]) == (entry["actor"], entry["message"])]
    # what people say is kept word for word, but not without end
    return same[-1] if same else alike[0] if len(alike) >= MOST_REASONS else None


def _kind(entry: Entry) -> tuple[object, ...]:
    """What entries that say the same have in common. Of what was ignored or failed, our own words say why."""
    why = entry["message"] if entry["status"] in (EntryStatus.IGNORED, EntryStatus.FAILED) else ""
    return entry["step"], entry["status"], entry["event"], "actor" in entry, entry.get("incident"), why


def incident_of(kind: IncidentKind, entry: Entry) -> Incident:
    """An incident that begins with this entry."""
    return {"kind": kind, "since": entry["timestamp"], "detail": entry["message"]}


def open_contradiction(history: list[Entry]) -> Incident | None:
    """The newest contradiction that no person has acknowledged since; None: there is none."""
    for entry in reversed(history):
        if entry.get("incident") == IncidentKind.CONTRADICTION:
            return incident_of(IncidentKind.CONTRADICTION, entry)
        if acknowledges(entry):
            return None
    return None


def acknowledges(entry: Entry) -> bool:
    """Whether a person closed what was open: a verdict that was about no command."""
    return entry["status"] == EntryStatus.RESOLVED and entry["step"] not in _COMMANDS


def ids_of(entry: Entry) -> list[str]:
    """The `eventId`s of the messages that an entry stands for, the newest last."""
    return [*entry.get("earlierIds", []), *([entry["eventId"]] if "eventId" in entry else [])]


def seen_as(history: list[Entry], event: Event) -> list[str]:
    """With which statuses the message that brought this event was written before."""
    key = str(event.event_id)
    return [entry["status"] for entry in history if key in ids_of(entry)]


def answer_of(entry: Entry) -> tuple[str, bool] | None:
    """Which command an entry definitely answers, and whether with success; None: none."""
    if entry["status"] in (EntryStatus.IGNORED, EntryStatus.CONFLICT):
        return None
    if entry["status"] == EntryStatus.RESOLVED:
        return entry["step"], entry["event"] == Signal.OPERATOR_SUCCEEDED
    reply = REPLY_MODELS.get(Signal(entry["event"]))
    return (reply.answers, reply.success) if reply else None


def answers(history: list[Entry]) -> dict[tuple[str, bool], bool]:
    """What was answered (command, success), and of each whether the latest such answer was a person's word."""
    return {answer: entry["status"] == EntryStatus.RESOLVED for entry in history if (answer := answer_of(entry))}


def owes_release(history: list[Entry]) -> bool:
    """Whether Inventory said that it reserved after it last said that it released."""
    reserved = released = -1
    for index, entry in enumerate(history):
        if entry["event"] == Signal.INVENTORY_RESERVED:
            reserved = index
        elif answer_of(entry) == (Command.RELEASE_INVENTORY, True):
            released = index
    return reserved > released
