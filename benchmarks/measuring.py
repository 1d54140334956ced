"""The run: servers and participants once, then the sides by turns, each in a process of its own."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import uvloop

from benchmarks import participants
from benchmarks.cpu import cpu_seconds, machine_seconds
from benchmarks.load import Load, OrderFailedError, StalledError, connected
from benchmarks.report import REST, Round
from benchmarks.verify import losses, require_empty, settled
from local.__main__ import PROJECT, READY_SECONDS, STOP_SECONDS, Program
from local.child import Child
from local.errors import LocalError
from local.host import data_dir, free_port, prepare_home
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq

_LAST_WORDS = 0.1
"""Seconds between the last event and the reading of the CPU times."""


class VoidError(LocalError):
    """Something was lost, or did not end: the figures are worth nothing."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared."""

    app: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """What its environment says beside the addresses."""
    keeps: bool = True
    """Whether its orders are in the database afterwards."""


SIDES = MappingProxyType({"floor": Side("benchmarks.floor:app", keeps=False), "system": Side("app:app")})
"""What is measured, in this order in every round."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    sagas: int
    warm_up: int
    rounds: int
    in_flight: int
    rate: float | None
    workers: int
    database_url: str | None = None
    """An empty database for us alone; None: a private PostgreSQL."""
    rabbitmq_url: str | None = None
    """An empty virtual host for us alone; None: a private RabbitMQ."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where it happens."""

    home: Path
    database_url: str
    rabbitmq_url: str
    others: dict[str, int]
    """By name: processes whose CPU is watched beside the worker's."""

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are told."""
        addresses = {"DATABASE_URL": self.database_url, "RABBITMQ_URL": self.rabbitmq_url}
        return os.environ | {"ACCESS": "local"} | addresses


@dataclass(frozen=True, slots=True)
class Watcher:
    """Whoever wants to see how it goes."""

    phase: Callable[[str], None]
    saga_ended: Callable[[], object]


def measure(plan: Plan, watcher: Watcher, sides: Mapping[str, Side] = SIDES) -> list[Round]:
    """Do all rounds, and see that nothing was lost.

    Raises:
        VoidError: something was.
        NotEmptyError: a given database or virtual host has been used.
        LocalError: a server could not be started.
    """
    with _place(plan, watcher.phase) as place:
        rounds = [
            _round(plan, place, watcher, number, name, side)
            for number in range(1, plan.rounds + 1)
            for name, side in sides.items()
        ]
        watcher.phase("looking for losses")
        expected = plan.rounds * (plan.warm_up + plan.sagas) * sum(side.keeps for side in sides.values())
        if problems := uvloop.run(losses(place.database_url, place.rabbitmq_url, expected)):
            raise VoidError(f"Void: {'; '.join(problems)}.")
    return rounds


@contextmanager
def _place(plan: Plan, say: Callable[[str], None]) -> Iterator[Place]:
    """Servers, unless they are given, and participants; all of it gone afterwards."""
    with ExitStack() as stack:
        home = stack.enter_context(private_home())
        others = {"load": os.getpid()}
        database_url = plan.database_url
        if database_url is None:
            say("starting PostgreSQL")
            postgres = stack.enter_context(PrivatePostgres(home / "postgres"))
            database_url = postgres.create_database("benchmark")
            others |= {"PostgreSQL": postgres.child.pid} if postgres.child else {}
        rabbitmq_url = plan.rabbitmq_url
        if rabbitmq_url is None:
            say("starting RabbitMQ")
            broker = stack.enter_context(rabbitmq(home / "rabbitmq", say=say))
            rabbitmq_url = broker.url()
            others |= {"RabbitMQ": broker.child.pid} if broker.child else {}
        uvloop.run(require_empty(database_url, rabbitmq_url))
        say("starting the participants")
        place = Place(home, database_url, rabbitmq_url, others)
        answering = _start_participants(place)
        stack.callback(answering.stop, seconds=STOP_SECONDS)
        answering.wait_until(lambda: participants.READY in answering.last_lines(), seconds=READY_SECONDS)
        others["participants"] = answering.pid
        yield place


@contextmanager
def private_home() -> Iterator[Path]:
    """A folder on the disk of the project: /tmp is often no disk, and then nothing there is durable."""
    folder = data_dir(PROJECT)
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="benchmark-", dir=folder))
    try:
        prepare_home(home)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _start_participants(place: Place) -> Child:
    return Child(
        "participants",
        [sys.executable, "-m", "benchmarks.participants"],
        log=place.home / "participants.log",
        env=place.environment,
        cwd=PROJECT,
    )


def _round(plan: Plan, place: Place, watcher: Watcher, number: int, called: str, side: Side) -> Round:  # noqa: PLR0913, PLR0917 - what a round is
    """Start one side afresh, warm it up, measure it, stop it."""
    name = f"{called}, round {number} of {plan.rounds}"
    watcher.phase(f"{name}: starting")
    more = ("--workers", str(plan.workers)) if plan.workers > 1 else ()
    program = Program(called, side.app, free_port(), "/health/ready", more)
    worker = program.start(place.home, place.environment | dict(side.settings))
    try:
        worker.wait_until(program.answers, seconds=READY_SECONDS, poll=0.05)
        figures = uvloop.run(_drive(plan, place, watcher, name, side, worker))
    except (StalledError, OrderFailedError) as error:
        raise VoidError(f"Void, in {name}: {error}\n{worker.last_lines()}") from error
    finally:
        worker.stop(seconds=STOP_SECONDS)
    return Round(called, plan.sagas, *figures)


async def _drive(  # noqa: PLR0913, PLR0917 - the same
    plan: Plan, place: Place, watcher: Watcher, name: str, side: Side, worker: Child
) -> tuple[float, dict[str, float], list[float]]:
    """Seconds, CPU seconds by process, and latencies."""
    processes = place.others | {"worker": worker.pid}

    async def quiet() -> dict[str, float]:
        """Wait until nothing is left to do; then read every process's CPU time."""
        if side.keeps:
            await settled(place.database_url)
        # the last confirms and acknowledgements are still on their way
        await asyncio.sleep(_LAST_WORDS)
        return {REST: machine_seconds()} | {process: cpu_seconds(pid) for process, pid in processes.items()}

    async with connected(place.rabbitmq_url) as load:
        await _warm_up(plan, watcher, name, load)
        before = await quiet()
        watcher.phase(f"{name}: measuring")
        driven = await load.drive(plan.sagas, in_flight=plan.in_flight, rate=plan.rate, tell=watcher.saga_ended)
        after = await quiet()
    spent = {process: after[process] - before[process] for process in after}
    # everything runs on this machine, and the servers are this process's children
    spent[REST] -= spent["load"]
    spent["load"] -= sum(seconds for process, seconds in spent.items() if process not in {REST, "load"})
    return driven.seconds, spent, driven.latencies


async def _warm_up(plan: Plan, watcher: Watcher, name: str, load: Load) -> None:
    if plan.warm_up:
        watcher.phase(f"{name}: warming up")
        await load.drive(plan.warm_up, in_flight=plan.in_flight, rate=None, tell=watcher.saga_ended)
