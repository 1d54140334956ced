"""Killed at any point of a message's life, the service comes back and finishes what it had begun."""

import pytest

from local.broker import RabbitMQ
from local.postgres import PrivatePostgres
from saga.errors import ConfigurationError
from saga.runtime import failpoints
from saga.runtime.failpoints import POINTS
from tests.faults.crashes.matrix import Cell, cells, some, steps
from tests.faults.crashes.running import Servers, census, run_all
from tests.faults.crashes.scenarios import SCENARIOS
from tests.service import PROJECT


@pytest.fixture
def servers(postgres: PrivatePostgres, rabbitmq: RabbitMQ, template: str) -> Servers:
    return Servers(postgres, rabbitmq, template)


async def test_killed_at_every_point_the_service_finishes_what_it_had_begun(servers: Servers, seed: int) -> None:
    """One run for every point, others with another seed; `make crash` has them all, and takes a name as shown here."""
    runs = await run_all(some(seed), servers)
    assert {run.cell.point for run in runs} == set(POINTS)
    assert {str(run.cell): run.wrong for run in runs if run.wrong} == {}


@pytest.mark.long
async def test_the_matrix_has_every_step_of_every_scenario_at_which_a_point_is_reached(servers: Servers) -> None:
    table = steps()
    assert list(table) == list(POINTS)
    played = [name for name, scenario in SCENARIOS.items() if not scenario.left_by]
    for name, reached in (await census(played, servers)).items():
        for point in POINTS:
            assert _known(point, name) == reached[point], f"{point} in {name}"


def _known(point: failpoints.Point, scenario: str) -> int:
    """How often a point is reached in a scenario, as the table has it; what it leaves out is covered elsewhere."""
    table = steps()[point]
    if point.startswith("migration."):
        # at every start, and the scenario has not begun by then
        return len(table["http"])
    if scenario == "empty":
        return _known(point, "http")
    like = SCENARIOS[scenario].like
    before = _known(point, like) if like else 0
    mine = table.get(scenario)
    if mine is None:
        return before
    assert mine.start - 1 <= before, f"nobody is killed at {point}:{mine.start - 1} in {scenario}, nor in {like}"
    return mine.stop - 1


def test_the_short_version_takes_every_point_once_and_every_run_has_its_seed() -> None:
    every = cells()
    assert len(every) == len(set(every))
    taken: set[Cell] = set()
    for seed in range(100):
        drawn = list(some(seed))
        assert [cell.point for cell in drawn] == list(POINTS)
        taken.update(drawn)
    assert taken == set(every)


def test_the_documentation_tells_of_as_many_points_as_there_are() -> None:
    assert f"SIGKILL at any of {len(POINTS)} points" in (PROJECT / "docs" / "reliability.md").read_text()


def test_a_failpoint_that_does_not_exist_is_refused_by_name() -> None:
    for wrong in ("relay.nowhere:1", "relay.taken:x", "relay.taken:0"):
        with pytest.raises(ConfigurationError, match="TEST_FAILPOINT"):
            failpoints.arm(wrong)
