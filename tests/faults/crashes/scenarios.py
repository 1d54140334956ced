"""What is played while the service is killed: one order, or one message that cannot be handled; and how it must end.

No clock has a say. The service would wait for minutes before it asks again; a deadline runs out when the play says so.
So whatever comes right in the end came right by what was stored, and not because somebody asked twice.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import httpx2

from local.rule import Behaviour
from models.states import OrderStatus, SagaStatus, Timer
from saga.runtime.failpoints import Point
from tests.faults.clients import Kind, wish
from tests.faults.place import Place
from tests.waiting import until
from tests.webhooks.receiver import Receiver

PATIENT = {
    "SAGA_TIMEOUT_SECONDS": "86400",
    "SAGA_STEP_TIMEOUT_SECONDS": "600",
    "SAGA_RETRY_DELAY_SECONDS": "600",
    "SAGA_REASK_SECONDS": "600",
    "SAGA_RETRY_ATTEMPTS": "1",
}
"""What the service is told: it does nothing by the clock within a test."""
SLOW_COMMITS = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON outbox INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    """DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET client_connection_check_interval = 10', current_database());
    END $$""",
)
"""Every commit takes 0.2 s for each message that it brings, and is none if its client dies meanwhile."""
_SECONDS = 40.0


class Stage:
    """Where a scenario is played. It goes on while the service dies and comes back: it insists, as clients do.

    Args:
        here: the place.
        receiver: a customer's system.
    """

    def __init__(self, here: Place, receiver: Receiver) -> None:
        self.here = here
        self.receiver = receiver
        self._random = Random()

    async def order(self, kind: Kind, door: str, *, doomed: bool = False) -> UUID:
        """Place one order over `http` or over `bus`; its id. If `doomed`, the play keeps it from its end."""
        clients, request = self.here.clients, wish(kind, self._random)
        if doomed:
            request = replace(request, ends=OrderStatus.FAILED)
        return await (clients.over_http if door == "http" else clients.over_bus)(request)

    def behave(self, command: str, mode: str) -> None:
        """Tell the participant that this command is for how to treat it from now on."""
        for participant in self.here.participants.values():
            if command in participant.behaviour:
                participant.behaviour[command] = Behaviour.model_validate({"mode": mode})

    async def shows(self, condition: str) -> None:
        """Return when a saga is so, in SQL; with what it says then everything that belongs to it is committed."""
        await self.row(f"SELECT 1 FROM order_sagas WHERE {condition}")

    async def row(self, query: str) -> dict[str, Any]:
        """The first row, as soon as there is one."""
        rows: list[dict[str, Any]] = []

        async def there() -> bool:
            rows[:] = await self.here.rows(query)
            return bool(rows)

        await until(there, _SECONDS)
        return rows[0]

    async def run_out(self, timer: Timer) -> None:
        """Let a deadline come: what time would do."""
        await self.here.rows("UPDATE order_sagas SET due_at = clock_timestamp() WHERE timer = $1", timer.value)

    async def say(self, message: str, order_id: UUID) -> None:
        """Publish a message about an order, as often as it takes, always with the same identity."""
        await self.here.clients.say(f"domain.{message}", {"eventId": str(uuid4()), "orderId": str(order_id)})

    async def insist(self, path: str, body: dict[str, str] | None = None) -> None:
        """POST until it is done."""

        async def done() -> bool:
            try:
                answer = await client.post(f"{self.here.clients.urls[0]}{path}", json=body)
            except httpx2.TransportError:
                return False
            assert answer.status_code in (200, 202, 503), f"{path}: {answer.status_code}: {answer.text}"
            return answer.status_code != 503

        async with httpx2.AsyncClient(verify=False, timeout=10) as client:
            await until(done, _SECONDS)


Play = Callable[[Stage], Coroutine[Any, Any, None]]


def _plain(kind: Kind, door: str) -> Play:
    async def play(stage: Stage) -> None:
        await stage.order(kind, door)

    return play


async def _timed_out(stage: Stage) -> None:
    """The payment was taken and not answered: it is asked for again, under the same identity."""
    stage.behave("ProcessPayment", "mute-after")
    await stage.order(Kind.HAPPY, "http")
    await stage.shows("sent ? 'ProcessPayment'")
    await stage.run_out(Timer.REPLY)
    await stage.shows("timer = 'retry'")
    stage.behave("ProcessPayment", "normal")
    await stage.run_out(Timer.RETRY)


async def _parked(stage: Stage) -> None:
    """Nobody answers the reservation, twice; parked, and asked again in the end."""
    stage.behave("ReserveInventory", "mute")
    await stage.order(Kind.HAPPY, "bus")
    await stage.shows("sent ? 'ReserveInventory'")
    await stage.run_out(Timer.REPLY)
    await stage.shows("timer = 'retry'")
    await stage.run_out(Timer.RETRY)
    await stage.shows("(sent->>'ReserveInventory')::int = 2")
    await stage.run_out(Timer.REPLY)
    await stage.shows("timer = 'reask'")
    await stage.row("SELECT 1 FROM dead_letters")
    stage.behave("ReserveInventory", "normal")
    await stage.run_out(Timer.REASK)


async def _cancelled(stage: Stage) -> None:
    """Reserved without a word, cancelled meanwhile: what nobody knows of is released."""
    stage.behave("ReserveInventory", "mute-after")
    order_id = await stage.order(Kind.HAPPY, "http", doomed=True)
    await stage.shows("sent ? 'ReserveInventory'")
    await stage.say("order.CancelOrder", order_id)
    await stage.shows("cancel_requested")
    await stage.run_out(Timer.REPLY)


async def _given_up(stage: Stage) -> None:
    """Charged without a word, and an operator gives up: refunded, then released."""
    stage.behave("ProcessPayment", "mute-after")
    order_id = await stage.order(Kind.HAPPY, "bus", doomed=True)
    await stage.shows("sent ? 'ProcessPayment'")
    await stage.insist(f"/api/sagas/{order_id}/compensate", {"reason": "the bank is closed"})


async def _late(stage: Stage) -> None:
    """Declined and released; then somebody says that the money was taken after all: refunded."""
    order_id = await stage.order(Kind.DECLINED, "bus")
    await stage.shows("completed_at IS NOT NULL")
    await stage.say("billing.PaymentProcessed", order_id)
    await stage.shows("sent ? 'RefundPayment' AND open_command IS NULL")


async def _poison(stage: Stage) -> None:
    await stage.here.clients.say("domain.order.CreateOrder", b"{")


async def _stray(stage: Stage) -> None:
    await stage.say("inventory.InventoryReserved", uuid4())


async def _redriven(stage: Stage) -> None:
    """A stray reply is published again by a person, and comes back."""
    await _stray(stage)
    letter = await stage.row("SELECT id FROM dead_letters")
    await stage.insist(f"/api/dead-letters/{letter['id']}/redrive")
    await stage.row("SELECT 1 FROM dead_letters WHERE count > 1 AND redriven_at IS NULL")


async def _told(stage: Stage) -> None:
    """A customer's system is told of the end, at least once, and always under the same id."""
    stage.receiver.secrets["/hooks"] = ["whsec_c2VjcmV0IG9mIHRoaXMgdmVyeSB0ZXN0"]
    await stage.here.rows(
        "INSERT INTO webhooks (id, owner, url, events, status, secret, created_at)"
        " VALUES (gen_random_uuid(), 'key:shop', $1, '{order.completed}', 'enabled', $2, now())",
        stage.receiver.url("/hooks"),
        *stage.receiver.secrets["/hooks"],
    )
    await stage.order(Kind.HAPPY, "http")
    await stage.row("SELECT 1 FROM webhook_deliveries WHERE status = 'delivered'")
    [delivery] = await stage.here.rows("SELECT event_id FROM webhook_deliveries")
    assert {one.id for one in stage.receiver.got} == {str(delivery["event_id"])}
    assert not stage.receiver.forged


@dataclass(frozen=True)
class Scenario:
    """What is played, and how it ends."""

    play: Play
    ends: SagaStatus | None
    """Of the only saga; None where there is none."""
    letters: Mapping[str, int] = field(default_factory=dict)
    """Dead letters: how often each has arrived, by its reason."""
    migrated: bool = True
    """Whether the database has its tables before the service starts for the first time."""
    prepare: tuple[str, ...] = ()
    """What is done to the database before, in SQL."""
    like: str | None = None
    """The scenario that this one begins like."""
    left_by: Point | None = None
    """Where the service was killed once before, at the very step that is looked at."""


SCENARIOS: Mapping[str, Scenario] = MappingProxyType({
    "http": Scenario(_plain(Kind.HAPPY, "http"), SagaStatus.COMPLETED),
    "slow": Scenario(_plain(Kind.HAPPY, "http"), SagaStatus.COMPLETED, like="http", prepare=SLOW_COMMITS),
    "bus": Scenario(_plain(Kind.HAPPY, "bus"), SagaStatus.COMPLETED),
    "nostock": Scenario(_plain(Kind.NO_STOCK, "http"), SagaStatus.FAILED, like="http"),
    "declined": Scenario(_plain(Kind.DECLINED, "bus"), SagaStatus.COMPENSATED, like="bus"),
    "timeout": Scenario(_timed_out, SagaStatus.COMPLETED, like="http"),
    "parked": Scenario(_parked, SagaStatus.COMPLETED, {"unanswered": 1}, like="bus"),
    "cancel": Scenario(_cancelled, SagaStatus.COMPENSATED, like="http"),
    "giveup": Scenario(_given_up, SagaStatus.COMPENSATED, like="bus"),
    "late": Scenario(_late, SagaStatus.COMPENSATED, like="declined"),
    "poison": Scenario(_poison, None, {"unreadable": 1}),
    "stray": Scenario(_stray, None, {"unknown_order": 1}),
    "redrive": Scenario(_redriven, None, {"unknown_order": 2}, like="stray"),
    "behind": Scenario(_plain(Kind.DECLINED, "bus"), SagaStatus.COMPENSATED, left_by="relay.taken"),
    "told": Scenario(_told, SagaStatus.COMPLETED, like="http"),
    "empty": Scenario(_plain(Kind.HAPPY, "http"), SagaStatus.COMPLETED, migrated=False),
})  # fmt: skip
