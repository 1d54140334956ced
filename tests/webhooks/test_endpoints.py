"""Endpoints and their deliveries, as people deal with them."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from models.states import DeliveryStatus
from saga.engine import Engine
from saga.errors import UnknownDeliveryError, UnknownWebhookError, WebhookDisabledError
from saga.webhooks import deliveries, endpoints
from saga.webhooks.disabling import DISABLED
from saga.webhooks.secret_wrapping import Wrapping
from tests.webhooks.conftest import OWNER, Place, happy

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def test_an_endpoint_has_a_secret_of_its_own_that_nothing_tells_again(place: Place) -> None:
    (one, secret), (_, other) = await place.subscribe(), await place.subscribe()
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64
    assert secret != other
    found = await place.call(endpoints.find_endpoint, one.id)
    assert found == one
    assert secret not in repr(found)


async def test_endpoints_are_listed_newest_first_in_pages_of_their_owner(place: Place) -> None:
    mine = [(await place.subscribe())[0] for _ in range(5)]
    theirs, _ = await place.subscribe(owner="user:somebody")
    first = await place.call(endpoints.list_endpoints, OWNER, 3)
    rest = await place.call(endpoints.list_endpoints, OWNER, 3, (first[-1].created_at, first[-1].id))
    assert first + rest == mine[::-1]
    assert await place.call(endpoints.list_endpoints, None, 1) == [theirs]
    assert await place.call(endpoints.count_endpoints, OWNER) == 5


async def test_what_is_somebody_elses_is_not_there(place: Place) -> None:
    endpoint, secret = await place.subscribe(owner="user:somebody")
    for function, more in [
        (endpoints.find_endpoint, ()),
        (endpoints.enable, ()),
        (endpoints.disable, ("no reason",)),
        (endpoints.rotate_secret, (Wrapping(),)),
        (endpoints.delete, ()),
        (endpoints.ping, ()),
    ]:
        with pytest.raises(UnknownWebhookError):
            await place.call(function, endpoint.id, *more, owner=OWNER)
    assert await place.call(endpoints.find_endpoint, endpoint.id) == endpoint
    assert await place.value("SELECT secret FROM webhooks") == secret


async def test_disabling_fails_what_waits_and_is_done_once(place: Place, engine: Engine) -> None:
    endpoint, _ = await place.subscribe()
    await happy(engine)
    under_way = (await place.deliveries())[0]["id"]
    await place.execute(
        "UPDATE webhook_deliveries SET lease = gen_random_uuid(), next_attempt_at = now() + interval '30 s'"
        " WHERE id = :id",
        id=under_way,
    )
    disabled = await place.call(endpoints.disable, endpoint.id, "first")
    assert (disabled.status, disabled.disabled_reason) == ("disabled", "first")
    assert await place.call(endpoints.disable, endpoint.id, "second") == disabled
    assert [(row["status"], row["last_error"]) for row in await place.deliveries()] == [
        ("pending", None),
        ("failed", DISABLED),
    ]
    enabled = await place.call(endpoints.enable, endpoint.id)
    assert (enabled.status, enabled.disabled_reason, enabled.disabled_at) == ("enabled", None, None)


async def test_a_deleted_endpoint_is_gone_with_its_secrets(place: Place) -> None:
    endpoint, _ = await place.subscribe()
    await place.call(endpoints.rotate_secret, endpoint.id, Wrapping())
    await place.call(endpoints.delete, endpoint.id)
    with pytest.raises(UnknownWebhookError):
        await place.call(endpoints.delete, endpoint.id)
    with pytest.raises(UnknownWebhookError):
        await place.call(endpoints.find_endpoint, endpoint.id)
    assert await place.rows("SELECT secret, previous_secret FROM webhooks") == [{"secret": "", "previous_secret": None}]


async def test_a_rotation_keeps_the_secret_before_for_a_day(place: Place) -> None:
    endpoint, old = await place.subscribe()
    new = await place.call(endpoints.rotate_secret, endpoint.id, Wrapping())
    row = (await place.rows("SELECT *, now() AS now FROM webhooks"))[0]
    assert (row["secret"], row["previous_secret"]) == (new, old)
    assert abs(row["previous_secret_until"] - row["now"] - timedelta(hours=24)) < timedelta(minutes=1)


async def test_a_ping_is_written_for_an_enabled_endpoint_only(place: Place) -> None:
    endpoint, _ = await place.subscribe()
    ping = await place.call(endpoints.ping, endpoint.id, owner=OWNER)
    assert (ping.type, ping.status, ping.order_id, ping.log) == ("webhook.ping", "pending", None, [])
    await place.call(endpoints.disable, endpoint.id, "by its owner")
    with pytest.raises(WebhookDisabledError):
        await place.call(endpoints.ping, endpoint.id)


async def test_deliveries_are_listed_newest_first_by_status_and_in_pages(place: Place, engine: Engine) -> None:
    endpoint, _ = await place.subscribe()
    for _ in range(3):
        await happy(engine)
    rows = (await place.deliveries())[::-1]
    first = await place.call(deliveries.list_deliveries, endpoint.id, 4)
    rest = await place.call(deliveries.list_deliveries, endpoint.id, 4, (first[-1].created_at, first[-1].id))
    assert [one.id for one in first + rest] == [row["id"] for row in rows]
    await place.execute(
        "UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL,"
        """ log = '[{"seconds": 1}, {"seconds": 0.25}]' WHERE id = :id""",
        id=rows[2]["id"],
    )
    [failed] = await place.call(deliveries.list_deliveries, endpoint.id, 4, None, DeliveryStatus.FAILED)
    assert (failed.id, failed.last_seconds, failed.log) == (rows[2]["id"], 0.25, None)
    whole = await place.call(deliveries.find_delivery, endpoint.id, failed.id)
    assert len(whole.log) == 2
    assert whole.body == rows[2]["body"]
    with pytest.raises(UnknownDeliveryError):
        await place.call(deliveries.find_delivery, uuid4(), failed.id)


async def test_a_delivery_begins_afresh_whatever_became_of_it(place: Place, engine: Engine) -> None:
    endpoint, _ = await place.subscribe()
    await happy(engine)
    done = (await place.deliveries())[0]
    await place.execute(
        "UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL, delivered_at = now(), attempts = 4"
    )
    again = await place.call(deliveries.redeliver, endpoint.id, done["id"])
    assert (again.status, again.attempts, again.event_id, again.delivered_at) == ("pending", 0, done["event_id"], None)
    with pytest.raises(UnknownDeliveryError):
        await place.call(deliveries.redeliver, endpoint.id, uuid4())
    await place.call(endpoints.disable, endpoint.id, "by its owner")
    with pytest.raises(WebhookDisabledError):
        await place.call(deliveries.redeliver, endpoint.id, done["id"])


async def test_all_that_failed_since_then_is_delivered_again_however_much(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = await place.subscribe()
    other, _ = await place.subscribe()
    for webhook in (endpoint, other):
        await place.execute(
            "INSERT INTO webhook_deliveries (id, webhook_id, event_id, order_id, type, body, status, created_at)"
            " SELECT gen_random_uuid(), :id, gen_random_uuid(), gen_random_uuid(), 'order.created', '{}', 'failed',"
            " now() - n * interval '1 minute' FROM generate_series(1, 1300) n",
            id=webhook.id,
        )
    since = await place.value("SELECT now() - interval '1200.5 minutes'")
    assert await place.call(deliveries.redeliver_failed, endpoint.id, since) == 1200
    assert await place.call(deliveries.redeliver_failed, endpoint.id, since) == 0
    counts = await place.rows("SELECT webhook_id, status, count(*) FROM webhook_deliveries GROUP BY 1, 2")
    assert {(row["webhook_id"], row["status"], row["count"]) for row in counts} == {
        (endpoint.id, "pending", 1200),
        (endpoint.id, "failed", 100),
        (other.id, "failed", 1300),
    }
    await place.call(endpoints.disable, other.id, "by its owner")
    assert await place.call(deliveries.redeliver_failed, other.id, LONG_AGO) == 0


async def test_an_endpoints_health_is_told(place: Place, engine: Engine) -> None:
    quiet, _ = await place.subscribe(user_id=uuid4())
    busy, _ = await place.subscribe()
    await asyncio.gather(*(happy(engine) for _ in range(3)))
    await place.execute(
        "UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL, delivered_at = created_at"
        " WHERE type = 'order.created'"
    )
    health = await place.call(endpoints.health_of, [quiet, busy])
    last = await place.value("SELECT max(delivered_at) FROM webhook_deliveries")
    assert health == {quiet.id: endpoints.Health(None, 0), busy.id: endpoints.Health(last, 3)}
