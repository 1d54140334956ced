"""What must happen at every position upon every signal, written by hand, and nothing of it read from the table.

A word is what is seen of the saga afterwards:

- a position: it stands there, and sent what `SENDS` says of it, and what `ENDS` says if the order ends there;
- `again`: it stands where it stood, and sent its open command once more;
- `retry`: it backs off and sends again while sends are left, then parks with the incident that `PARKS` says;
- `.`: ignored; `conflict`: an earlier answer is contradicted, and a person is told; where nothing was answered it is
  ignored; `vouched`: the same, but only where a person gave that answer;
- `refused`; `same`: it is so already; `closes`: refused, but where there is an incident it is closed;
- `!` behind it: a person is told, by a late payment or a contradiction;
- `a/b`: b where the client has cancelled, where a release is owed, or (of `noted`) where no reply is in flight.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from models.states import Command, EntryStatus, IncidentKind, OrderEvent, Position, Timer
from saga.domain import Entry, Incident, Outcome
from saga.transitions import REPLY_MODELS, WHEN_DUE, Signal
from tests.table.dialogue import Dialogue, standing_at
from tests.table.test_cells import happens

P, G, C, K = Position, Signal, Command, IncidentKind

ON_THE_ROAD = """
                            validating reserving          charging   refunding releasing   completed failed             compensated
InventoryValidated          reserving  .                  .          .         .           .         conflict           conflict
InventoryValidationFailed   failed     conflict           conflict   conflict  conflict    conflict  conflict           conflict
InventoryReserved           .          charging/releasing .          .         again       .         failed-releasing!  compensated-releasing
InventoryReservationFailed  .          failed             conflict   conflict  conflict    conflict  conflict           conflict
PaymentProcessed            .          .                  completed  again!    refunding!  .         failed-refunding!  compensated-refunding!
PaymentFailed               .          .                  releasing  .         .           conflict  .                  .
PaymentRefunded             .          .                  .          releasing .           .         .                  .
PaymentRefundFailed         .          .                  .          retry     vouched     .         vouched            vouched
InventoryReleased           .          .                  .          .         compensated .         .                  .
InventoryReleaseFailed      .          .                  .          vouched   retry       .         vouched            vouched
transient failure           retry      retry/releasing    retry      retry     retry       .         .                  .
timeout                     retry      retry/releasing    retry      retry     retry       .         .                  .
retry due                   again      again              again      again     again       .         .                  .
re-ask due                  again      again              again      again     again       .         .                  .
CancelOrder                 failed     noted/releasing    refused    refused   refused     refused   refused            refused
operator: retry             again      again              again      again     again       refused   refused            refused
operator: resolve succeeded reserving  charging/releasing completed  releasing compensated closes    closes             closes
operator: resolve failed    failed     failed             releasing  refused   refused     closes    closes             closes
operator: compensate        failed     releasing          refunding  same      same        refused   same               same
"""  # noqa: E501 - a table
ENDED_AND_UNDOING = """
                            failed-refunding        failed-releasing  compensated-refunding             compensated-releasing
InventoryValidated          .                       .                 .                                 .
InventoryValidationFailed   conflict                conflict          conflict                          conflict
InventoryReserved           .                       again             .                                 again
InventoryReservationFailed  conflict                conflict          conflict                          conflict
PaymentProcessed            again!                  failed-refunding! again!                            compensated-refunding!
PaymentFailed               .                       .                 .                                 .
PaymentRefunded             failed/failed-releasing .                 compensated/compensated-releasing .
PaymentRefundFailed         retry                   vouched           retry                             vouched
InventoryReleased           .                       failed            .                                 compensated
InventoryReleaseFailed      vouched                 retry             vouched                           retry
transient failure           retry                   retry             retry                             retry
timeout                     retry                   retry             retry                             retry
retry due                   again                   again             again                             again
re-ask due                  again                   again             again                             again
CancelOrder                 refused                 refused           refused                           refused
operator: retry             again                   again             again                             again
operator: resolve succeeded failed/failed-releasing failed            compensated/compensated-releasing compensated
operator: resolve failed    refused                 refused           refused                           refused
operator: compensate        same                    same              same                              same
"""  # noqa: E501 - a table
SENDS = {
    P.VALIDATING: C.VALIDATE_INVENTORY,
    P.RESERVING: C.RESERVE_INVENTORY,
    P.CHARGING: C.PROCESS_PAYMENT,
    P.REFUNDING: C.REFUND_PAYMENT,
    P.FAILED_REFUNDING: C.REFUND_PAYMENT,
    P.COMPENSATED_REFUNDING: C.REFUND_PAYMENT,
    P.RELEASING: C.RELEASE_INVENTORY,
    P.FAILED_RELEASING: C.RELEASE_INVENTORY,
    P.COMPENSATED_RELEASING: C.RELEASE_INVENTORY,
}
ENDS = {
    P.COMPLETED: OrderEvent.ORDER_COMPLETED,
    P.FAILED: OrderEvent.ORDER_FAILED,
    P.COMPENSATED: OrderEvent.ORDER_FAILED,
}
PARKS = {
    P.VALIDATING: K.VALIDATION_UNANSWERED,
    P.RESERVING: K.RESERVATION_OUTCOME_UNKNOWN,
    P.CHARGING: K.PAYMENT_OUTCOME_UNKNOWN,
    P.REFUNDING: K.REFUND_UNANSWERED,
    P.FAILED_REFUNDING: K.REFUND_UNANSWERED,
    P.COMPENSATED_REFUNDING: K.REFUND_UNANSWERED,
    P.RELEASING: K.RELEASE_UNANSWERED,
    P.FAILED_RELEASING: K.RELEASE_UNANSWERED,
    P.COMPENSATED_RELEASING: K.RELEASE_UNANSWERED,
}
_NOTHING = {Outcome.REFUSED: "refused", Outcome.DUPLICATE: "same", Outcome.IGNORED: "."}
_INCIDENT = Incident(kind=K.CONTRADICTION, since="2024-12-05T10:00:00.000000Z", detail="somebody says otherwise")


def _read(table: str) -> Iterator[tuple[Position, Signal, str]]:
    head, *lines = table.strip("\n").splitlines()
    columns = [P[name.replace("-", "_").upper()] for name in head.split()]
    for line in lines:
        signal = next(one for one in Signal if line.startswith(f"{one} "))
        yield from ((here, signal, word) for here, word in zip(columns, line[len(signal) :].split(), strict=True))


EXPECTED = [*_read(ON_THE_ROAD), *_read(ENDED_AND_UNDOING)]


def seen(here: Position, signal: Signal) -> str:
    """What happens, in the words of the tables."""
    if signal in REPLY_MODELS and _quiet(_after(here, signal)):
        return _contradicted(here, signal)
    if signal in (G.OPERATOR_SUCCEEDED, G.OPERATOR_FAILED) and here.open_command is None:
        return _closed(here, signal)
    one = _word(here, signal)
    others = {one}
    if signal is G.CANCEL and here.open_command:
        others.add(_word(here, signal, timer=Timer.RETRY))
    elif signal is not G.CANCEL:
        others |= {_word(here, signal, cancel_requested=True), _word(here, signal, owed=True)}
    return "/".join([one, *sorted(others - {one})])


def _after(here: Position, signal: Signal, *, owed: bool = False, **changed: Any) -> Dialogue:
    saga = standing_at(here)
    # an incident, or one that is still open in the history, would hide the one that is opened
    history: list[Any] = [{k: v for k, v in entry.items() if k != "incident"} for entry in saga.saga.history]
    before = replace(saga.saga, **({"incident": None, "history": history} | changed))
    if owed:
        before = replace(before, history=[*before.history, _entry(C.RESERVE_INVENTORY, G.INVENTORY_RESERVED)])
    saga.decision = replace(saga.decision, saga=before)
    return happens(saga, signal)


def _word(here: Position, signal: Signal, **changed: Any) -> str:
    saga = _after(here, signal, **changed)
    outcome, after, sends = saga.decision.outcome, saga.saga, [send.kind for send in saga.decision.sends]
    if outcome in _NOTHING:
        return _NOTHING[outcome]
    told = "!" if after.incident and not after.parked else ""
    if after.position is here and sends == [SENDS.get(here)]:
        return f"again{told}"
    if after.position is here and not sends and after.timer is Timer.RETRY:
        last = _after(here, signal, sent=dict.fromkeys(C, 99)).saga
        parks = last.parked and last.incident and last.incident["kind"]
        return "retry" if parks == PARKS[here] else f"retry, and parks as {parks}"
    if after.position is here and not sends and after.cancel_requested:
        return "noted"
    due: list[object] = [ENDS[after.position]] if after.position in ENDS and not here.ended else []
    due += [SENDS[after.position]] if after.position in SENDS else []
    name = after.position.name.replace("_", "-").lower()
    return f"{name}{told}" if sends == due else f"{name}, and sends {sends}"


def _quiet(saga: Dialogue) -> bool:
    return saga.decision.outcome in (Outcome.IGNORED, Outcome.CONFLICT) and not saga.decision.sends


def _contradicted(here: Position, signal: Signal) -> str:
    """What becomes of a reply after the opposite one: never given, given by the participant, by a person."""
    reply = REPLY_MODELS[signal]
    opposite = next(s for s, model in REPLY_MODELS.items() if model.answers is reply.answers and model is not reply)
    verdict = G.OPERATOR_FAILED if reply.success else G.OPERATOR_SUCCEEDED
    outcomes = []
    for event, status in ((opposite, EntryStatus.COMPLETED), (verdict, EntryStatus.RESOLVED)):
        history = [*standing_at(here).saga.history, _entry(reply.answers, event, status)]
        saga = _after(here, signal, history=history)
        told = saga.saga.incident and saga.saga.incident["kind"]
        outcomes.append(saga.decision.outcome is Outcome.CONFLICT and told == K.CONTRADICTION)
    return {(True, True): "conflict", (False, True): "vouched", (False, False): "."}[outcomes[0], outcomes[1]]


def _closed(here: Position, signal: Signal) -> str:
    bare, told = _after(here, signal), _after(here, signal, incident=_INCIDENT)
    closed = told.saga.incident is None and told.decision.outcome is Outcome.APPLIED
    return "closes" if closed and bare.decision.outcome is Outcome.REFUSED else "."


def _entry(step: Command, event: Signal, status: EntryStatus = EntryStatus.IGNORED) -> Entry:
    return {
        "step": step, "status": status, "message": "so it was", "timestamp": _INCIDENT["since"], "attempt": 1,
        "event": event,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("here", "signal", "word"), EXPECTED, ids=[f"{here.name}-{signal}" for here, signal, _ in EXPECTED]
)
def test_what_happens_is_what_was_written_down(here: Position, signal: Signal, word: str) -> None:
    assert seen(here, signal) == word


def test_every_position_and_signal_is_written_down_once() -> None:
    assert sorted((here.name, signal) for here, signal, _ in EXPECTED) == sorted((p.name, s) for p in P for s in G)


def test_what_a_position_parks_and_sends_is_written_down() -> None:
    assert SENDS.keys() == PARKS.keys() == {here for here in P if here.open_command}
    assert not SENDS.keys() & ENDS.keys()
    assert all(signal in G for signal in WHEN_DUE.values())
