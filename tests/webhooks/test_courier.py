"""The courier on a real PostgreSQL, with a receiver that verifies with the reference library."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from handlers.queries.overview import look
from saga.engine import Engine
from saga.runtime.database import statements
from saga.runtime.rows import changed
from saga.telemetry.traceparent import trace_id
from saga.webhooks import claims, deliveries, endpoints
from saga.webhooks import dispatcher as courier
from saga.webhooks import results as marks
from saga.webhooks import retention as housekeeping
from saga.webhooks.answers import Answer
from saga.webhooks.attempts import Attempt, Claimed, Verdict, verdict
from saga.webhooks.client import Sender
from saga.webhooks.disabling import DISABLED
from saga.webhooks.retention import Housekeeping
from saga.webhooks.secret_wrapping import Wrapping
from tests.databases import connect_looping
from tests.engine.conftest import order_request, running_engine
from tests.waiting import until
from tests.webhooks.conftest import System, happy

SOON = (timedelta(seconds=0.05), timedelta(seconds=0.05))


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("order_service_webhook_attempts_total", {"outcome": outcome}) or 0


async def test_what_becomes_of_an_order_arrives_signed_and_is_written_down(system: System, engine: Engine) -> None:
    endpoint = await system.endpoint()
    before = counted("delivered")
    async with system.courier():
        order_id = await happy(engine)
        await system.until_all("delivered")
    got = system.receiver.got
    assert system.receiver.forged == []
    assert {one.body["type"] for one in got} == {"order.created", "order.completed"}
    assert {one.body["data"]["orderId"] for one in got} == {str(order_id)}
    rows = await system.place.deliveries(endpoint.id)
    assert {one.id: one.raw for one in got} == {str(row["event_id"]): row["body"] for row in rows}
    for row in rows:
        assert (row["attempts"], row["last_status_code"], row["last_error"], row["lease"]) == (1, 204, None, None)
        [entry] = row["log"]
        assert entry | {"at": "", "seconds": 0} == {
            "at": "",
            "statusCode": 204,
            "seconds": 0,
            "error": None,
            "excerpt": "",
        }
    assert counted("delivered") == before + 2
    trace = await system.place.value("SELECT traceparent FROM order_sagas")
    for one in got:
        assert one.headers["content-type"] == "application/json"
        assert trace_id(one.headers["traceparent"]) == trace_id(trace)


async def test_a_commit_wakes_the_courier(system: System, migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_EVERY", timedelta(seconds=60))
    await system.endpoint()
    async with system.courier() as woken, running_engine(migrated, []) as engine:
        engine._announced = woken.wake
        await asyncio.sleep(0.2)
        await engine.create(order_request())
        await system.receiver.until(lambda: system.receiver.got, 3)


async def looks_of(
    system: System, monkeypatch: pytest.MonkeyPatch, seconds: float, count: int
) -> list[tuple[float, float]]:
    """When so many looks began and ended that cost so much and find nothing, while there is always a reason to look."""
    looks: list[tuple[float, float]] = []

    async def look(*_: object) -> None:
        began = time.monotonic()
        await asyncio.sleep(seconds)
        looks.append((began, time.monotonic()))

    async def looked_at() -> bool:
        running.wake()
        return len(looks) >= count

    monkeypatch.setattr(claims, "until_next", look)
    async with system.courier() as running:
        await until(looked_at)
    return looks


async def test_looks_that_cost_much_and_find_nothing_are_rare(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    for (began, ended), (next_one, _) in pairwise(await looks_of(system, monkeypatch, 0.03, 4)):
        assert next_one - ended > 2.9 * (ended - began)


async def test_no_look_costs_so_much_that_the_next_is_late(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_EVERY", timedelta(seconds=0.1))
    (began, ended), (next_one, _) = await looks_of(system, monkeypatch, 1, 2)
    assert next_one - ended < 2 * (ended - began)


async def test_each_is_sent_once_however_many_workers_there_are(system: System) -> None:
    for path in ("/a", "/b", "/c"):
        await system.write((await system.endpoint(path)).id, 60)
    async with system.courier(), system.courier(), system.courier():
        await system.until_all("delivered", 20)
    got = [one.id for one in system.receiver.got]
    assert len(got) == len(set(got)) == 180


@pytest.mark.parametrize(
    ("behaviour", "code", "error"),
    [
        ("500", 500, "answered 500"),
        ("302", 302, "answered 302"),
        ("close", None, "the connection was closed without an answer"),
        ("hang", None, "timed out after 0.8 s"),
        ("drip", None, "timed out after 0.8 s"),
    ],
)
async def test_what_is_not_taken_is_tried_again_with_the_same_id(
    system: System, behaviour: str, code: int | None, error: str
) -> None:
    endpoint = await system.endpoint(behaviour=behaviour)
    await system.write(endpoint.id)
    async with system.courier(within=0.8):
        await system.until("attempts = 1 FROM webhook_deliveries")
        row = (await system.place.rows("SELECT *, next_attempt_at - now() AS wait FROM webhook_deliveries"))[0]
        assert (row["status"], row["last_status_code"], row["last_error"]) == ("pending", code, error)
        assert timedelta(seconds=4) < row["wait"] <= timedelta(seconds=5.5)
        failing = await system.place.call(endpoints.find_endpoint, endpoint.id)
        assert failing.failures == 1
        assert failing.failing_since
        system.receiver.behaviour["/hooks"] = "slow"
        await system.let_time_pass()
        await system.until_all("delivered")
    first, second = system.receiver.got
    assert (first.id, first.raw) == (second.id, second.raw)
    assert first.headers["traceparent"] != second.headers["traceparent"]
    assert "/elsewhere" not in {one.path for one in system.receiver.got}
    [one] = await system.place.deliveries()
    assert (one["attempts"], len(one["log"]), one["log"][0]["error"]) == (2, 2, error)
    assert (await system.place.call(endpoints.find_endpoint, endpoint.id)).failures == 0


async def test_the_standards_schedule_ends_after_ten_attempts_and_disables_the_endpoint(system: System) -> None:
    endpoint = await system.endpoint(behaviour="500")
    await system.write(endpoint.id)
    waits: list[timedelta] = []
    async with system.courier() as running:
        for attempts in range(1, 10):
            await system.until("attempts = :attempts FROM webhook_deliveries", attempts=attempts)
            wait = "SELECT next_attempt_at - clock_timestamp() FROM webhook_deliveries"
            waits.append(await system.place.value(wait))
            await system.let_time_pass()
            running.wake()
        # one more waits while the endpoint is disabled
        await system.write(endpoint.id, due="now() + interval '1 hour'")
        await system.until_all("failed")
    hours = [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
    for waited, expected in zip(waits, hours, strict=True):
        assert 0.8 * expected < waited.total_seconds() / 3600 <= 1.1 * expected
    disabled = await system.place.call(endpoints.find_endpoint, endpoint.id)
    assert disabled.status == "disabled"
    assert disabled.disabled_reason == "all 10 attempts of a delivery failed, the last: answered 500"
    first, second = await system.place.deliveries()
    assert (first["attempts"], first["last_error"]) == (10, "answered 500")
    assert (second["attempts"], second["last_error"]) == (0, DISABLED)
    assert len(system.receiver.got) == 10
    # enabled again, all that failed is delivered
    system.receiver.behaviour["/hooks"] = "ok"
    await system.place.call(endpoints.enable, endpoint.id)
    assert await system.place.call(deliveries.redeliver_failed, endpoint.id, first["created_at"]) == 2
    async with system.courier():
        await system.until_all("delivered")
    assert {one.id for one in system.receiver.got[10:]} == {str(first["event_id"]), str(second["event_id"])}


async def test_only_the_last_attempts_are_remembered(system: System) -> None:
    await system.write((await system.endpoint(behaviour="500")).id)
    async with system.courier(waits=[timedelta(seconds=0.001)] * 24):
        await system.until_all("failed", 20)
    [row] = await system.place.deliveries()
    assert (row["attempts"], len(row["log"])) == (25, 20)
    assert row["log"][-1]["at"] > row["log"][0]["at"]
    assert row["log"][-1]["excerpt"] == "no such thing"


async def test_an_endpoint_that_fails_for_longer_than_a_delivery_is_tried_is_disabled(system: System) -> None:
    # with so much due that no delivery comes to its last attempt
    failing, well = await system.endpoint("/failing", "500"), await system.endpoint("/well")
    await system.place.execute(
        "UPDATE webhooks SET failures = 9, failing_since = now() - CAST(:ago AS interval)", ago=timedelta(days=4)
    )
    await system.write(failing.id, 2)
    await system.write(well.id, 2)
    async with system.courier():
        await system.until("bool_and(status <> 'pending') FROM webhook_deliveries")
    assert (await system.place.call(endpoints.find_endpoint, well.id)).status == "enabled"
    disabled = await system.place.call(endpoints.find_endpoint, failing.id)
    assert (disabled.status, disabled.disabled_reason) == ("disabled", marks.GIVEN_UP)


async def test_one_owner_leaves_room_for_the_others(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST", 5)
    monkeypatch.setattr(claims, "MOST_OF_OWNER", 3)
    for number in range(3):
        slow = await system.endpoint(f"/slow/{number}", "hang")
        # a ping that fails changes nothing: it could go on like that for ever
        for _ in range(3):
            await system.place.call(endpoints.ping, slow.id)
    async with system.courier():
        await system.receiver.until(lambda: len(system.receiver.got) == 3)
        await system.write((await system.endpoint("/well", owner="key:other")).id, 20)
        await system.receiver.until(lambda: len(system.receiver.at("/well")) == 20)
        assert sum(system.receiver.open.values()) == 3


async def test_one_that_fails_gets_its_turn_however_much_others_have_to_do(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a worker that has room for one only, each time
    monkeypatch.setattr(claims, "MOST", 1)
    monkeypatch.setattr(claims, "MOST_HELD_BACK", 1)
    failing = await system.endpoint("/failing")
    await system.place.execute("UPDATE webhooks SET failures = 1, failing_since = now()")
    await system.write(failing.id)
    for number in range(2):
        await system.write((await system.endpoint(f"/busy/{number}")).id, 100)
    taken = [one.webhook_id for _ in range(60) for one in await system.place.call(claims.claim, claims.Hand())]
    assert len(taken) == 60
    assert taken.count(failing.id) == 1


async def test_a_receiver_that_is_gone_is_sent_nothing_more(system: System) -> None:
    endpoint = await system.endpoint(behaviour="410")
    await system.write(endpoint.id)
    await system.write(endpoint.id, 5, due="now() + interval '1 hour'")
    async with system.courier():
        await system.until_all("failed")
    assert (await system.place.call(endpoints.find_endpoint, endpoint.id)).disabled_reason == "410 Gone"
    assert len(system.receiver.got) == 1


async def test_a_receiver_may_ask_to_be_left_alone_for_a_while(system: System) -> None:
    endpoint = await system.endpoint(behaviour="429")
    await system.write(endpoint.id)
    async with system.courier() as running:
        await system.until("attempts = 1 FROM webhook_deliveries")
        wait = await system.place.value("SELECT next_attempt_at - clock_timestamp() FROM webhook_deliveries")
        assert timedelta(hours=1.99) < wait < timedelta(hours=2.21)
        # that is meant for whatever else there is, too
        await system.write(endpoint.id, 3)
        async with system.place.sessions() as session:
            rest = await claims.until_next(session, claims.Hand())
        assert rest
        assert timedelta(hours=1.99) < rest < timedelta(hours=2.01)
        await system.write((await system.endpoint("/well")).id)
        running.wake()
        await system.receiver.until(lambda: system.receiver.at("/well"))
        assert len(system.receiver.at("/hooks")) == 1
        # unless a person knows better
        system.receiver.behaviour["/hooks"] = "ok"
        await system.place.call(endpoints.ping, endpoint.id)
        await system.until("count(*) = 5 FROM webhook_deliveries WHERE status = 'delivered'")


async def test_one_that_hangs_with_very_much_due_does_not_delay_the_others(system: System) -> None:
    hanging = await system.endpoint("/hanging", "hang")
    await system.write(hanging.id, 100_000)
    await system.place.execute("ANALYZE webhook_deliveries")
    async with system.courier():
        await system.receiver.until(lambda: system.receiver.open["/hanging"] == claims.MOST_EACH)
        for number in range(5):
            well = await system.endpoint(f"/well/{number}")
            began = time.monotonic()
            await system.write(well.id)
            await system.receiver.until(partial(system.receiver.at, f"/well/{number}"))
            assert time.monotonic() - began < 2.5
        assert system.receiver.most_open["/hanging"] == claims.MOST_EACH
    # what was under way is handed back at once
    assert await system.place.value("SELECT count(*) FROM webhook_deliveries WHERE lease IS NOT NULL") == 0


async def test_one_whose_last_attempt_failed_is_tried_one_at_a_time(system: System) -> None:
    endpoint = await system.endpoint(behaviour="slow")
    await system.place.execute("UPDATE webhooks SET failures = 1, failing_since = now()")
    await system.write(endpoint.id, 5)
    async with system.courier():
        await system.until_all("delivered")
    # the first went alone, and when it had succeeded the others followed together
    assert system.receiver.most_open["/hooks"] == 4
    assert (await system.place.call(endpoints.find_endpoint, endpoint.id)).failures == 0


async def test_many_that_fail_leave_room_for_those_that_do_not(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST", 4)
    monkeypatch.setattr(claims, "MOST_HELD_BACK", 2)
    for number in range(6):
        await system.write((await system.endpoint(f"/failing/{number}", "hang")).id, 3)
    await system.place.execute("UPDATE webhooks SET failures = 1, failing_since = now()")
    async with system.courier():
        await system.receiver.until(lambda: len(system.receiver.got) == 2)
        await system.write((await system.endpoint("/well")).id, 20)
        await system.receiver.until(lambda: len(system.receiver.at("/well")) == 20)
        assert sum(system.receiver.open.values()) == 2


async def test_both_secrets_sign_after_a_rotation_until_the_old_one_is_over(system: System) -> None:
    endpoint = await system.endpoint()
    [old] = system.receiver.secrets["/hooks"]
    new = await system.place.call(endpoints.rotate_secret, endpoint.id, Wrapping())
    async with system.courier():
        for secret in (old, new):
            system.receiver.secrets["/hooks"] = [secret]
            await system.write(endpoint.id)
            await system.until_all("delivered")
        assert len(system.receiver.got) == 2
        assert system.receiver.forged == []
        await system.place.execute("UPDATE webhooks SET previous_secret_until = now()")
        await system.write(endpoint.id)
        await system.until_all("delivered")
    assert len(system.receiver.got) == 3
    assert len(system.receiver.got[-1].headers["webhook-signature"].split()) == 1


async def test_a_ping_is_tried_once_and_its_failing_changes_nothing(system: System) -> None:
    endpoint = await system.endpoint(behaviour="410")
    ping = await system.place.call(endpoints.ping, endpoint.id)
    async with system.courier():
        await system.until_all("failed")
        found = await system.place.call(deliveries.find_delivery, endpoint.id, ping.id)
        assert (found.attempts, found.last_status_code) == (1, 410)
        after = await system.place.call(endpoints.find_endpoint, endpoint.id)
        assert (after.status, after.failures) == ("enabled", 0)
        system.receiver.behaviour["/hooks"] = "ok"
        again = await system.place.call(endpoints.ping, endpoint.id)
        await system.until("status = 'delivered' FROM webhook_deliveries WHERE id = :id", id=again.id)
    assert system.receiver.got[-1].body["data"] == {"webhookId": str(endpoint.id)}
    assert system.receiver.got[0].id != system.receiver.got[1].id


async def test_a_disabled_or_deleted_endpoint_is_sent_nothing(system: System) -> None:
    disabled, gone = await system.endpoint("/disabled"), await system.endpoint("/gone")
    well = await system.endpoint("/well")
    await system.place.call(endpoints.disable, disabled.id, "by its owner")
    await system.place.call(endpoints.delete, gone.id)
    for endpoint in (disabled, gone, well):
        # as if the engine had not seen it yet
        await system.write(endpoint.id, 3)
    async with system.courier():
        await system.receiver.until(lambda: len(system.receiver.got) == 3)
        await system.until("count(*) = 3 FROM webhook_deliveries WHERE status = 'delivered'")
    assert {one.path for one in system.receiver.got} == {"/well"}
    await Housekeeping(system.place.sessions).tidy()
    counts = await system.place.rows("SELECT webhook_id, status FROM webhook_deliveries GROUP BY 1, 2")
    assert {(row["webhook_id"], row["status"]) for row in counts} == {(disabled.id, "failed"), (well.id, "delivered")}


async def test_what_another_worker_or_a_person_took_meanwhile_is_left_to_them(system: System) -> None:
    endpoint = await system.endpoint(behaviour="hang")
    await system.write(endpoint.id)
    before = counted("lost")
    async with system.courier(within=1):
        await system.receiver.until(lambda: system.receiver.got)
        await system.place.execute(
            "UPDATE webhook_deliveries SET lease = gen_random_uuid(), next_attempt_at = now() + interval '1 hour'"
        )

        async def lost() -> bool:
            return counted("lost") > before

        await until(lost)
    [row] = await system.place.deliveries()
    assert (row["status"], row["attempts"], row["log"]) == ("pending", 0, [])


async def test_what_waits_for_an_endpoint_that_is_enabled_again_meanwhile_goes_on_waiting(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await system.endpoint()
    await system.write(endpoint.id)

    async def and_enabled_again(*arguments: Any) -> int:
        count = await changed(*arguments)
        await system.place.call(endpoints.enable, endpoint.id)
        return count

    monkeypatch.setattr("saga.webhooks.disabling.changed", and_enabled_again)
    await system.place.call(endpoints.disable, endpoint.id, "for a moment")
    assert [row["status"] for row in await system.place.deliveries()] == ["pending"]


def ended(claimed: Claimed, status: int, retry_after: timedelta | None = None) -> tuple[Attempt, Verdict]:
    """An attempt that was answered so, and what follows from it."""
    answer = Answer(status, None, "", retry_after, 0.1)
    return Attempt(claimed, answer, None, 0, 1), verdict(claimed, answer, SOON)


async def claimed_anew(system: System) -> list[Claimed]:
    """All deliveries, whoever had them in hand."""
    await system.place.execute("UPDATE webhook_deliveries SET lease = NULL, next_attempt_at = now()")
    async with system.place.sessions() as session:
        return await claims.claim(session, claims.Hand())


async def mark(system: System, *attempts: tuple[Attempt, Verdict]) -> set[UUID]:
    """Write down what became of these, together."""
    return set(await system.place.call(marks.mark_if_leased, attempts, timedelta(days=4)))


async def test_an_answer_counts_for_nothing_that_comes_when_the_lease_is_lost(system: System) -> None:
    endpoint = await system.endpoint()
    await system.write(endpoint.id)
    [lost] = await claimed_anew(system)
    [kept] = await claimed_anew(system)
    assert await mark(system, ended(lost, 410)) == set()
    assert await mark(system, ended(lost, 410), ended(kept, 204)) == {kept.lease}
    found = await system.place.call(endpoints.find_endpoint, endpoint.id)
    assert (found.status, found.failures) == ("enabled", 0)
    [row] = await system.place.deliveries()
    assert (row["status"], row["attempts"]) == ("delivered", 1)


@pytest.mark.parametrize("status", [204, 500])
async def test_a_rest_that_was_asked_for_outlives_other_answers(system: System, status: int) -> None:
    endpoint = await system.endpoint()
    await system.write(endpoint.id, 2)
    first, second = await claimed_anew(system)
    await mark(system, ended(first, 429, timedelta(hours=2)))
    await mark(system, ended(second, status))
    wait = await system.place.value("SELECT resting_until - now() FROM webhooks")
    assert timedelta(hours=1.99) < wait <= timedelta(hours=2)


async def test_a_lease_that_ran_out_is_taken_over(system: System) -> None:
    endpoint = await system.endpoint()
    await system.write(endpoint.id, 2)
    await system.place.execute("UPDATE webhook_deliveries SET lease = gen_random_uuid()")
    async with system.courier():
        await system.until_all("delivered")


async def test_what_ends_while_the_database_is_away_is_written_down_later(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.write((await system.endpoint()).id)
    mark, away = marks.mark_if_leased, 3

    async def sometimes(*arguments: Any) -> Any:
        nonlocal away
        if arguments[1] and away:
            away -= 1
            raise ConnectionRefusedError
        return await mark(*arguments)

    monkeypatch.setattr(courier, "mark_if_leased", sometimes)
    async with system.courier():
        await system.until_all("delivered")
    assert away == 0
    assert len(system.receiver.got) == 1


async def test_what_postgresql_refuses_of_one_does_not_keep_the_others(system: System) -> None:
    await system.write((await system.endpoint("/bad")).id)
    await system.write((await system.endpoint("/well")).id)

    class Odd(Sender):
        async def send(self, url: str, headers: Any, body: bytes) -> Answer:
            answer = await super().send(url, headers, body)
            return replace(answer, excerpt="\x00") if url.endswith("/bad") else answer

    async with system.courier(sender=system.sender(Odd)):
        await system.until("count(*) = 1 FROM webhook_deliveries WHERE status = 'delivered'")
    assert len(system.receiver.got) == 2


async def test_a_worker_that_stops_hands_back_what_is_not_answered(system: System) -> None:
    endpoint = await system.endpoint(behaviour="hang")
    await system.write(endpoint.id, 2)
    async with system.courier():
        await system.receiver.until(lambda: len(system.receiver.got) == 2)
        began = time.monotonic()
    assert time.monotonic() - began < 4
    for row in await system.place.deliveries():
        assert (row["status"], row["lease"], row["attempts"]) == ("pending", None, 0)
        assert row["next_attempt_at"] <= datetime.now(UTC)


async def test_housekeeping_forgets_what_is_long_over_and_what_was_deleted(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PIECE", 7)
    pool = connect_looping(system.place.pool.url)
    tidier = Housekeeping(statements(pool))
    kept, gone = await system.endpoint("/kept"), await system.endpoint("/gone")
    for endpoint in (kept, gone):
        await system.write(endpoint.id, 40)
    await system.place.execute(
        "UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL, delivered_at = now()"
    )
    await system.write(kept.id, 3)
    await system.place.execute("UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
    await system.write(kept.id, 2)
    await system.place.call(endpoints.rotate_secret, kept.id, Wrapping())
    await system.place.execute(
        "UPDATE webhooks SET previous_secret_until = now() - interval '1 s' WHERE previous_secret IS NOT NULL"
    )
    await system.place.call(endpoints.delete, gone.id)
    await tidier.tidy()
    assert {(row["webhook_id"], row["status"]) for row in await system.place.deliveries()} == {(kept.id, "pending")}
    assert len(await system.place.deliveries()) == 5
    # the row itself stays as long as a transaction may still know it
    assert await system.place.value("SELECT count(*) FROM webhooks") == 2
    await system.place.execute(
        "UPDATE webhooks SET deleted_at = now() - interval '2 hours' WHERE deleted_at IS NOT NULL"
    )
    await tidier.tidy()
    await pool.dispose()
    assert await system.place.rows("SELECT id, previous_secret FROM webhooks") == [
        {"id": kept.id, "previous_secret": None}
    ]


async def test_the_whole_tells_what_waits_how_long_and_what_is_disabled(system: System) -> None:
    async with system.place.sessions() as session:
        nothing = await look(session, timedelta(seconds=300))
    assert (nothing.webhooks_undelivered, nothing.webhook_oldest, nothing.webhooks_disabled) == (0, None, 0)
    await system.write((await system.endpoint()).id, 3)
    await system.place.execute("UPDATE webhook_deliveries SET created_at = now() - interval '1 hour'")
    await system.write((await system.endpoint()).id, 1)
    disabled, gone = await system.endpoint("/disabled"), await system.endpoint("/gone")
    for endpoint in (disabled, gone):
        await system.place.call(endpoints.disable, endpoint.id, "by its owner")
    await system.place.call(endpoints.delete, gone.id)
    async with system.place.sessions() as session:
        whole = await look(session, timedelta(seconds=300))
    assert (whole.webhooks_undelivered, whole.webhooks_disabled) == (4, 1)
    assert timedelta(minutes=59) < (whole.webhook_oldest or timedelta(0)) < timedelta(minutes=61)


async def test_an_attempt_is_told_to_the_log_without_url_or_words(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    endpoint = await system.endpoint("/secret-path", "500")
    await system.write(endpoint.id)
    async with system.courier():
        await system.until("attempts = 1 FROM webhook_deliveries")
    [said] = [vars(record)["known"] for record in caplog.records if record.msg == "webhook attempt"]
    assert said["webhook_id"] == endpoint.id
    assert (said["outcome"], said["http_status"], said["attempt"]) == ("retried", 500, 1)
    assert "secret-path" not in caplog.text + repr(said)
    assert "no such thing" not in caplog.text + repr(said)
