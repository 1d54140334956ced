"""An exhaustive search: one saga x Inventory and Billing x the network x crashes x people, breadth first.

Real: `begin` and `decide` with the real table and history; a state holds the very saga that they return. What may
happen at any moment, each a step: a committed command is published; any message that was ever sent is delivered; a
participant succeeds, fails for good, has a transient failure, or has answered before and says it again; the timer fires
in time, or so late that the saga is older than SAGA_TIMEOUT; a client cancels over HTTP, or the CancelOrder that is on
the bus from the beginning arrives; an operator asks again, compensates, or says what the participants' books say.

**The network never forgets.** A message that was sent may be delivered any number of times, at any time, in any order,
or never. So loss, delay, reordering and any number of copies are in every state, without a bound. So are crashes:
between commit and publish, delay; between publish and the deletion of the row, or between commit and acknowledgement,
one more copy. A state in which nothing is *owed* is judged as if all that is still on its way were lost.

**Worlds**, since no single one has it all. `lossy` loses messages, and its operators vouch only for what is certain.
`hasty` delivers everything at least once, and its operators take "not yet" for "never", so that every success may come
too late (where they vouch that nothing was charged, I5 is not asked). In `contradicting` any reply may come at any
moment, what is undone late also anew under another `eventId`, and only the laws of the saga itself are asked. In
`unasked` nobody asks parked commands again by himself.

**Abstracted**: time (a timer may fire whenever it is set), jitter and backoff; attempts beyond the planned ones; texts,
timestamps and counts; of the history, everything but what `decide` asks it (`facts_of`: `test_proof.py` shows that
sagas that are the same to `key_of` decide alike); order events, which I8 counts where they are sent. An order has at
most one failure that is not for good, so that coalescing forgets no `eventId`.

**Laws**: `laws.py`, of every decision, saga and state. **Liveness**: from every state, once faults stop (what is
committed is published, delivered and answered; timers fire), and also if all that is in flight is lost first, the way
leads to rest: ended, nothing open, and undone or completed. Where nobody asks again, resting visibly parked will do.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from models.states import Command, EntryStatus
from saga import decide as deciding
from saga.domain import Decision, Entry, Event, Policy, Saga, message_id, when_due
from saga.history import answers, ids_of, open_contradiction, owes_release
from saga.table import VERSION
from saga.transitions import REPLY_MODELS, Signal
from tests.proof import laws
from tests.proof.participants import UNDOES, Answer, Books, carry_out, truth, turns

START = datetime(2024, 12, 5, 10, 0, tzinfo=UTC)
DUE = START + timedelta(hours=1)
SAGA_ID, ORDER_ID = UUID(int=7), UUID(int=8)
PATIENT = Policy(retry_attempts=1, saga_timeout=timedelta(days=1))
COMMANDS = tuple(Command)
IDS = {command: message_id(SAGA_ID, command) for command in COMMANDS}
CANCEL_ORDER = len(COMMANDS)
"""The bit of the CancelOrder in flight; the commands' bits come before it, the answers' behind."""
_PAY, _RELEASE = (1 << COMMANDS.index(command) for command in (Command.PROCESS_PAYMENT, Command.RELEASE_INVENTORY))
_PEOPLE = {
    signal: Event(signal, ORDER_ID, actor=None if signal is Signal.CANCEL else "ann", words="so I say")
    for signal in (Signal.CANCEL, Signal.OPERATOR_RETRY, Signal.OPERATOR_COMPENSATE)
}
_VERDICTS = {True: Signal.OPERATOR_SUCCEEDED, False: Signal.OPERATOR_FAILED}
_BOOKS_BITS, _NET_BITS = 20, 48
LONGEST_WAY = 300
"""Steps to rest, at most."""

State = int
"""Numbers of a saga and of books, and two bits per message: it is owed (committed and not published yet, or, where
nothing is lost, not delivered yet); it was sent, and may come at any time."""


@dataclass(frozen=True, slots=True)
class World:
    """What can go wrong."""

    name: str
    policy: Policy = PATIENT
    loses: bool = False
    hasty: bool = False
    contradicts: bool = False
    cancels: bool = True
    """A CancelOrder is in flight from the beginning."""
    hiccups: int = 1
    """Failures that are not for good, at most."""


LOSSY = World("lossy", loses=True)
HASTY = World("hasty", hasty=True)
CONTRADICTING = World("contradicting", loses=True, contradicts=True)
UNASKED = World("unasked", replace(PATIENT, reask=None), loses=True, hiccups=0)


def small(world: World) -> World:
    """The same without retries, transient failures and a CancelOrder on the bus (one over HTTP may still come)."""
    policy = replace(world.policy, retry_attempts=0)
    return replace(world, name=f"small {world.name}", policy=policy, cancels=False, hiccups=0)


LONG = (LOSSY, small(HASTY), HASTY, CONTRADICTING, UNASKED)
SHORT = (small(LOSSY), small(HASTY), small(CONTRADICTING), small(UNASKED))


class BrokenError(Exception):
    """A law is broken by the step that this names."""

    def __init__(self, law: str, step: str) -> None:
        super().__init__(law)
        self.step = step


@dataclass(slots=True)
class Found:
    """What a search came to."""

    world: World
    states: int = 0
    sagas: int = 0
    depth: int = 0
    seconds: float = 0.0
    closed: bool = False
    """Whether every state that can be reached was."""
    broken: str | None = None
    trace: list[str] = field(default_factory=list)
    """The shortest way there."""

    def __str__(self) -> str:
        what = self.broken or ("closed" if self.closed else "clean so far")
        said = f"{self.world.name}: {self.states:,} states ({self.sagas:,} sagas), depth {self.depth}, "
        story = [f"  {number:>3}. {step}" for number, step in enumerate(self.trace, 1)]
        return "\n".join([f"{said}{self.seconds:.1f} s: {what}", *story])


Facts = tuple[bool, bool, frozenset[str], frozenset[tuple[tuple[str, bool], bool]]]


def facts_of(history: list[Entry]) -> Facts:
    """All that `decide` asks a history: is a release owed, a contradiction open, what was applied, what answered."""
    applied = {id_ for one in history if one["status"] != EntryStatus.IGNORED for id_ in ids_of(one)}
    answered = {(answer, vouched) for answer, vouched in answers(history).items() if answer[0] in COMMANDS}
    return owes_release(history), open_contradiction(history) is not None, frozenset(applied), frozenset(answered)


def essence(saga: Saga, policy: Policy) -> Saga:
    """The saga as far as `decide` can tell it from others; times are those of the search."""
    ended = saga.completed_at is not None
    # a command of the way forward is never sent again once it is left
    sendable = (saga.position.open_command, *UNDOES)
    return replace(
        saga,
        created_at=START,
        updated_at=START,
        entered_at=START,
        completed_at=START if ended else None,
        due_at=saga.due_at and DUE,
        sent={c: min(saga.sent[c], policy.retry_attempts + 1) for c in COMMANDS if c in saga.sent and c in sendable},
        incident=saga.incident and {"kind": saga.incident["kind"], "since": "", "detail": ""},
        failed_step=None if ended else saga.failed_step,
        reason=None if ended else saga.reason and "a reason",
    )


def key_of(saga: Saga, facts: Facts) -> tuple[object, ...]:
    """What tells essences apart."""
    return (
        saga.position.name, tuple(saga.sent.items()), saga.timer, saga.due_at, saga.completed_at, saga.cancel_requested,
        saga.incident["kind"] if saga.incident else None, saga.failed_step, saga.reason, facts,
    )  # fmt: skip


class Search:
    """The states of a world. Sagas, books and answers are kept once and called by number."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._parents: dict[State, State | None] = {}
        """Every state that was reached, and from where first."""
        self._at: State = 0
        """Where the search stands."""
        self._sagas: list[Saga] = []
        self._saga_numbers: dict[tuple[object, ...], int] = {}
        self._timed: set[tuple[object, ...]] = set()
        """Sagas but for their histories, whose timers were asked about."""
        self._books: list[Books] = []
        self._books_numbers: dict[Books, int] = {}
        self._replies: list[tuple[str, Event]] = [
            ("CancelOrder", Event(Signal.CANCEL, ORDER_ID, event_id=UUID(int=9), words="changed my mind"))
        ]
        self._answer_bits: dict[Answer, int] = {}
        self._decided: dict[tuple[int, object], tuple[str, int, int]] = {}
        self._carried_out: dict[tuple[int, int], list[tuple[str, int, int]]] = {}
        self._judged: dict[tuple[int, int, bool, bool, bool], str | None] = {}
        self._people: dict[tuple[int, int], list[tuple[str, int, int]]] = {}

    # ---------------------------------------------------------------------------------------------- what is known once

    def _saga_number(self, saga: Saga, step: str) -> int:
        known = essence(saga, self.world.policy)
        key = key_of(known, facts_of(saga.history))
        number = self._saga_numbers.get(key)
        if number is None:
            if key[:-1] not in self._timed:
                self._timed.add(key[:-1])
                for law in laws.of_saga(known, self.world.policy):
                    raise BrokenError(law, step)
            number = self._saga_numbers[key] = len(self._sagas)
            self._sagas.append(known)
        return number

    def _books_number(self, books: Books) -> int:
        number = self._books_numbers.get(books)
        if number is None:
            number = self._books_numbers[books] = len(self._books)
            self._books.append(books)
        return number

    def _answer_bit(self, answer: Answer) -> int:
        bit = self._answer_bits.get(answer)
        if bit is None:
            bit = self._answer_bits[answer] = 1 << CANCEL_ORDER + len(self._replies)
            _, signal, causation_id, retryable = answer
            event = Event(signal, ORDER_ID, answer.event_id, causation_id, retryable, words=None)
            self._replies.append((str(answer), event))
        return bit

    def _begin(self) -> State:
        world = self.world
        decision = deciding.begin(SAGA_ID, ORDER_ID, START, world.policy, VERSION)
        net, owed = 0, _sent(decision)
        if world.cancels and world.loses:
            net = 1 << CANCEL_ORDER
        elif world.cancels:
            owed |= 1 << CANCEL_ORDER
        if world.contradicts:
            for signal, reply in REPLY_MODELS.items():
                net |= self._answer_bit(Answer(uuid5(SAGA_ID, signal), signal, IDS[reply.answers]))
            for signal in (Signal.INVENTORY_RESERVED, Signal.PAYMENT_PROCESSED):
                command = REPLY_MODELS[signal].answers
                net |= self._answer_bit(Answer(uuid5(SAGA_ID, f"{signal}, anew"), signal, IDS[command]))
        owed = 0 if world.contradicts else owed
        return _pack(self._saga_number(decision.saga, "it begins"), self._books_number(Books()), owed, net)

    def _decide(self, number: int, what: object, event: Event, name: str, now: datetime) -> tuple[str, int, int]:
        """What an event does: the step in words, the saga's number afterwards, what is committed for publishing."""
        known = self._decided.get((number, what))
        if known is None:
            before, policy = self._sagas[number], self.world.policy
            decision = deciding.decide(before, event, now, policy)
            after = decision.saga
            sends = "".join(f", {send.kind}{' to the dead letters' * send.dead_letter}" for send in decision.sends)
            step = f"{name}: {decision.outcome}, {before.position.name} -> {after.position.name}{sends}"
            step += " (parked)" * after.parked + " (cancel requested)" * after.cancel_requested
            for law in (*laws.of_decision(before, event, decision, policy), *laws.of_repetition(after, event, policy)):
                raise BrokenError(law, step)
            sent = 0 if self.world.contradicts else _sent(decision)
            known = self._decided[number, what] = step, self._saga_number(after, step), sent
        return known

    def _hear(self, saga: int, bit: int) -> tuple[str, int, int]:
        known = self._decided.get((saga, bit))
        if known is None:
            name, event = self._replies[bit - CANCEL_ORDER]
            known = self._decide(saga, bit, event, f"{name} arrives", START)
        return known

    def _people_can(self, saga: int, books: int) -> list[tuple[str, int, int]]:
        """What people can do here that is not refused."""
        known = self._people.get((saga, books))
        if known is None:
            events, command = list(_PEOPLE.values()), self._sagas[saga].position.open_command
            said = truth(self._books[books], command, hasty=self.world.hasty) if command else True
            verdicts = (True, False) if self.world.contradicts else () if said is None else (said,)
            cause = IDS[command] if command else SAGA_ID
            events += [
                Event(_VERDICTS[verdict], ORDER_ID, causation_id=cause, actor="ann", words="I looked")
                for verdict in verdicts
            ]
            decided = [self._decide(saga, event.signal, event, event.signal, START) for event in events]
            known = self._people[saga, books] = [one for one in decided if one[1] != saga or one[2]]
        return known

    def _carry_out(self, books: int, command: int) -> list[tuple[str, int, int]]:
        """What may become of a command: in words, the number of the books afterwards, the answer's bit."""
        known = self._carried_out.get((books, command))
        if known is None:
            known = self._carried_out[books, command] = []
            before, asked = self._books[books], COMMANDS[command]
            for turn in turns(before, asked, IDS[asked], self.world.hiccups):
                after, answer = carry_out(before, asked, IDS[asked], turn)
                says = f"{asked} is delivered, answered with {answer}"
                known.append((says, self._books_number(after), self._answer_bit(answer)))
        return known

    # ----------------------------------------------------------------------------------------------------------- steps

    def _publish(self, state: State) -> Iterator[tuple[str, State]]:
        """Where messages are lost, publishing is a step: until then its outbox row keeps it safe."""
        saga, books, owed, net = _unpack(state)
        for bit in _bits(owed) if self.world.loses else ():
            yield f"{COMMANDS[bit]} is published", _pack(saga, books, owed ^ 1 << bit, net | 1 << bit)

    def _deliver(self, state: State, *, calmly: bool = False) -> Iterator[tuple[str, State]]:
        """Deliver a message. It may come again, except `calmly`: then each copy that is still to come comes once."""
        saga, books, owed, net = _unpack(state)
        loses = self.world.loses
        for bit in _bits(net if loses else owed if calmly else owed | net):
            left, kept = owed & ~(1 << bit), net & ~(1 << bit) if calmly else net | 1 << bit
            if bit < CANCEL_ORDER:
                for step, after, answer in self._carry_out(books, bit):
                    yield step, _pack(saga, after, left if loses else left | answer, kept | answer if loses else kept)
            else:
                step, after, sent = self._hear(saga, bit)
                yield step, _pack(after, books, left | sent, kept)

    def _expire(self, state: State, *, late: bool) -> Iterator[tuple[str, State]]:
        saga, books, owed, net = _unpack(state)
        value = self._sagas[saga]
        event = when_due(value)
        if event and value.due_at:
            now = DUE + self.world.policy.saga_timeout if late else DUE
            name = f"{event.signal}{', very late' * late}"
            step, after, sent = self._decide(saga, ("timer", late), event, name, now)
            yield step, _pack(after, books, owed | sent, net)

    def _act(self, state: State) -> Iterator[tuple[str, State]]:
        saga, books, owed, net = _unpack(state)
        for step, after, sent in self._people_can(saga, books):
            yield step, _pack(after, books, owed | sent, net)

    def _in_order(self, state: State) -> Iterator[tuple[str, State]]:
        """What happens where nothing goes wrong, the best first."""
        yield from self._publish(state)
        yield from self._deliver(state, calmly=True)
        yield from self._expire(state, late=False)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Whatever may happen."""
        yield from self._publish(state)
        yield from self._deliver(state)
        yield from self._expire(state, late=False)
        yield from self._expire(state, late=True)
        yield from self._act(state)

    # ---------------------------------------------------------------------------------------------------------- judging

    def _judge(self, state: State, step: str) -> None:
        """Ask the laws of the state."""
        if self.world.contradicts:
            return
        saga, books, owed, net = _unpack(state)
        way = owed | net
        asked = (saga, books, not owed, bool(way & _PAY), bool(way & _RELEASE))
        if asked not in self._judged:
            quiet, paying, releasing = asked[2:]
            releasing = releasing and not self.world.hasty
            laws_broken = laws.of_state(
                self._sagas[saga], self._books[books], quiet=quiet, paying=paying, releasing=releasing
            )
            self._judged[asked] = next(laws_broken, None)
        if law := self._judged[asked]:
            raise BrokenError(law, step)

    def _at_rest(self, state: State) -> bool:
        saga, books, owed, net = _unpack(state)
        value, kept = self._sagas[saga], self._books[books]
        if value.position.open_command:
            return value.parked and value.incident is not None and self.world.policy.reask is None
        even = not kept.owed(Command.RESERVE_INVENTORY) and not kept.owed(Command.PROCESS_PAYMENT)
        return not owed and not (net and self.world.loses) and (even or value.position.name == "COMPLETED")

    def _comes_to_rest(self, state: State, settled: set[State]) -> None:
        """Liveness, along the one way on which nothing goes wrong any more."""
        way: list[State] = []
        story: list[str] = []
        while state not in settled:
            way.append(state)
            taken = next(self._in_order(state), None)
            if taken is None and self._at_rest(state):
                break
            if taken is None or len(way) > LONGEST_WAY:
                story = story[:20] + ["and so on"] * (len(story) > 20)
                raise BrokenError("liveness: it never comes to rest", " | then ".join(story) or "nothing follows")
            story.append(taken[0])
            state = taken[1]
        settled.update(way)

    def run(self, limit: int, report: Callable[[int, int, float], None] | None = None) -> Found:
        """Visit every state, or about `limit` of them, the nearest first.

        Args:
            limit: the most states.
            report: is told, level by level, how many states, how deep, after how many seconds.
        """
        began = time.perf_counter()
        found = Found(self.world)
        try:
            frontier = [self._begin()]
            self._parents[frontier[0]] = None
            while frontier and len(self._parents) < limit:
                frontier = self._beyond(frontier)
                found.depth += bool(frontier)
                if report:
                    report(len(self._parents), found.depth, time.perf_counter() - began)
            found.closed = not frontier
            if not self.world.contradicts:
                self._all_come_to_rest()
        except BrokenError as error:
            found.broken, found.trace = str(error), [*self._trace(self._at), error.step]
        found.states, found.sagas, found.seconds = len(self._parents), len(self._sagas), time.perf_counter() - began
        return found

    def _beyond(self, frontier: list[State]) -> list[State]:
        """The states one step further."""
        beyond: list[State] = []
        for origin in frontier:
            self._at = origin
            for step, state in self._steps(origin):
                if state not in self._parents:
                    self._judge(state, step)
                    self._parents[state] = origin
                    beyond.append(state)
        return beyond

    def _all_come_to_rest(self) -> None:
        settled: set[State] = set()
        for state in self._parents:
            self._at = state
            self._comes_to_rest(state, settled)
            if self.world.loses:
                self._comes_to_rest(state >> _NET_BITS << _NET_BITS, settled)

    def _trace(self, state: State) -> list[str]:
        """The shortest way to a state."""
        story: list[str] = []
        while (parent := self._parents.get(state)) is not None:
            story.append(next(step for step, after in self._steps(parent) if after == state))
            state = parent
        return story[::-1]


def _sent(decision: Decision) -> int:
    return sum(
        1 << COMMANDS.index(send.kind)
        for send in decision.sends
        if isinstance(send.kind, Command) and not send.dead_letter
    )


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def _pack(saga: int, books: int, owed: int, net: int) -> State:
    return ((saga << _BOOKS_BITS | books) << _NET_BITS | owed) << _NET_BITS | net


def _unpack(state: State) -> tuple[int, int, int, int]:
    net = state & (1 << _NET_BITS) - 1
    state >>= _NET_BITS
    owed = state & (1 << _NET_BITS) - 1
    state >>= _NET_BITS
    return state >> _BOOKS_BITS, state & (1 << _BOOKS_BITS) - 1, owed, net
