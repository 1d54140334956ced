"""Look-ups of names: what one owner asks for keeps nobody else from theirs, and grows nothing."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from handlers.http.problems import ProblemError
from handlers.webhooks.caller import Asking
from handlers.webhooks.requests import Subscription
from handlers.webhooks.service import MOST_ENDPOINTS_OF_PERSON, Webhooks
from models.states import WebhookType
from saga.webhooks.name_resolution import Resolver, TooManyLookUpsError
from tests.waiting import until
from tests.webhooks.conftest import Place
from tests.webhooks.receiving import PUBLIC


class NameServer:
    """Answers when it is told to; names that begin with `quick` at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def __call__(self, name: str, *_: object, **__: object) -> list[object]:
        self.asked.append(name)
        if not name.startswith("quick"):
            self.answer.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (PUBLIC, 0))]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr("socket.getaddrinfo", server)
    yield server
    server.answer.set()


async def holds(condition: Callable[[], bool]) -> None:
    async def now() -> bool:
        return condition()

    await until(now)


async def given_up(*asking: asyncio.Task[object]) -> None:
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_look_up_that_nobody_waits_for_leaves_the_queue(names: NameServer) -> None:
    resolver = Resolver(1)
    first = asyncio.create_task(resolver("slow.attacker.com"))
    await holds(lambda: names.asked == ["slow.attacker.com"])
    queued = [asyncio.create_task(resolver(f"n{number}.attacker.com")) for number in range(100)]
    await asyncio.sleep(0)
    await given_up(*queued)
    assert len(resolver) == 1
    names.answer.set()
    assert [str(one) for one in await first] == [PUBLIC]
    await resolver("quick.shop.com")
    assert names.asked == ["slow.attacker.com", "quick.shop.com"]
    assert len(resolver) == 0


async def test_a_look_up_that_another_caller_waits_for_stays_in_the_queue(names: NameServer) -> None:
    resolver = Resolver(1)
    first = asyncio.create_task(resolver("slow.attacker.com"))
    await holds(lambda: bool(names.asked))
    one, other = (asyncio.create_task(resolver("hooks.shop.com", owner)) for owner in ("key:one", "key:other"))
    await asyncio.sleep(0)
    await given_up(one)
    names.answer.set()
    assert await other == await first
    assert names.asked == ["slow.attacker.com", "hooks.shop.com"]


async def test_one_owner_has_two_names_looked_up_at_once(names: NameServer) -> None:
    resolver = Resolver(32)
    asking = [asyncio.create_task(resolver(f"n{number}.attacker.com", "user:one")) for number in range(2)]
    await holds(lambda: len(names.asked) == 2)
    with pytest.raises(TooManyLookUpsError):
        await resolver("quick.attacker.com", "user:one")
    # the same name again is no look-up, and others have their own
    again = asyncio.create_task(resolver("n1.attacker.com", "user:one"))
    assert await resolver("quick.shop.com", "user:other")
    # whoever gives up has no more for that: the threads are still there
    await given_up(*asking, again)
    with pytest.raises(TooManyLookUpsError):
        await resolver("quick.attacker.com", "user:one")
    names.answer.set()
    await holds(lambda: len(resolver) == 0)
    assert await resolver("quick.attacker.com", "user:one")


@pytest.fixture
def webhooks(place: Place) -> Webhooks:
    return place.webhooks()


def subscription(host: str) -> Subscription:
    return Subscription(url=f"https://{host}/", events=[WebhookType.COMPLETED])


PERSON = Asking("user:one", "user:one", person=True)


async def register(webhooks: Webhooks, host: str, by: Asking, told: Counter[int | str]) -> None:
    """Try to, and count what is answered."""
    try:
        await webhooks.subscribe(subscription(host), by)
    except ProblemError as problem:
        told[problem.reason if problem.status_code == 429 else problem.status_code] += 1
    else:
        told[201] += 1


async def test_one_persons_burst_keeps_nobody_from_registering(webhooks: Webhooks, names: NameServer) -> None:
    told: Counter[int | str] = Counter()
    burst = [asyncio.create_task(register(webhooks, f"n{n}.attacker.com", PERSON, told)) for n in range(100)]
    await holds(lambda: told.total() == 98)
    assert len(names.asked) == 2
    await register(webhooks, "quick.shop.com", Asking("user:other", "user:other", person=True), told)
    names.answer.set()
    await asyncio.gather(*burst)
    assert told == {"too_many_look_ups": 98, 201: 3}


async def test_whoever_has_as_many_endpoints_as_they_may_has_no_name_looked_up(
    webhooks: Webhooks, names: NameServer
) -> None:
    for _ in range(MOST_ENDPOINTS_OF_PERSON):
        await webhooks.subscribe(subscription("quick.shop.com"), PERSON)
    names.asked.clear()
    told: Counter[int | str] = Counter()
    await register(webhooks, "slow.attacker.com", PERSON, told)
    assert (told, names.asked) == ({409: 1}, [])
