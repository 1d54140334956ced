"""Where bars stand: what is drawn is what was counted."""

from datetime import UTC, datetime, timedelta

import pytest

from handlers.dashboard.charts import HEIGHT, WIDTH, durations, ends, rounded
from saga.telemetry.activity import Activity

START = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)


def minutes(*activities: Activity) -> list[tuple[datetime, Activity]]:
    return [(START + number * timedelta(minutes=1), activity) for number, activity in enumerate(activities)]


def test_ends_are_stacked_from_the_ground_up_to_what_the_top_stands_for() -> None:
    chart = ends(minutes(Activity(completed=5, compensated=3, failed=2), Activity(), Activity(completed=7)))
    assert chart.most == 10
    full, empty, other = chart.bars
    assert [(part.kind, part.y, part.height) for part in full.parts] == [
        ("good", HEIGHT / 2, HEIGHT / 2), ("undone", HEIGHT * 0.2, HEIGHT * 0.3), ("bad", 0, HEIGHT * 0.2),
    ]  # fmt: skip
    assert empty.parts == ()
    assert [part.y + part.height for part in other.parts] == [HEIGHT]
    assert [bar.x for bar in chart.bars] == [0, WIDTH / 3, pytest.approx(WIDTH * 2 / 3, abs=0.01)]
    assert all(bar.x + bar.width <= WIDTH for bar in chart.bars)


def test_the_slowest_stands_on_the_average() -> None:
    [bar] = durations(minutes(Activity(completed=2, seconds=4.0, slowest=3.0))).bars
    mean, slowest = bar.parts
    assert (mean.kind, slowest.kind) == ("mean", "slowest")
    assert [mean.height, slowest.height] == pytest.approx([HEIGHT * 2 / 5, HEIGHT / 5])


def test_one_among_thousands_is_still_to_be_seen() -> None:
    [bar] = ends(minutes(Activity(completed=9_999, failed=1))).bars
    assert bar.parts[-1].kind == "bad"
    assert bar.parts[-1].height >= 1
    assert all(0 <= part.y <= HEIGHT for part in bar.parts)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (0.0004, 0.001), (0.3, 0.5), (1, 1), (1.1, 2), (5, 5), (5.01, 10), (73, 100), (1e6, 1e6)]
)
def test_the_top_is_the_next_round_number(most: float, top: float) -> None:
    assert rounded(most) == pytest.approx(top)
