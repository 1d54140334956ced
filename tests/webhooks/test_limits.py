"""What webhooks may cost: what is asked for, what waits, and what slow receivers hold."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from handlers.http.problems import ProblemError
from handlers.webhooks import service as asked
from handlers.webhooks.caller import Asking
from saga.engine import Engine
from saga.webhooks import claims, deliveries, pace
from saga.webhooks.answers import Answer
from saga.webhooks.attempts import Attempt
from saga.webhooks.claims import MOST_EACH
from saga.webhooks.disabling import OVERFLOWED
from saga.webhooks.retention import Housekeeping
from tests.webhooks.conftest import OWNER, Place, System, happy
from tests.webhooks.receiver import Receiver
from tests.webhooks.test_attempts import claimed

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SHOP = Asking(OWNER, OWNER)


async def test_what_is_sent_because_a_client_asks_for_it_is_limited_for_each_endpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "ASKED_FOR_PER_SECOND", 0.001)
    webhooks = place.webhooks()
    (one, _), (other, _) = await place.subscribe(), await place.subscribe()
    ping = await webhooks.ping(one.id, SHOP)
    for again in (
        webhooks.ping(one.id, SHOP),
        webhooks.redeliver(one.id, ping.id, SHOP),
        webhooks.redeliver_failed(one.id, LONG_AGO, SHOP),
    ):
        with pytest.raises(ProblemError) as refused:
            await again
        assert refused.value.status_code == 429
        assert int((refused.value.headers or {})["Retry-After"]) > 900
    assert await webhooks.redeliver_failed(other.id, LONG_AGO, SHOP) == 0
    assert len(await place.deliveries()) == 1


async def tidy(place: Place) -> bool:
    """Whether the one endpoint there is takes nothing more, after housekeeping has looked."""
    await Housekeeping(place.sessions).tidy()
    return bool(await place.value("SELECT bool_and(overflowing) FROM webhooks"))


@pytest.mark.parametrize("owner", ["key:shop", "user:one"])
async def test_what_comes_while_too_much_waits_fails_visibly_and_can_be_delivered_again(
    place: Place,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: str,
) -> None:
    most = {"key:shop": 8, "user:one": 4}[owner]
    monkeypatch.setattr(deliveries, "MOST_PENDING", 8)
    monkeypatch.setattr(deliveries, "MOST_PENDING_OF_PERSON", 4)
    endpoint, _ = await place.subscribe(owner=owner)
    system = System(place, Receiver())
    await system.write(endpoint.id, most - 1, due="now() + interval '1 hour'")
    assert not await tidy(place)
    await system.write(endpoint.id, 1, due="now() + interval '1 hour'")
    assert await tidy(place)
    assert "too many wait" in caplog.text
    await happy(engine)
    told = (await place.deliveries(endpoint.id))[most:]
    assert [(one["status"], one["last_error"], one["attempts"]) for one in told] == [("failed", OVERFLOWED, 0)] * 2
    # there is no room for them, nor does an endpoint turn with every delivery
    assert await place.call(deliveries.redeliver_failed, endpoint.id, LONG_AGO) == 0
    await take(place, most // 2)
    assert await tidy(place)
    await take(place, 1)
    assert not await tidy(place)
    await happy(engine)
    assert {one["status"] for one in (await place.deliveries(endpoint.id))[most + 2 :]} == {"pending"}
    # the oldest first, and no more than may wait
    waiting = await place.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'")
    monkeypatch.setattr(deliveries, "MOST_PENDING", waiting + 1)
    monkeypatch.setattr(deliveries, "MOST_PENDING_OF_PERSON", waiting + 1)
    assert await place.call(deliveries.redeliver_failed, endpoint.id, LONG_AGO) == 1
    assert [one["status"] for one in (await place.deliveries(endpoint.id))[most : most + 2]] == ["pending", "failed"]


async def take(place: Place, count: int) -> None:
    """Have so many be delivered that wait."""
    await place.execute(
        "UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL, delivered_at = now()"
        " WHERE id IN (SELECT id FROM webhook_deliveries WHERE status = 'pending' LIMIT :count)",
        count=count,
    )


async def test_a_slow_endpoint_has_fewer_attempts_under_way_until_it_is_quick_again(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await system.endpoint(behaviour="slow")

    async def most_open(count: int) -> int:
        """Of so many deliveries, how many were under way together."""
        system.receiver.most_open.clear()
        await system.write(endpoint.id, count)
        await system.until_all("delivered")
        return system.receiver.most_open["/hooks"]

    async with system.courier():
        assert await most_open(8) == MOST_EACH
        monkeypatch.setattr(pace, "SLOW", timedelta(seconds=0.1))
        assert await most_open(8) == MOST_EACH
        # slow, and not starved
        assert await most_open(4) == 1
        monkeypatch.setattr(pace, "SLOW", timedelta(seconds=10))
        await most_open(3)
        assert await most_open(8) == MOST_EACH


async def test_slow_endpoints_leave_room_for_quick_ones(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST", 6)
    monkeypatch.setattr(claims, "MOST_HELD_BACK", 3)
    slow = [await system.endpoint(f"/slow/{number}", "hang", owner=f"key:{number}") for number in range(3)]
    for endpoint in slow:
        await system.write(endpoint.id, 5)
    well = await system.endpoint("/well")
    async with system.place.sessions() as session:
        taken = await claims.claim(session, claims.Hand(slots={endpoint.id: 2 for endpoint in slow}))
        assert len(taken) == 3
        assert all(one.held_back for one in taken)
        await system.write(well.id, 5)
        hand = claims.Hand(taken, {endpoint.id: 2 for endpoint in slow})
        assert [one.webhook_id for one in await claims.claim(session, hand)] == [well.id] * 3


def attempt(webhook_id: UUID, seconds: float, status: int | None = 204) -> Attempt:
    return Attempt(claimed(webhook_id=webhook_id), Answer(status, None, "", None, seconds), None, 0, 1)


def test_slots_halve_with_each_slow_attempt_and_double_with_each_quick_delivery() -> None:
    one, other, counted = uuid4(), uuid4(), pace.Pace()
    seen = []
    for seconds, status in [(4, 204), (1, 500), (15, None), (4, 204), (4, 204), (1, 204), (1, 204), (1, 204)]:
        counted.note(attempt(one, seconds, status))
        counted.note(attempt(other, 1))
        seen.append(counted.slots.get(one, MOST_EACH))
    assert seen == [4, 4, 2, 1, 1, 2, 4, MOST_EACH]
    assert counted.slots == {}


def test_only_so_many_slow_endpoints_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_REMEMBERED", 2)
    counted = pace.Pace()
    ids = [uuid4() for _ in range(3)]
    for id_ in ids:
        counted.note(attempt(id_, 4))
    assert list(counted.slots) == ids[1:]
