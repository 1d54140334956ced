"""What the contract asks of a participant: one suite, run against both of them on the real broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import aio_pika
import pytest
from yarl import URL

from local import billing, inventory
from local.broker import RabbitMQ
from local.ledger import Record, Tally, read
from local.participant import Handled, Participant
from local.rule import Behaviour
from tests.local.bus import SECONDS, Bus, command


class Case(NamedTuple):
    """A participant with its action and that action's compensation."""

    participant: Participant
    act: str
    undo: str
    amount: Decimal
    handled: "asyncio.Queue[Handled]"
    ledger: Path

    def success(self, name: str) -> str:
        return self.participant.rules[name].success

    def failure(self, name: str) -> str:
        return self.participant.rules[name].failure

    def done(self, order_id: str) -> Tally:
        record = self.record(order_id)
        return record.reserved if self.act == "ReserveInventory" else record.charged

    def undone(self, order_id: str) -> Tally:
        record = self.record(order_id)
        return record.released if self.act == "ReserveInventory" else record.refunded

    def record(self, order_id: str) -> Record:
        return read(self.ledger).get(UUID(order_id), Record())

    async def next_handled(self) -> Handled:
        async with asyncio.timeout(SECONDS):
            return await self.handled.get()


CASES = {
    "inventory": (inventory.RULES, "ReserveInventory", "ReleaseInventory", Decimal(2)),
    "billing": (billing.RULES, "ProcessPayment", "RefundPayment", Decimal("1299.99")),
}


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest, bus: Bus, vhost: str, tmp_path: Path) -> AsyncIterator[Case]:
    rules, act, undo, amount = CASES[request.param]
    ledger = tmp_path / "ledger.sqlite"
    handled: asyncio.Queue[Handled] = asyncio.Queue()
    participant = Participant(request.param, rules, rabbitmq_url=vhost, ledger=ledger)
    participant.tell = handled.put_nowait
    async with participant:
        yield Case(participant, act, undo, amount, handled, ledger)


async def test_every_command_is_answered_with_all_that_the_contract_says(case: Case, bus: Bus) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    for name, rule in case.participant.rules.items():
        asked = command()
        await bus.send(name, json.dumps(asked).encode(), trace)
        answer = await bus.answer()
        said = json.loads(answer.body)
        assert (answer.routing_key, said["message"]) == (rule.success, rule.message)
        assert (said["orderId"], said["sagaId"], said["causationId"]) == (
            asked["orderId"],
            asked["sagaId"],
            asked["eventId"],
        )
        assert said["occurredAt"].endswith("Z")
        assert (answer.message_id, answer.correlation_id, answer.type) == (
            said["eventId"],
            asked["sagaId"],
            rule.success,
        )
        assert (answer.content_type, answer.delivery_mode) == ("application/json", aio_pika.DeliveryMode.PERSISTENT)
        assert {key: answer.headers[key] for key in trace} == trace


async def test_the_same_command_again_gets_the_very_same_answer_and_happens_once(case: Case, bus: Bus) -> None:
    asked = command()
    answers = []
    for attempt in (1, 2, 3):
        await bus.send(case.act, json.dumps(asked | {"attempt": attempt}).encode())
        answers.append(await bus.answer())
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.message_id for answer in answers}) == 1
    assert case.done(asked["orderId"]) == Tally(1, case.amount)


async def test_copies_that_arrive_together_happen_once(case: Case, bus: Bus) -> None:
    asked = command()
    await asyncio.gather(*(bus.send(case.act, json.dumps(asked).encode()) for _ in range(20)))
    assert len({(await bus.answer()).body for _ in range(20)}) == 1
    assert case.done(asked["orderId"]) == Tally(1, case.amount)


async def test_what_was_done_is_undone_once_however_often_it_is_asked(case: Case, bus: Bus) -> None:
    asked = command()
    await bus.ask(case.act, asked)
    for _ in range(2):
        key, _said = await bus.ask(case.undo, asked | {"eventId": str(uuid4())})
        assert key == case.success(case.undo)
    assert case.done(asked["orderId"]) == case.undone(asked["orderId"]) == Tally(1, case.amount)


async def test_undoing_what_never_happened_succeeds_and_the_late_action_is_refused(case: Case, bus: Bus) -> None:
    late = command()
    key, _said = await bus.ask(case.undo, late | {"eventId": str(uuid4())})
    assert key == case.success(case.undo)
    key, said = await bus.ask(case.act, late)
    assert (key, said["retryable"]) == (case.failure(case.act), False)
    assert case.record(late["orderId"]) == Record()


async def test_a_refusal_is_definite_even_once_the_participant_has_recovered(case: Case, bus: Bus) -> None:
    asked = command()
    case.participant.behaviour[case.act] = Behaviour(mode="fail", reason="because")
    first = await bus.ask(case.act, asked)
    assert first[0] == case.failure(case.act)
    assert (first[1]["reason"], first[1]["retryable"]) == ("because", False)
    case.participant.behaviour[case.act] = Behaviour()
    assert await bus.ask(case.act, asked) == first
    assert case.done(asked["orderId"]) == Tally()


async def test_a_transient_failure_is_forgotten(case: Case, bus: Bus) -> None:
    asked = command()
    case.participant.behaviour[case.act] = Behaviour(mode="fail-retryable")
    key, said = await bus.ask(case.act, asked)
    assert (key, said["retryable"]) == (case.failure(case.act), True)
    case.participant.behaviour[case.act] = Behaviour()
    assert (await bus.ask(case.act, asked))[0] == case.success(case.act)
    assert case.done(asked["orderId"]) == Tally(1, case.amount)


async def test_a_failed_compensation_can_still_succeed(case: Case, bus: Bus) -> None:
    asked = command()
    await bus.ask(case.act, asked)
    undo = asked | {"eventId": str(uuid4())}
    case.participant.behaviour[case.undo] = Behaviour(mode="fail")
    assert (await bus.ask(case.undo, undo))[0] == case.failure(case.undo)
    case.participant.behaviour[case.undo] = Behaviour()
    assert (await bus.ask(case.undo, undo))[0] == case.success(case.undo)
    assert case.done(asked["orderId"]) == case.undone(asked["orderId"])


@pytest.mark.parametrize(("mode", "times"), [("mute", 0), ("mute-after", 1)])
async def test_a_mute_participant_answers_once_it_has_recovered(case: Case, bus: Bus, mode: str, times: int) -> None:
    asked = command()
    case.participant.behaviour[case.act] = Behaviour.model_validate({"mode": mode})
    await bus.send(case.act, json.dumps(asked).encode())
    assert (await case.next_handled()).outcome == "muted"
    assert case.done(asked["orderId"]).times == times
    case.participant.behaviour[case.act] = Behaviour()
    assert (await bus.ask(case.act, asked))[0] == case.success(case.act)
    assert case.done(asked["orderId"]) == Tally(1, case.amount)


async def test_a_slow_command_does_not_hold_up_another(case: Case, bus: Bus) -> None:
    slow, quick = command(), command()
    case.participant.behaviour[case.act] = Behaviour(mode="slow", seconds=0.3)
    await bus.send(case.act, json.dumps(slow).encode())
    assert (await bus.ask(case.undo, quick))[1]["orderId"] == quick["orderId"]
    assert json.loads((await bus.answer()).body)["orderId"] == slow["orderId"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"eventId": "1"}', b"\xff\xfe"])
async def test_what_cannot_be_read_is_dropped_and_the_next_command_is_answered(
    case: Case, bus: Bus, body: bytes
) -> None:
    await bus.send(case.act, body)
    assert (await bus.ask(case.act, command()))[0] == case.success(case.act)


async def test_a_command_of_anybody_but_the_order_service_is_dropped(
    bus: Bus, rabbitmq: RabbitMQ, vhost: str, tmp_path: Path
) -> None:
    service = str(URL(vhost).user)
    participant = Participant(
        "billing", billing.RULES, rabbitmq_url=vhost, ledger=tmp_path / "ledger.sqlite", orders_from=service
    )
    stranger, here = f"stranger-{uuid4().hex[:8]}", URL(vhost)
    rabbitmq.management.create_user(stranger, "secret")
    rabbitmq.management.permit(here.path[1:], stranger, configure=".*", write=".*", read=".*")
    forged, honest = command(total="9999.00"), command()
    async with participant, await aio_pika.connect(here.with_user(stranger).with_password("secret")) as connection:
        domain = await (await connection.channel()).get_exchange("domain", ensure=False)
        for user in (stranger, None):
            message = aio_pika.Message(json.dumps(forged).encode(), user_id=user, app_id="order-service")
            await domain.publish(message, "domain.order.ProcessPayment")
        message = aio_pika.Message(json.dumps(honest).encode(), user_id=service)
        await bus.exchange.publish(message, "domain.order.ProcessPayment")
        assert json.loads((await bus.answer()).body)["orderId"] == honest["orderId"]
    assert read(tmp_path / "ledger.sqlite").keys() == {UUID(honest["orderId"])}
    rabbitmq.management.delete_user(stranger)


async def test_a_command_is_kept_until_its_answer_has_reached_a_queue(vhost: str, tmp_path: Path) -> None:
    handled: asyncio.Queue[Handled] = asyncio.Queue()
    participant = Participant("billing", billing.RULES, rabbitmq_url=vhost, ledger=tmp_path / "ledger.sqlite")
    participant.tell = handled.put_nowait
    async with participant, await aio_pika.connect(vhost) as connection:
        channel = await connection.channel()
        bus = Bus(channel, await channel.get_exchange("domain"))
        await bus.send("ProcessPayment", json.dumps(command()).encode())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handled.get(), 0.3)
        await bus.listen("domain.billing.#")
        assert (await bus.answer()).routing_key == "domain.billing.PaymentProcessed"
        assert (await asyncio.wait_for(handled.get(), SECONDS)).outcome == "answered"


async def test_the_ledger_and_the_answers_outlive_the_participant(bus: Bus, vhost: str, tmp_path: Path) -> None:
    asked, answers = command(), []
    for _ in range(2):
        async with Participant("billing", billing.RULES, rabbitmq_url=vhost, ledger=tmp_path / "ledger.sqlite"):
            answers.append(await bus.ask("ProcessPayment", asked))
    assert answers[0] == answers[1]
    assert read(tmp_path / "ledger.sqlite")[UUID(asked["orderId"])].charged == Tally(1, Decimal("1299.99"))


@pytest.mark.parametrize("case", ["inventory"], indirect=True)
async def test_there_are_a_thousand_of_everything(case: Case, bus: Bus) -> None:
    for name in ("ValidateInventory", "ReserveInventory"):
        assert (await bus.ask(name, command(quantity=1000)))[0] == case.success(name)
        key, said = await bus.ask(name, command(quantity=1001))
        assert (key, said["reason"], said["retryable"]) == (case.failure(name), "out of stock: Laptop", False)


@pytest.mark.parametrize("case", ["billing"], indirect=True)
async def test_every_card_is_good_for_ten_thousand(case: Case, bus: Bus) -> None:
    assert (await bus.ask("ProcessPayment", command(total="10000.00")))[0] == "domain.billing.PaymentProcessed"
    key, said = await bus.ask("ProcessPayment", command(total="10000.01"))
    assert (key, said["reason"], said["retryable"]) == ("domain.billing.PaymentFailed", "card declined", False)
