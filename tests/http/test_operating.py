"""Operators over HTTP: who may, the list, asking again, resolving, giving up."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import text

from handlers.api import bulk_retry as asking_again
from saga.domain import Decision, Event
from saga.transitions import Signal
from tests.http.conftest import HAPPY, Service, listening, problem

G = Signal
PARKING = 7
"""As many deadlines pass, retries among them, until the usual policy parks a command."""


async def _act(service: Service, order_id: str, action: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await service.client.post(f"/api/sagas/{order_id}/{action}", json=body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def _list(service: Service, **query: Any) -> tuple[list[str], str | None]:
    response = await service.client.get("/api/sagas", params=query)
    assert response.status_code == 200, response.text
    page = response.json()
    return [saga["orderId"] for saga in page["items"]], page["next"]


async def _bulk(service: Service, **body: Any) -> dict[str, Any]:
    response = await service.client.post("/api/sagas/retry", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _come_from(service: Service, host: str) -> None:
    service.client._transport.client = (host, 1)  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize("host", ["203.0.113.9", "10.0.0.1", "::2", "::ffff:10.0.0.1", "testclient", ""])
async def test_whoever_is_not_on_this_machine_is_told_what_to_do(service: Service, host: str) -> None:
    order = await service.place()
    _come_from(service, host)
    for method, path in (("GET", ""), ("POST", "/retry"), ("POST", f"/{order['id']}/retry")):
        response = await service.client.request(method, f"/api/sagas{path}", json={})
        assert "ssh" in problem(response, 401)["detail"]
        assert response.headers["www-authenticate"] == "Bearer"


async def test_no_header_makes_a_client_local(service: Service) -> None:
    _come_from(service, "203.0.113.9")
    forged = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    problem(await service.client.get("/api/sagas", headers=forged), 401)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_whoever_comes_through_a_proxy_is_refused_even_where_the_server_believes_the_header(
    service: Service, header: str
) -> None:
    """With FORWARDED_ALLOW_IPS=* uvicorn takes every client to be where X-Forwarded-For says."""
    async with listening(service.app, forwarded_allow_ips="*") as url, httpx2.AsyncClient(base_url=url) as client:
        refused = await client.get("/api/sagas", headers={header: "127.0.0.1"})
        assert header.lower() in problem(refused, 401)["detail"]
        assert (await client.get("/api/sagas")).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://localhost.evil.example"])
async def test_a_page_from_elsewhere_may_not_operate(service: Service, origin: str) -> None:
    problem(await service.client.post(f"/api/sagas/{uuid4()}/retry", headers={"Origin": origin}), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
async def test_the_history_says_who_it_was(service: Service, host: str) -> None:
    order = await service.place()
    _come_from(service, host)
    path = f"/api/sagas/{order['id']}/retry"
    await service.client.post(path)
    await service.client.post(path, headers={b"X-Operator": "Änne".encode(), b"Origin": b"http://localhost:5002"})
    history = (await service.saga(order["id"]))["history"]
    assert [entry["actor"] for entry in history] == [f"operator@{host}", f"operator@{host} (Änne)"]


@pytest.mark.parametrize("name", [b"", b"x" * 101, b"a\tb", b"\xc2\x85", b"\x9b31m"])
async def test_an_operators_name_is_readable(service: Service, name: bytes) -> None:
    order = await service.place()
    response = await service.client.post(f"/api/sagas/{order['id']}/retry", headers={b"X-Operator": name})
    assert problem(response, 422)["errors"][0]["location"] == "header"


# ---------------------------------------------------------------------------------------------------------- the list


async def test_sagas_are_listed_newest_first_in_pages(service: Service) -> None:
    orders = [(await service.place())["id"] for _ in range(5)]
    first, following = await _list(service, limit=2)
    second, following = await _list(service, limit=2, after=following)
    last, end = await _list(service, limit=2, after=following)
    assert [*first, *second, *last] == orders[::-1]
    assert end is None


async def test_filters_hold_together(service: Service) -> None:
    user = str(uuid4())
    new = (await service.place(userId=user))["id"]
    done = (await service.place(userId=user))["id"]
    failed = (await service.place())["id"]
    parked = (await service.place())["id"]
    await service.happen(done, *HAPPY)
    await service.happen(failed, Signal.INVENTORY_VALIDATION_FAILED)
    await service.expire(parked, times=PARKING)
    everything = [parked, failed, done, new]
    assert (await _list(service))[0] == everything
    for query, wanted in (
        ({"status": "Started"}, [parked, new]),
        ({"status": "Completed"}, [done]),
        ({"step": "Failed"}, [failed]),
        ({"step": "ValidateInventory"}, [parked, new]),
        ({"step": "ProcessPayment"}, []),
        ({"status": "Completed", "step": "Failed"}, []),
        ({"incident": "true"}, [parked]),
        ({"incident": "false"}, [failed, done, new]),
        ({"incident": "false", "status": "Started"}, [new]),
        ({"userId": user}, [done, new]),
        ({"userId": user, "status": "Started"}, [new]),
        ({"userId": user, "incident": "true"}, []),
        ({"olderThan": "0"}, everything),
        ({"olderThan": "3600"}, []),
        ({"olderThan": "0", "status": "Failed"}, [failed]),
    ):
        assert (await _list(service, **query))[0] == wanted, query


@pytest.mark.parametrize(
    "query",
    ["status=Lost", "step=x", "incident=maybe", "userId=1", "olderThan=-1", "olderThan=nan", "olderThan=inf",
     "olderThan=1e300", "limit=0", "limit=101", "after=x", f"after={'f' * 32}"],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_named(service: Service, query: str) -> None:
    field = query.split("=", maxsplit=1)[0]
    assert problem(await service.client.get(f"/api/sagas?{query}"), 422)["errors"][0]["field"] == field


# ---------------------------------------------------------------------------------------------------------- one saga


async def test_a_parked_saga_is_asked_again_and_a_reply_resumes_it(service: Service) -> None:
    order = await service.place()
    await service.expire(order["id"], times=PARKING)
    saga = await _act(service, order["id"], "retry", reason="Inventory is back")
    assert (saga["waiting"]["attempt"], saga["history"][-1]["status"]) == (5, "Resumed")
    assert saga["history"][-1]["message"].endswith(": Inventory is back")
    await service.happen(order["id"], HAPPY[0])
    assert (await service.saga(order["id"]))["incident"] is None


async def test_asking_again_needs_no_body(service: Service) -> None:
    order = await service.place()
    response = await service.client.post(f"/api/sagas/{order['id']}/retry")
    assert (response.status_code, response.json()["waiting"]["attempt"]) == (200, 2)


@pytest.mark.parametrize(
    ("before", "outcome", "status"),
    [
        ((), "succeeded", "InProgress"),
        ((), "failed", "Failed"),
        (HAPPY[:2], "succeeded", "Completed"),
        (HAPPY[:2], "failed", "Compensating"),
        ((*HAPPY[:2], G.PAYMENT_FAILED), "succeeded", "Compensated"),
    ],
)
async def test_a_verdict_moves_the_saga_as_its_participant_would(
    service: Service, before: tuple[Signal, ...], outcome: str, status: str
) -> None:
    order = await service.place()
    for signal in before:
        await service.happen(order["id"], signal)
    saga = await _act(service, order["id"], "resolve", outcome=outcome, reason="looked it up")
    entry = saga["history"][-1]
    assert (saga["status"], entry["status"], entry["actor"]) == (status, "Resolved", "operator@127.0.0.1")
    assert entry["message"].endswith(": looked it up")


@pytest.mark.parametrize("step", [None, "ValidateInventory"])
async def test_a_verdict_that_is_sent_twice_does_not_count_for_the_next_command(
    service: Service, step: str | None
) -> None:
    order = await service.place()
    body: dict[str, Any] = {"outcome": "succeeded", "reason": "looked it up", "step": step}
    first = await _act(service, order["id"], "resolve", **body)
    assert await _act(service, order["id"], "resolve", **body) == first
    assert first["currentStep"] == "ReserveInventory"


async def test_a_verdict_that_is_sent_again_later_does_not_count_for_the_next_command(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], G.INVENTORY_VALIDATED)
    body: dict[str, Any] = {"outcome": "succeeded", "reason": "seen in the warehouse"}
    await _act(service, order["id"], "resolve", **body)
    await service.expire(order["id"])
    answer = await _act(service, order["id"], "resolve", 409, **body)
    assert "before, of ReserveInventory, and now ProcessPayment is open" in answer["detail"]
    assert (await service.saga(order["id"]))["currentStep"] == "ProcessPayment"
    # whoever says what is meant may say it in the same words
    assert (await _act(service, order["id"], "resolve", **body, step="ProcessPayment"))["status"] == "Completed"


async def test_a_verdict_whose_reason_ends_like_the_one_before_is_a_new_one(service: Service) -> None:
    order = await service.place()
    for reason, step in (("checked: yes", "ReserveInventory"), ("yes", "ProcessPayment")):
        saga = await _act(service, order["id"], "resolve", outcome="succeeded", reason=reason)
        assert saga["currentStep"] == step


async def test_a_verdict_about_another_command_than_the_open_one_is_refused(service: Service) -> None:
    order = await service.place()
    body = {"outcome": "succeeded", "reason": "looked it up"}
    answer = await _act(service, order["id"], "resolve", 409, **body, step="ProcessPayment")
    assert "ValidateInventory is" in answer["detail"]
    assert (await service.saga(order["id"]))["history"] == []


async def test_a_verdict_closes_the_incident_of_a_saga_that_has_ended_once(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY, Signal.PAYMENT_FAILED)
    assert (await service.saga(order["id"]))["incident"]["kind"] == "contradiction"
    first = await _act(service, order["id"], "resolve", outcome="succeeded", reason="they were wrong")
    assert first["incident"] is None
    assert await _act(service, order["id"], "resolve", outcome="succeeded", reason="they were wrong") == first


async def test_an_acknowledgement_that_is_sent_again_closes_no_other_incident(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY, G.PAYMENT_FAILED)
    body: dict[str, Any] = {"outcome": "succeeded", "reason": "they were wrong"}
    await _act(service, order["id"], "resolve", **body)
    await service.happen(order["id"], G.PAYMENT_REFUNDED)
    saga = await service.saga(order["id"])
    assert await _act(service, order["id"], "resolve", **body) == saga
    await service.happen(order["id"], G.INVENTORY_RESERVATION_FAILED)
    await _act(service, order["id"], "resolve", 409, **body)
    assert (await _act(service, order["id"], "resolve", **body | {"reason": "wrong again"}))["incident"] is None


async def test_an_acknowledgement_never_counts_for_a_command_that_was_opened_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await service.place()
    await service.happen(order["id"], G.INVENTORY_VALIDATION_FAILED, G.INVENTORY_VALIDATED)
    advance = service.engine.advance

    async def after_a_late_payment(event: Event) -> Decision:
        await advance(Event(G.PAYMENT_PROCESSED, event.order_id, event_id=uuid4()))
        return await advance(event)

    with monkeypatch.context() as patch:
        patch.setattr(service.engine, "advance", after_a_late_payment)
        answer = await _act(service, order["id"], "resolve", 409, outcome="succeeded", reason="spoken with them")
    assert "another command is open by now" in answer["detail"]
    assert (await service.saga(order["id"]))["waiting"]["for"][0] == "PaymentRefunded"


async def test_a_saga_of_another_releases_table_is_a_problem_that_says_so(service: Service) -> None:
    order, ended = await service.place(), await service.place()
    await service.happen(ended["id"], *HAPPY)
    async with service.sessions() as session, session.begin():
        await session.execute(text("UPDATE order_sagas SET table_version = 99"))
    reason: dict[str, Any] = {"reason": "r"}
    for action, body in (("retry", reason), ("resolve", {"outcome": "failed"} | reason), ("compensate", reason)):
        answer = await _act(service, order["id"], action, 503, **body)
        assert "version 99 of the transition table" in answer["detail"]
    response = await service.client.get(f"/api/orders/{order['id']}/saga")
    assert problem(response, 503)["type"] == "urn:order-service:unknown-table"
    assert response.headers["Retry-After"]
    problem(await service.client.post(f"/api/orders/{order['id']}/cancel"), 503)
    # what has ended waits for nothing, and one saga does not hide the others
    assert (await service.saga(ended["id"]))["status"] == "Completed"
    listed = (await service.client.get("/api/sagas")).json()["items"]
    assert [saga["waiting"] and saga["waiting"]["then"][:20] for saga in listed] == [None, "what version 99 of t"]
    for dry_run in (True, False):
        answer = await _bulk(service, dryRun=dry_run, status="Started")
        assert [item["outcome"] for item in answer["items"]] == ["refused"]


async def test_giving_up_a_payment_refunds_first_and_twice_is_once(service: Service) -> None:
    order = await service.place()
    await service.happen(order["id"], *HAPPY[:2])
    saga = await _act(service, order["id"], "compensate", reason="the customer is gone")
    assert (saga["status"], saga["waiting"]["for"][0]) == ("Compensating", "PaymentRefunded")
    assert await _act(service, order["id"], "compensate", reason="the customer is gone") == saga


@pytest.mark.parametrize(
    ("before", "action", "body", "why"),
    [
        (HAPPY, "retry", {}, "the saga has ended"),
        (HAPPY, "compensate", {"reason": "r"}, "a completed order is not undone"),
        (HAPPY, "resolve", {"outcome": "failed", "reason": "r"}, "no command is open"),
        ((*HAPPY[:2], G.PAYMENT_FAILED), "resolve", {"outcome": "failed", "reason": "r"}, "never given up"),
    ],
)
async def test_what_the_table_refuses_is_a_conflict_with_its_reason(
    service: Service, before: tuple[Signal, ...], action: str, body: dict[str, str], why: str
) -> None:
    order = await service.place()
    await service.happen(order["id"], *before)
    saga = await service.saga(order["id"])
    assert why in (await _act(service, order["id"], action, 409, **body))["detail"]
    assert await service.saga(order["id"]) == saga


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("resolve", {"outcome": "perhaps", "reason": "r"}),
        ("resolve", {"outcome": "failed"}),
        ("resolve", {"outcome": "failed", "reason": "r", "step": "Failed"}),
        ("compensate", {}),
        ("compensate", {"reason": " "}),
        ("retry", {"reason": 1}),
    ],
)
async def test_an_action_says_what_it_needs(service: Service, action: str, body: dict[str, Any]) -> None:
    order = await service.place()
    problem(await service.client.post(f"/api/sagas/{order['id']}/{action}", json=body), 422)


async def test_an_order_that_is_not_there_has_no_saga_to_operate(service: Service) -> None:
    for action, body in (
        ("retry", {}),
        ("resolve", {"outcome": "failed", "reason": "r"}),
        ("compensate", {"reason": "r"}),
    ):
        await _act(service, str(uuid4()), action, 404, **body)


# --------------------------------------------------------------------------------------------------------- many sagas


async def test_a_dry_run_tells_what_would_be_done_and_does_nothing(service: Service) -> None:
    done, waiting = (await service.place())["id"], (await service.place())["id"]
    await service.happen(done, *HAPPY)
    saga = await service.saga(waiting)
    answer = await _bulk(service)
    assert [(item["orderId"], item["outcome"], item["why"]) for item in answer["items"]] == [
        (waiting, "would-retry", "send ValidateInventory again, attempt 2"),
        (done, "refused", "the saga has ended; there is nothing to ask"),
    ]
    assert answer["next"] is None
    assert await service.saga(waiting) == saga


async def test_all_that_the_filter_names_are_asked_again_each_with_an_answer(service: Service) -> None:
    parked = [(await service.place())["id"] for _ in range(3)]
    other = (await service.place())["id"]
    for order_id in parked:
        await service.expire(order_id, times=PARKING)
    answer = await _bulk(service, incident=True, dryRun=False, ratePerSecond=1000, reason=" Inventory is back ")
    assert [(item["orderId"], item["outcome"]) for item in answer["items"]] == [
        (id_, "applied") for id_ in parked[::-1]
    ]
    for order_id in parked:
        saga = await service.saga(order_id)
        assert (saga["waiting"]["attempt"], saga["history"][-1]["actor"]) == (5, "operator@127.0.0.1")
        assert saga["history"][-1]["message"].endswith(": Inventory is back")
    assert (await service.saga(other))["history"] == []


async def test_filters_may_be_said_as_the_list_has_them_and_none_is_lost(service: Service) -> None:
    mine, _ = await service.place(), await service.place()
    by = {"userId": mine["userId"]}
    for query, body in (by, {}), ({}, by), (by, by):
        response = await service.client.post("/api/sagas/retry", params=query, json=body)
        assert [item["orderId"] for item in response.json()["items"]] == [mine["id"]]
    for query, body, wrong in (
        (by, {"userId": str(uuid4())}, "userId"),
        ({"dryRun": "false"}, {}, "dryRun"),
        ({"status": "Lost"}, {}, "status"),
        ({"user": mine["userId"]}, {}, "user"),
    ):
        told = problem(await service.client.post("/api/sagas/retry", params=query, json=body), 422)
        assert [(one["field"], one["location"]) for one in told["errors"]] == [(wrong, "query")]


async def test_many_are_done_page_by_page(service: Service) -> None:
    orders = [(await service.place())["id"] for _ in range(3)]
    first = await _bulk(service, limit=2)
    second = await _bulk(service, limit=2, after=first["next"])
    assert [item["orderId"] for item in first["items"] + second["items"]] == orders[::-1]
    assert second["next"] is None


async def test_the_rate_is_kept_and_the_time_of_one_request_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [(await service.place())["id"] for _ in range(4)]
    monkeypatch.setattr(asking_again, "BULK_SECONDS", 0.25)
    begun = asyncio.get_running_loop().time()
    first = await _bulk(service, dryRun=False, ratePerSecond=10.0)
    assert asyncio.get_running_loop().time() - begun >= 0.2
    assert [item["orderId"] for item in first["items"]] == orders[:0:-1]
    second = await _bulk(service, dryRun=False, ratePerSecond=10, after=first["next"])
    assert ([item["orderId"] for item in second["items"]], second["next"]) == (orders[:1], None)


async def test_a_saga_that_is_not_committed_in_time_ends_the_request(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [(await service.place())["id"] for _ in range(2)]

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asking_again, "ACCEPT_SECONDS", 0.01)
    monkeypatch.setattr(service.engine, "advance", never)
    answer = await _bulk(service, dryRun=False)
    assert [(item["orderId"], item["outcome"]) for item in answer["items"]] == [(orders[1], "unknown")]
    assert answer["next"]


@pytest.mark.parametrize(
    "body",
    [{"stats": "Failed"}, {"dryRun": "no"}, {"dryRun": 0}, {"ratePerSecond": 0}, {"ratePerSecond": 1001},
     {"limit": 101}, {"limit": 0}, {"status": "x"}, {"after": "x"}, {"olderThan": -1}, {"reason": " "}, []],
)  # fmt: skip
async def test_a_bulk_retry_that_is_not_understood_is_refused_as_a_whole(service: Service, body: Any) -> None:
    order = await service.place()
    problem(await service.client.post("/api/sagas/retry", json=body), 422)
    assert (await service.saga(order["id"]))["history"] == []


async def test_a_reader_of_the_list_is_told_that_the_database_is_away(homeless: Service) -> None:
    response: httpx2.Response = await homeless.client.get("/api/sagas")
    problem(response, 503)


async def test_verdicts_at_once_resolve_one_command(service: Service) -> None:
    """Each was given about the command that was open when it was asked; none may count for the next one."""
    order = await service.place()
    body = {"outcome": "succeeded", "reason": "looked it up"}
    path = f"/api/sagas/{order['id']}/resolve"
    await asyncio.gather(*(service.client.post(path, json=body) for _ in range(5)))
    assert (await service.saga(order["id"]))["currentStep"] == "ReserveInventory"


@pytest.mark.parametrize("host", ["evil.example:5002", "localhost.evil.example", "10.0.0.1:5002", ""])
@pytest.mark.parametrize("path", ["/api/sagas", "/api/sagas?incident=true", "/", "/sagas", "/dead-letters"])
async def test_a_name_that_somebody_points_here_is_not_this_machine(service: Service, host: str, path: str) -> None:
    response = await service.client.get(path, headers={"Host": host})
    assert response.status_code == 403
    assert "localhost" in response.text
