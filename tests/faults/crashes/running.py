"""Playing a scenario while the service is killed, and judging what is left."""

import asyncio
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from saga.runtime.failpoints import TELL
from tests.faults.crashes.matrix import Cell
from tests.faults.crashes.scenarios import PATIENT, SCENARIOS, Scenario, Stage
from tests.faults.place import TRANSACTIONS, Place, place
from tests.service import Service
from tests.waiting import until
from tests.webhooks.receiver import receiving

AT_ONCE = 4
"""Runs at the same time: most of one is waiting."""
_START_SECONDS, _DEATH_SECONDS, _RUN_SECONDS = 40.0, 30.0, 120.0
_COPIES = 2
"""A crash between copy and ack gives a dead letter once more, and it is counted: allowed, this often."""
_TOLD = re.compile(r"^failpoint (\S+):\d+$", re.MULTILINE)


@dataclass(frozen=True)
class Servers:
    """What the runs share: each has its own database, its own virtual host and its own processes on them."""

    postgres: PrivatePostgres
    rabbitmq: RabbitMQ
    template: str
    """A database that has all tables and nothing in them."""


@dataclass(frozen=True)
class Ran:
    """What became of one run."""

    cell: Cell
    seconds: float
    wrong: list[str]


class NotKilledError(AssertionError):
    """The service should have been killed at a point, and was not: the matrix is wrong, or the service is."""


async def run_all(
    cells: Iterable[Cell],
    servers: Servers,
    report: Callable[[Ran], None] = lambda _: None,
    at_once: int = AT_ONCE,
) -> list[Ran]:
    """Run these, several at once; each is reported when it is done."""
    turn = asyncio.Semaphore(at_once)

    async def one(cell: Cell) -> Ran:
        async with turn:
            began = time.monotonic()
            wrong = await _wrong(cell, servers)
        ran = Ran(cell, time.monotonic() - began, wrong)
        report(ran)
        return ran

    return await asyncio.gather(*(one(cell) for cell in cells))


async def census(scenarios: Iterable[str], servers: Servers) -> dict[str, Counter[str]]:
    """Play these with nobody killed; how often each point was reached, by scenario."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Counter[str]:
        async with turn, asyncio.timeout(_RUN_SECONDS):
            return await _reached(SCENARIOS[name], servers)

    names = list(scenarios)
    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


async def _reached(scenario: Scenario, servers: Servers) -> Counter[str]:
    async with _stage(scenario, servers) as stage:
        service = await _start(stage, TELL)
        await _ready_or_dead(service)
        await scenario.play(stage)
        await _ended(scenario, stage)
        wrong = await _judged(scenario, stage.here)
        assert not wrong, str(wrong)
        return Counter(_TOLD.findall(service.log.read_text()))


async def _wrong(cell: Cell, servers: Servers) -> list[str]:
    try:
        async with asyncio.timeout(_RUN_SECONDS), _stage(cell.played, servers) as stage:
            return await _killed(cell, stage)
    except Exception as error:  # noqa: BLE001 - whatever it is, this run has not come right, and the others go on
        return [f"{type(error).__name__}: {error}"]


async def _killed(cell: Cell, stage: Stage) -> list[str]:
    """Play with the service killed and started again; everything that is wrong then."""
    playing: asyncio.Task[None] | None = None
    try:
        for death in [*cell.deaths, None]:
            service = await _start(stage, death)
            if await _ready_or_dead(service) and playing is None:
                playing = asyncio.create_task(cell.played.play(stage))
            if death:
                await _die(service, death, playing)
                if playing:
                    await stage.here.run_out()
        assert playing is not None, "the service was ready in the end"
        await playing
        await _ended(cell.played, stage)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}; {await _found(stage.here)}") from error
    finally:
        if playing:
            playing.cancel()
            await asyncio.wait([playing])
    return await _judged(cell.played, stage.here)


async def _found(here: Place) -> str:
    """What there is where a run did not come to its end: for whoever looks for the reason."""
    found = [service.child.last_lines(5) for service in here.services[-1:]]
    with suppress(asyncpg.PostgresError):
        for query in (
            "SELECT status, open_command, timer, sent::text FROM order_sagas",
            "SELECT routing_key, lease_until - clock_timestamp() AS lease, last_error FROM outbox",
            TRANSACTIONS,
        ):
            found += [str(await here.rows(query))]
    queues = await asyncio.to_thread(here.rabbitmq.queues, here.vhost)
    return "; ".join([*found, str({name: count for name, count in queues.items() if count})])


async def _die(service: Service, death: str, playing: asyncio.Task[None] | None) -> None:
    """See it die, and of what."""

    async def dead() -> bool:
        if playing and playing.done():
            await playing
        return service.child.returncode is not None

    try:
        await until(dead, _DEATH_SECONDS)
    except TimeoutError:
        raise NotKilledError(f"{death} was not reached") from None
    code, told = service.child.returncode, f"failpoint {death}\n"
    if code != -signal.SIGKILL or told not in service.log.read_text():
        raise NotKilledError(f"the service ended with {code}, and not at {death}: {service.child.last_lines()}")
    # what was left of its process group, and its leash
    service.kill()


async def _start(stage: Stage, failpoint: str | None) -> Service:
    """A new process: clients find it instead of the one that died."""
    here = stage.here
    armed = {"TEST_FAILPOINT": failpoint} if failpoint else {}
    allowed = {"WEBHOOK_ALLOW": f"127.0.0.1:{stage.receiver.port}"}
    service = await asyncio.to_thread(Service, here.folder, here.environment | PATIENT | allowed | armed)
    here.services.append(service)
    here.clients.urls[:] = [service.url]
    return service


async def _ready_or_dead(service: Service) -> bool:
    """Whether it became ready; False where it died before."""

    async def known() -> bool:
        with suppress(httpx2.TransportError):
            if (await client.get("/health/ready")).status_code == 200:
                return True
        return service.child.returncode is not None

    async with httpx2.AsyncClient(base_url=service.url, verify=False) as client:
        await until(known, _START_SECONDS)
    return service.child.returncode is None


async def _ended(scenario: Scenario, stage: Stage) -> None:
    if scenario.ends:
        await stage.shows("completed_at IS NOT NULL AND open_command IS NULL")
    if scenario.letters:
        await stage.row("SELECT 1 FROM dead_letters")
    await stage.here.quiet()


async def _judged(scenario: Scenario, here: Place) -> list[str]:
    """Every law that is broken, and every end that was not reached."""
    # the laws know by themselves that a command that was parked is copied there
    broken = await here.broken(reason for reason in scenario.letters if reason != "unanswered")
    ends = [row["status"] for row in await here.rows("SELECT status FROM order_sagas")]
    if ends != ([scenario.ends] if scenario.ends else []):
        broken.append(f"the end: {ends}, and should be {scenario.ends}")
    for row in await here.rows("SELECT reason, count FROM dead_letters"):
        expected = scenario.letters.get(row["reason"], 0)
        if not expected <= row["count"] <= expected + _COPIES:
            broken.append(f"a dead letter ({row['reason']}) arrived {row['count']} times, and should {expected} times")
    return broken


@asynccontextmanager
async def _stage(scenario: Scenario, servers: Servers) -> AsyncIterator[Stage]:
    """A place for one run, and nothing left of it afterwards."""
    template = servers.template if scenario.migrated else None
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        async with place(servers.postgres, servers.rabbitmq, Path(folder), template=template) as here:
            for statement in scenario.prepare:
                await here.rows(statement)
            try:
                async with receiving() as receiver:
                    yield Stage(here, receiver)
            finally:
                for service in here.services:
                    # all is quiet, or lost: no need to be polite
                    await asyncio.to_thread(service.kill)
        await asyncio.to_thread(servers.postgres.drop_database, here.vhost)
