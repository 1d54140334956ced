"""Inventory and Billing as the contract wants them, as values: the one model that the search and the simulation share.

Kept: the same answer to the same `eventId`; success for the undo of something that was never done (null compensation);
refusal of the action that arrives after its own undo (hanging). A refusal to undo and a transient failure are not
remembered, since asking again must be able to succeed; each is a message of its own. Abstracted: items and amounts.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID, uuid5

from models.states import Command
from saga.transitions import REPLY_MODELS, Signal

ACTS = {Command.RESERVE_INVENTORY, Command.PROCESS_PAYMENT}
UNDOES = {
    Command.RELEASE_INVENTORY: Command.RESERVE_INVENTORY,
    Command.REFUND_PAYMENT: Command.PROCESS_PAYMENT,
}
SUCCESS = {reply.answers: signal for signal, reply in REPLY_MODELS.items() if reply.success}
FAILURE = {reply.answers: signal for signal, reply in REPLY_MODELS.items() if not reply.success}


class Turn(StrEnum):
    """What a participant does with a command that nothing else decides."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    HICCUPS = "has a transient failure"


class Answer(NamedTuple):
    """A reply on its way."""

    event_id: UUID
    signal: Signal
    causation_id: UUID
    retryable: bool = False

    def __str__(self) -> str:
        return f"{self.signal}{' (transient)' if self.retryable else ''}"


@dataclass(frozen=True, slots=True)
class Books:
    """What both participants know about one order: the truth."""

    done: tuple[Command, ...] = ()
    """Effective deeds. The undo of nothing is none."""
    closed: frozenset[Command] = frozenset()
    """Actions that were undone, done or not: refused from now on."""
    answers: frozenset[Answer] = frozenset()
    """What was answered for good, by the command's id."""
    hiccups: int = 0
    """Failures that were not for good."""

    def times(self, command: Command) -> int:
        """How often something was really done."""
        return self.done.count(command)

    def owed(self, action: Command) -> bool:
        """Whether an action was done more often than undone."""
        undo = next(undo for undo, undone in UNDOES.items() if undone is action)
        return self.times(action) != self.times(undo)

    def said(self, signal: Signal) -> bool:
        """Whether this was answered for good."""
        return any(answer.signal is signal for answer in self.answers)


def turns(books: Books, command: Command, command_id: UUID, hiccups: int) -> list[Turn]:
    """What may become of a command; the best comes first.

    Args:
        books: what is known.
        command: what is asked.
        command_id: under which identity.
        hiccups: how many failures may be not for good.
    """
    if any(answer.causation_id == command_id for answer in books.answers):
        return [Turn.SUCCEEDS]
    if command in books.closed:
        return [Turn.FAILS]
    undo = command in UNDOES
    return [
        Turn.SUCCEEDS,
        *([Turn.FAILS] if not undo or books.hiccups < hiccups else []),
        *([Turn.HICCUPS] if books.hiccups < hiccups else []),
    ]


def carry_out(books: Books, command: Command, command_id: UUID, turn: Turn) -> tuple[Books, Answer]:
    """The books afterwards, and the answer; both committed together."""
    known = next((answer for answer in books.answers if answer.causation_id == command_id), None)
    if known:
        return books, known
    undo = UNDOES.get(command)
    if turn is Turn.HICCUPS or (turn is Turn.FAILS and undo):
        again = replace(books, hiccups=books.hiccups + 1)
        event_id = uuid5(command_id, f"{turn} {again.hiccups}")
        return again, Answer(event_id, FAILURE[command], command_id, retryable=turn is Turn.HICCUPS)
    succeeds = turn is Turn.SUCCEEDS and command not in books.closed
    answer = Answer(uuid5(command_id, turn), (SUCCESS if succeeds else FAILURE)[command], command_id)
    effective = succeeds and (command in ACTS or (undo is not None and books.owed(undo)))
    return replace(
        books,
        done=tuple(sorted((*books.done, command))) if effective else books.done,
        closed=books.closed | {undo} if succeeds and undo else books.closed,
        answers=books.answers | {answer},
    ), answer


def truth(books: Books, command: Command, *, hasty: bool = False) -> bool | None:
    """What a person who reads the books says of a command: succeeded, failed, or (None) that nothing is certain yet.

    Args:
        books: what is read.
        command: the command that is open.
        hasty: whether what has not happened yet is taken for what will never happen.
    """
    if undone := UNDOES.get(command):
        return True if undone in books.closed or (hasty and not books.owed(undone)) else None
    if books.said(SUCCESS[command]):
        return True
    return False if hasty or books.said(FAILURE[command]) or command in books.closed else None
