"""The harness finds bugs: each mistake that is planted in the service is found by a check that a right one passes.

All of it runs side by side, since most of it is waiting; each test then looks at its own.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from tests.faults import checks, mistakes
from tests.faults.checks import Check, killed_at
from tests.faults.place import Place, place
from tests.service import PROJECT, Service

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

AT_ONCE = 6
"""Checks that run side by side."""
KILLED_WHILE_WRITING = killed_at("engine.enqueued")
KILLED_WITH_A_LETTER = killed_at("letter.refused", poison=True)
KILLED_BEFORE_STORING = killed_at("letter.taken", poison=True)

FOUND_BY: dict[str, Check] = {
    "ack_before_commit": KILLED_WHILE_WRITING,
    "default_ack_policy": checks.database_away,
    "hot_loop": checks.database_away,
    "row_deleted_before_the_confirm": checks.killed_with_messages_in_flight,
    "except_exception_in_the_relay": checks.bus_hangs_up,
    "cursor_over_the_outbox": checks.bus_away_for_a_while,
    "parked_for_good": checks.bus_away_for_a_while,
    "one_shot_recovery": checks.another_worker_dies,
    "handed_over_before_the_commit": checks.commit_cut,
    "failed_commit_taken_for_done": checks.commit_cut,
    "new_id_per_attempt": checks.answer_lost,
    "deadlines_in_memory": checks.answer_lost,
    "acked_before_dead_lettered": KILLED_WITH_A_LETTER,
    "letter_acked_before_it_is_stored": KILLED_BEFORE_STORING,
    "lock_taken_for_a_refusal": checks.row_locked,
    "nobody_looks_after_bindings": checks.binding_removed,
    "publish_without_a_timeout": checks.connection_goes_silent,
    "leases_kept_when_stopping": checks.stopped_with_messages_in_hand,
    "returned_taken_for_published": checks.nobody_takes_a_command,
}
CHECKS = list(dict.fromkeys(FOUND_BY.values()))


@dataclass
class Findings:
    """What each check said: of a right service, and of one with a mistake in it."""

    of_checks: dict[Check, list[str]] = field(default_factory=dict)
    of_mistakes: dict[str, list[str]] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def findings(
    postgres: PrivatePostgres, rabbitmq: RabbitMQ, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Findings]:
    """All of it, done."""
    room, findings = asyncio.Semaphore(AT_ONCE), Findings()

    async def run(check: Check, mistake: str | None) -> list[str]:
        folder = tmp_path_factory.mktemp(mistake or "right")
        async with room, place(postgres, rabbitmq, folder, template=template) as here:
            try:
                return await check(here, lambda **settings: start(here, mistake, settings))
            except (AssertionError, TimeoutError) as error:
                # a service that does not even come so far is found out too
                return [f"{type(error).__name__}: {error}"]

    async def of_check(check: Check) -> None:
        findings.of_checks[check] = await run(check, None)

    async def of_mistake(mistake: str) -> None:
        findings.of_mistakes[mistake] = await run(FOUND_BY[mistake], mistake)

    async with asyncio.TaskGroup() as group:
        for check in CHECKS:
            group.create_task(of_check(check))
        for mistake in FOUND_BY:
            group.create_task(of_mistake(mistake))
    yield findings


async def start(here: Place, mistake: str | None, settings: dict[str, str]) -> Service:
    """A service there, with that mistake; what has died is not asked any more."""
    here.clients.urls = [one.url for one in here.services if one.child.returncode is None]
    if mistake is None:
        return await here.start_service(**settings)
    return await here.start_service("tests.faults.planted:app", TEST_MISTAKE=mistake, **settings)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_a_right_service_comes_through(findings: Findings, check: Check) -> None:
    assert findings.of_checks[check] == []


@pytest.mark.parametrize("mistake", FOUND_BY)
async def test_a_mistake_is_found(findings: Findings, mistake: str) -> None:
    assert findings.of_mistakes[mistake] != [], f"{mistake} is not found"


async def test_each_mistake_that_there_is_is_looked_for() -> None:
    there = {name for name, one in vars(mistakes).items() if callable(one) and one.__module__ == mistakes.__name__}
    assert there - {"plant", "_instead"} == FOUND_BY.keys()
    assert f"{len(there) - 2} mistakes planted" in (PROJECT / "docs" / "reliability.md").read_text()
