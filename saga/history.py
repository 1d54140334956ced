"""The saga's history: what is written into it, what it remembers, and how it stays small.

It is the inbox too (semantics, rule 8), and what a row can be verified with: every entry names the signal that made it.
"""

from datetime import datetime

from models.messages import clip, instant_text
from models.states import Command, EntryStatus, IncidentKind
from saga.cells import REPLY_MODELS, Signal
from saga.values import Entry, Event, Incident, Saga


def entry_of(  # noqa: PLR0913 - an entry tells that much
    saga: Saga,
    event: Event,
    status: EntryStatus,
    say: str,
    now: datetime,
    *,
    step: Command | None = None,
    own_words: bool = False,
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
    """
    reply = REPLY_MODELS.get(event.signal)
    about = step or (reply.answers if reply else saga.position.open_command)
    spoken = event.words if status in (EntryStatus.COMPLETED, EntryStatus.FAILED) else None
    if not reply and event.words and not own_words:
        spoken = f"{say}: {event.words}"
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
    return entry


def append(history: list[Entry], entry: Entry, *, coalesce: bool = False) -> list[Entry]:
    """The history with one more entry; with `coalesce`, repetitions become one entry with a count, the newest."""
    if coalesce:
        for index in reversed(range(len(history))):
            old = history[index]
            if _alike(old, entry):
                again: Entry = {**entry, "count": old.get("count", 1) + 1}
                return [*history[:index], *history[index + 1 :], again]
    return [*history, entry]


def _alike(one: Entry, other: Entry) -> bool:
    """Whether two entries say the same, in whatever words. Of what was ignored or failed, our own words say why."""
    ours = one["status"] in (EntryStatus.IGNORED, EntryStatus.FAILED)
    return (one["step"], one["status"], one["event"], one.get("actor"), one["message"] if ours else "") == (
        other["step"],
        other["status"],
        other["event"],
        other.get("actor"),
        other["message"] if ours else "",
    )


def incident_of(kind: IncidentKind, entry: Entry) -> Incident:
    """An incident that begins with this entry."""
    return {"kind": kind, "since": entry["timestamp"], "detail": entry["message"]}


def seen_as(history: list[Entry], event: Event) -> list[str]:
    """With which statuses the message that brought this event was written before."""
    key = str(event.event_id)
    return [entry["status"] for entry in history if entry.get("eventId") == key]


def answer_of(entry: Entry) -> tuple[str, bool] | None:
    """Which command an entry definitely answers, and whether with success; None: none."""
    if entry["status"] in (EntryStatus.IGNORED, EntryStatus.CONFLICT):
        return None
    if entry["status"] == EntryStatus.RESOLVED:
        return entry["step"], entry["event"] == Signal.OPERATOR_SUCCEEDED
    reply = REPLY_MODELS.get(Signal(entry["event"]))
    return (reply.answers, reply.success) if reply else None


def owes_release(history: list[Entry]) -> bool:
    """Whether Inventory said that it reserved after it last said that it released."""
    reserved = released = -1
    for index, entry in enumerate(history):
        if entry["event"] == Signal.INVENTORY_RESERVED:
            reserved = index
        elif answer_of(entry) == (Command.RELEASE_INVENTORY, True):
            released = index
    return reserved > released
