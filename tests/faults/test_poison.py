"""Whatever bytes come in, something definite becomes of them: a value within the contract's bounds, or a refusal.

In this process first, thousands of them, through the very doors that the broker's messages and HTTP bodies go through.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from faststream.rabbit import RabbitBroker
from starlette.types import ASGIApp, Message

from handlers.bus.orders import order_requests
from handlers.bus.replies import participant_replies
from saga.arrivals import Accepted, OrderRequest
from saga.domain import Decision, Event, Policy
from saga.engine import Engine
from saga.errors import RefusedError
from saga.insight.verify import differences
from saga.runtime.database import connect, sessions
from saga.store import find_orders
from tests.faults.bounds import wrong_with
from tests.faults.mutants import BODIES as BODIES_OVER_HTTP
from tests.faults.mutants import CANCELLING, COMPENSATE, KEYS, MUTATIONS, ORDER, RESOLVE, Mutant, Mutants
from tests.http.conftest import Service, serving

BODIES, MANY_BODIES = 10_000, 100_000
HTTP_BODIES, MANY_HTTP_BODIES = 500, 2_000
"""In the gate, and at length."""
TOGETHER = 50
SAMPLE = 40
"""Accepted mutants of each routing key that a real database has to take."""
PATHS = {
    ORDER: "/api/orders",
    CANCELLING: "/api/orders/{order_id}/cancel",
    RESOLVE: "/api/sagas/{order_id}/resolve",
    COMPENSATE: "/api/sagas/{order_id}/compensate",
}
REASONS = {"unreadable", "invalid", "too_large"}

Work = OrderRequest | Event


@dataclass
class Doors:
    """The service's own subscribers, without a broker: a body goes in, what the engine is asked to do comes out."""

    asked: list[Work] = field(default_factory=list)
    _decoders: dict[str, Callable[[Any], Awaitable[Any]]] = field(default_factory=dict)
    _handlers: dict[str, Callable[[Any], Awaitable[None]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        broker, engine = cast("RabbitBroker", self), cast("Engine", self)
        order_requests(broker, engine)
        participant_replies(broker, engine)

    def subscriber(self, queue: Any, *_: Any, decoder: Callable[[Any], Awaitable[Any]], **__: Any) -> Any:
        """As the broker's: remember who reads and who handles this routing key."""
        key = queue.routing()
        self._decoders[key] = decoder
        return lambda handler: self._handlers.setdefault(key, handler)

    async def create(self, request: OrderRequest) -> None:
        self.asked.append(request)

    async def advance(self, event: Event) -> None:
        self.asked.append(event)

    async def take(self, key: str, body: bytes) -> Work:
        """What a message asks the engine for.

        Raises:
            RefusedError: it is refused.
        """
        message = await self._decoders[key](
            SimpleNamespace(body=body, raw_message=SimpleNamespace(headers={}, user_id=None))
        )
        await self._handlers[key](message)
        return self.asked.pop()


@dataclass
class Outcomes:
    """What became of many mutants."""

    refused: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, list[Work]] = field(default_factory=lambda: defaultdict(list))
    """By routing key; at most so many as are wanted for a sample, spread over all."""
    count: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def judge(self, doors: Doors, mutant: Mutant) -> None:
        """Send a mutant in, and look at what comes out."""
        self.kinds[mutant.how] += 1
        try:
            work = await doors.take(mutant.key, mutant.body)
        except RefusedError as error:
            self.refused[error.reason] += 1
            if len(str(error).splitlines()) != 1 or not str(error).isprintable() or len(str(error)) > 1000:
                self.wrong.append(f"{mutant}: refused in these words: {error!r:.500}")
        except Exception as error:  # noqa: BLE001 - anything else is what is looked for
            self.wrong.append(f"{mutant!r:.500}: {error!r:.500}")
        else:
            self.count[mutant.key] += 1
            self.wrong += [f"{mutant!r:.500}: {line}" for line in wrong_with(mutant.body, work)]
            self.accepted[mutant.key].append(work)


@pytest.fixture
async def office(migrated: str) -> AsyncIterator[Service]:
    """An engine that runs on a real database, and the HTTP API over it."""
    database, policy = connect(migrated, connections=4, name="tests"), Policy()
    engine = Engine(sessions(database), policy, lambda _: None)
    running = asyncio.create_task(engine.run())
    async with serving(engine, sessions(database), policy) as service:
        yield service
    running.cancel()
    await asyncio.wait([running])
    await database.dispose()


async def outcomes_of(mutants: Mutants, count: int) -> Outcomes:
    """Send that many through the doors."""
    doors, outcomes = Doors(), Outcomes()
    for _ in range(count):
        await outcomes.judge(doors, mutants.next())
    return outcomes


async def test_every_mutant_is_taken_rightly_or_refused_with_a_reason(seed: int, at_length: bool) -> None:
    count = MANY_BODIES if at_length else BODIES
    outcomes = await outcomes_of(Mutants(seed), count)
    assert outcomes.wrong == []
    # it was no walk in the park: every mutation, every reason, every message, and enough of both ends
    assert set(outcomes.kinds) == {*MUTATIONS, "huge"}
    assert set(outcomes.refused) == REASONS
    assert set(outcomes.count) == set(KEYS)
    assert outcomes.refused.total() + outcomes.count.total() == count
    assert outcomes.count.total() > count // 20


async def test_what_is_accepted_is_taken_by_a_real_database(office: Service, seed: int) -> None:
    outcomes = await outcomes_of(Mutants(seed + 1), SAMPLE * len(KEYS) * 4)
    orders = [UUID((await office.place())["id"]) for _ in range(20)]
    works = [work for key in KEYS for work in outcomes.accepted[key][-SAMPLE:]]
    assert len(works) > SAMPLE * len(KEYS) * 0.8
    # an event is about an order that there is, else nothing of it is written; a request about one that there is not
    works = [
        replace(work, order_id=uuid4(), identity=f"event:{number}")
        if isinstance(work, OrderRequest)
        else replace(work, order_id=orders[number % len(orders)], causation_id=None)
        for number, work in enumerate(works)
    ]
    answers = await asyncio.gather(*(_tell(office.engine, work) for work in works))
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    async with office.sessions() as session:
        asked = [work for work in works if isinstance(work, OrderRequest)]
        stored = await find_orders(session, {work.order_id for work in asked})
        told = await find_orders(session, orders)
    for work in asked:
        assert replace(stored[work.order_id].order, causation_id=None) == replace(work.facts, causation_id=None)
    for one in told.values():
        assert len(one.saga.history) > 5
        assert differences(one.saga, one.saga.position.order_status) == []


async def _tell(engine: Engine, work: Work) -> Accepted | Decision | Exception:
    try:
        return await (engine.create(work) if isinstance(work, OrderRequest) else engine.advance(work))
    except Exception as error:  # noqa: BLE001 - to be looked at
        return error


async def test_no_body_over_http_gives_anything_but_what_is_documented(
    office: Service, seed: int, at_length: bool
) -> None:
    count = MANY_HTTP_BODIES if at_length else HTTP_BODIES
    mutants, statuses = Mutants(seed + 2), Counter[int]()
    orders = [(await office.place())["id"] for _ in range(count // 20)]
    documents = office.api.openapi()["paths"]

    async def ask(mutant: Mutant) -> None:
        path = PATHS[mutant.key]
        url = path.format(order_id=mutants.random.choice(orders))
        status, media_type, answer = await _post(office.app, url, mutant.body)
        statuses[status] += 1
        documented = documents[path]["post"]["responses"].get(str(status), {}).get("content", {})
        assert media_type in documented, f"{mutant}: {status} {media_type} {answer!r}"
        if status == 201:
            assert wrong_with(mutant.body, _asked_by(json.loads(answer))) == [], mutant

    # several at once, so that what is accepted is committed together
    for _ in range(count // TOGETHER):
        kinds = mutants.random.choices(BODIES_OVER_HTTP, k=TOGETHER)
        await asyncio.gather(*(ask(mutants.next(kind)) for kind in kinds))
    assert {201, 200, 202, 409, 400, 422} <= set(statuses)


async def _post(app: ASGIApp, path: str, body: bytes) -> tuple[int, str, bytes]:
    """Ask the application as a server does, without a network: status, media type, body."""
    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        heard.append(message)

    headers = {b"content-type": b"application/json", b"content-length": str(len(body)).encode(), b"host": b"localhost"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers.items()),
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 5002),
    }
    await app(scope, receive, send)
    media_type = dict(heard[0]["headers"])[b"content-type"].decode()
    return heard[0]["status"], media_type, b"".join(part.get("body", b"") for part in heard[1:])


def _asked_by(shown: dict[str, Any]) -> OrderRequest:
    """What was asked for, as the answer shows it."""
    ids, total = (UUID(shown["id"]), UUID(shown["userId"])), Decimal(shown["totalAmount"])
    return OrderRequest("", ids[0], chosen=False, user_id=ids[1], items=shown["items"], total_amount=total)
