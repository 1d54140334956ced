"""What webhooks may cost: what is asked for, what waits, and what slow receivers hold."""

from datetime import UTC, datetime

import pytest

from handlers.problems import ProblemError
from handlers.webhooks import webhooks as asked
from handlers.webhooks.asking import Asking
from handlers.webhooks.webhooks import Webhooks
from saga.database import sessions
from saga.webhooks.sender import Sender
from tests.webhooks.conftest import OWNER, Place
from tests.webhooks.receiving import Loopback

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SHOP = Asking(OWNER, OWNER)


async def test_what_is_sent_because_a_client_asks_for_it_is_limited_for_each_endpoint(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "ASKED_FOR_PER_SECOND", 0.001)
    webhooks = Webhooks(sessions(place.pool), place.sessions, Sender(frozenset(), network=Loopback()), lambda: None)
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
