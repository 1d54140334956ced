"""What a participant does with a command and what it answers: all of it but the bus."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from local.ledger import Answer, Effect, Ledger


class Behaviour(BaseModel):
    """How a participant treats one of its commands.

    `fail` is a definite refusal, `fail-retryable` a transient one; `slow` waits `seconds` before it does anything;
    `mute` does nothing and says nothing, `mute-after` does the work and drops the answer. A command that was answered
    before gets that answer again whatever is set here, only later (`slow`) or not at all (`mute`, `mute-after`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["normal", "fail", "fail-retryable", "slow", "mute", "mute-after"] = "normal"
    seconds: float = Field(default=1.0, ge=0, le=3600)
    reason: str = Field(default="told to fail", min_length=1, max_length=200)


class Item(BaseModel):
    """A line of an order."""

    model_config = ConfigDict(alias_generator=to_camel)

    product_name: str
    quantity: int


class Command(BaseModel):
    """A command of the order service, as far as a participant reads it."""

    model_config = ConfigDict(alias_generator=to_camel)

    event_id: UUID
    order_id: UUID
    saga_id: UUID | None = None
    items: list[Item] = []
    total_amount: Decimal = Decimal(0)


class Reply(BaseModel):
    """The body of an answer, with all that the contract says of replies."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    event_id: UUID = Field(default_factory=uuid4)
    order_id: UUID
    saga_id: UUID | None
    causation_id: UUID
    occurred_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    message: str | None = None
    reason: str | None = None
    retryable: bool | None = None


def no_objection(_: Command) -> str | None:
    """Nothing speaks against it."""
    return None


@dataclass(frozen=True)
class Rule:
    """One command: what it does or undoes, why it may be refused, and how both are answered.

    An action has `does`, a compensation `does` and `undoes`, a question neither. `amount` is what the ledger notes.
    `success` and `failure` are the routing keys of the answers.
    """

    success: str
    failure: str
    message: str
    amount: Callable[[Command], Decimal]
    does: Effect | None = None
    undoes: Effect | None = None
    objection: Callable[[Command], str | None] = no_objection


def carry_out(rule: Rule, command: Command, behaviour: Behaviour, ledger: Ledger) -> Answer:
    """Do what the command says, unless it was done before, and return the answer; both committed together.

    Two kinds of refusal are not remembered, since asking again must be able to succeed: the transient one, and the
    refusal to compensate, which the saga never takes for an end.
    """
    with ledger.transaction():
        if known := ledger.answer_to(command.event_id):
            return known
        if behaviour.mode == "fail-retryable":
            return refused(rule, command, behaviour.reason, retryable=True)
        reason = behaviour.reason if behaviour.mode == "fail" else objection(rule, command, ledger)
        if reason is None:
            write(rule, command, ledger)
            answer = answered(rule.success, command, message=rule.message)
        else:
            answer = refused(rule, command, reason, retryable=False)
        if reason is None or rule.undoes is None:
            ledger.remember(answer)
        return answer


def objection(rule: Rule, command: Command, ledger: Ledger) -> str | None:
    """Why the command is refused, None if it is not."""
    if rule.does and rule.undoes is None and ledger.is_closed(command.order_id, rule.does):
        # It was overtaken by its own compensation: done now, nobody would ever undo it.
        return f"{rule.does} came after its compensation"
    return rule.objection(command)


def write(rule: Rule, command: Command, ledger: Ledger) -> None:
    """Note what the command does. A compensation undoes what was really done and not undone yet, be it nothing."""
    order = command.order_id
    if rule.does is None:
        return
    if rule.undoes is None:
        ledger.do(order, rule.does, command.event_id, rule.amount(command))
        return
    if not ledger.is_closed(order, rule.undoes) and ledger.done(order, rule.undoes).times:
        ledger.do(order, rule.does, command.event_id, rule.amount(command))
    ledger.close_effect(order, rule.undoes)


def refused(rule: Rule, command: Command, reason: str, *, retryable: bool) -> Answer:
    """A failure answer."""
    return answered(rule.failure, command, reason=reason, retryable=retryable)


def answered(
    routing_key: str,
    command: Command,
    *,
    message: str | None = None,
    reason: str | None = None,
    retryable: bool | None = None,
) -> Answer:
    """An answer to the command, with an `eventId` of its own."""
    reply = Reply(
        order_id=command.order_id,
        saga_id=command.saga_id,
        causation_id=command.event_id,
        message=message,
        reason=reason,
        retryable=retryable,
    )
    body = reply.model_dump_json(by_alias=True, exclude_none=True).encode()
    return Answer(command.event_id, command.order_id, routing_key, reply.event_id, body)
