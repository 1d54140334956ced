"""The crash-point matrix: where the service is killed in each scenario.

`2-4` stands for three runs: in one of them it is killed when it comes to the point for the second time, in one at the
third, in one at the fourth. Each time is a step of the scenario: a transaction of the engine, a batch of the relay, a
message from the bus, a deadline. The last number is how often the point is reached at all, and is compared with what
the running service really does (`test_crashes`). Steps before the first number are those of the scenario that this one
begins like: nothing is different there.

`behind` is another matter: there the service has been killed before, when it had taken the n-th batch, and is killed
again when it finds it. `slow` is `http` on a database whose commits take their time: what must not happen before a
commit would happen during it. `empty` has no tables yet, and is looked at only until it has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from saga.runtime.failpoints import POINTS, Point
from tests.faults.crashes.scenarios import SCENARIOS, Scenario

TABLE = """
                    http slow bus nostock declined timeout parked cancel giveup late poison stray redrive behind told empty
message.taken        1-3  1-3 1-4       1      4-5       3    3-4    2-3    4-5  6-7      1     1       2      .    .     .
message.decoded      1-3    . 1-4       1      4-5       3    3-4    2-3    4-5  6-7      .     1       2      .    .     .
message.answered     1-3    . 1-4       1      4-5       3    3-4    2-3    4-5  6-7      .     .       .      .    .     .
message.acking       1-3  1-3 1-4       1      4-5       3    3-5    2-3    4-5  6-7    1-2   1-2     3-4      .    .     .
message.acked        1-3    . 1-4       1      4-5       3    3-5    2-3    4-5  6-7    1-2   1-2     3-4      .    .     .
letter.refused         .    .   .       .        .       .      .      .      .    .      1     1       2      .    .     .
letter.copying         .    .   .       .        .       .      .      .      .    .      1     1       2      .    .     .
letter.copied          .    .   .       .        .       .      .      .      .    .      1     1       2      .    .     .
letter.taken           .    .   .       .        .       .      1      .      .    .      1     1       2      .    .     .
letter.stored          .    .   .       .        .       .      1      .      .    .      1     1       2      .    .     .
redrive.confirmed      .    .   .       .        .       .      .      .      .    .      .     .       1      .    .     .
redrive.marked         .    .   .       .        .       .      .      .      .    .      .     .       1      .    .     .
engine.gathered      1-4    . 1-4       2      4-5     3-6    2-8    2-5    3-6  6-7      .     1       2      .    .     .
engine.locked        1-3    . 1-3       1      3-4     2-3    2-3    2-3    2-5  5-6      .     1       2      .    .     .
engine.decided       1-4    . 1-4       2      4-5     3-6    2-8    2-5    3-6  6-7      .     1       2      .    .     .
engine.saved         1-4    . 1-4       2      4-5     3-6    2-8    2-5    3-6  6-7      .     1       2      .    .     .
engine.enqueued      1-4    . 1-4       2      4-5     3-5    2-7    2-4    3-6    6      .     .       .      .    .     .
engine.committed     1-4    . 1-4       2      4-5     3-6    2-8    2-5    3-6  6-7      .     1       2      .    .     .
engine.handed-over   1-4    . 1-4       2      4-5     3-5    2-7    2-4    3-6    6      .     .       .      .    .     .
relay.taken          1-4    . 1-4       2      4-5     3-5    2-7    2-4    3-6    6      .     .       .      .    .     .
relay.sending        1-5  1-5 1-5       3      5-6     4-6    3-8    3-5    4-7    7      .     .       .    1-5    .     .
relay.one-confirmed  1-5  1-5 1-5       3      5-6     4-6    3-8    3-5    4-7    7      .     .       .    1-5    .     .
relay.confirmed      1-4  1-4 1-4       2      4-5     3-5    2-7    2-4    3-6    6      .     .       .    1-5    .     .
relay.removed        1-4  1-4 1-4       2      4-5     3-5    2-7    2-4    3-6    6      .     .       .    1-5    .     .
relay.claimed          .    .   .       .        .       .      .      .      .    .      .     .       .    1-5    .     .
webhook.claimed        .    .   .       .        .       .      .      .      .    .      .     .       .      .    1     .
webhook.sent           .    .   .       .        .       .      .      .      .    .      .     .       .      .    1     .
webhook.marked         .    .   .       .        .       .      .      .      .    .      .     .       .      .    1     .
timer.due              .    .   .       .        .     1-2    1-4      1      .    .      .     .       .      .    .     .
timer.locked           .    .   .       .        .     1-2    1-4      1      .    .      .     .       .      .    .     .
timer.fired            .    .   .       .        .     1-2    1-4      1      .    .      .     .       .      .    .     .
http.read              1    .   .       .        .       .      .      .      .    .      .     .       .      .    .     .
http.accepted          1    .   .       .        .       .      .      .      .    .      .     .       .      .    .     .
migration.begun        1    .   .       .        .       .      .      .      .    .      .     .       .      .    .     1
migration.done         1    .   .       .        .       .      .      .      .    .      .     .       .      .    .     1
migration.committed    1    .   .       .        .       .      .      .      .    .      .     .       .      .    .     1
"""  # noqa: E501 - one line a point


@dataclass(frozen=True)
class Cell:
    """One run: a scenario, and where the service is killed meanwhile."""

    point: Point
    step: int
    scenario: str

    def __str__(self) -> str:
        return f"{self.point}:{self.step}/{self.scenario}"

    @property
    def played(self) -> Scenario:
        """What is played."""
        return SCENARIOS[self.scenario]

    @property
    def deaths(self) -> list[str]:
        """Where the service is killed, life by life."""
        if self.played.left_by:
            return [f"{self.played.left_by}:{self.step}", f"{self.point}:1"]
        return [f"{self.point}:{self.step}"]


def steps() -> dict[Point, dict[str, range]]:
    """The table: the steps at which the service is killed, by point and scenario."""
    scenarios, *lines = [line.split() for line in TABLE.strip().splitlines()]
    return {
        _point(point): {scenario: _steps(word) for scenario, word in zip(scenarios, words, strict=True) if word != "."}
        for point, *words in lines
    }


def cells() -> list[Cell]:
    """Every run there is, by points."""
    return [
        Cell(point, step, scenario)
        for point, scenarios in steps().items()
        for scenario, killed_at in scenarios.items()
        for step in killed_at
    ]


def some(rotation: int) -> Iterator[Cell]:
    """One run for every point; which one of its runs goes round with this number."""
    every = cells()
    for number, point in enumerate(POINTS):
        of_point = [cell for cell in every if cell.point == point]
        # neighbours take different scenarios: a prime that no point has for its number of runs
        yield of_point[(rotation + 37 * number) % len(of_point)]


def _steps(word: str) -> range:
    first, _, last = word.partition("-")
    return range(int(first), int(last or first) + 1)


def _point(word: str) -> Point:
    return next(point for point in POINTS if point == word)
