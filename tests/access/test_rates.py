"""How often one is let in: pure arithmetic, on a clock of the test's own."""

from dataclasses import dataclass

import pytest

from handlers.access.token_bucket import BURST_SECONDS, MOST_NAMES, Rate


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> int:
        return round(self.now * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_after_a_burst_there_is_one_for_each_tenth_of_a_second(clock: Clock) -> None:
    rate = Rate(10, clock)
    assert [rate.wait("ann") for _ in range(int(10 * BURST_SECONDS))] == [0] * 50
    assert rate.wait("ann") == pytest.approx(0.1)
    clock.now += 0.1
    assert rate.wait("ann") == 0
    assert rate.wait("ann") == pytest.approx(0.1)


def test_what_costs_more_counts_more_but_never_more_than_a_burst(clock: Clock) -> None:
    rate = Rate(10, clock)
    assert rate.wait("ann", 40) == 0
    assert rate.wait("ann", 15) == pytest.approx(0.5)
    assert rate.wait("ann", 10) == 0
    assert rate.wait("ann", 1_000) == pytest.approx(BURST_SECONDS - 0.1)
    clock.now += BURST_SECONDS
    assert rate.wait("ann", 1_000) == 0


def test_who_is_refused_has_not_to_wait_longer_for_asking(clock: Clock) -> None:
    rate = Rate(1, clock)
    for _ in range(5):
        rate.wait("ann")
    assert {round(rate.wait("ann"), 9) for _ in range(100)} == {1.0}


def test_nobody_waits_for_another(clock: Clock) -> None:
    rate = Rate(1, clock)
    while not rate.wait("ann"):
        pass
    assert rate.wait("bob") == 0


def test_less_than_one_in_the_time_of_a_burst_is_still_one(clock: Clock) -> None:
    rate = Rate(0.1, clock)
    assert rate.wait("ann") == 0
    assert rate.wait("ann") == pytest.approx(10)
    clock.now += 10
    assert rate.wait("ann") == 0


def test_over_a_long_time_nobody_gets_more_than_the_rate_and_one_burst(clock: Clock) -> None:
    rate, let_in = Rate(10, clock), 0
    for _ in range(10_000):
        clock.now += 0.01
        let_in += rate.wait("ann") == 0
    assert let_in == pytest.approx(100 * 10 + 10 * BURST_SECONDS, abs=1)


def test_however_many_ask_few_are_remembered_and_they_are_the_latest(clock: Clock) -> None:
    rate = Rate(1, clock)
    for number in range(3 * MOST_NAMES):
        rate.wait(f"user:{number}")
        while not rate.wait("the busy one"):
            pass
    assert len(rate) == MOST_NAMES
    assert rate.wait("the busy one") > 0
