"""How lengths of time look: as people say them, and never longer than a glance."""

from datetime import UTC, datetime, timedelta

import pytest

from handlers.dashboard.filters import duration, left, machine, moment, typed


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 ms"),
        (0.0004, "0 ms"),
        (0.34, "340 ms"),
        (0.9996, "1 s"),
        (1, "1 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (11_520, "3 h 12 min"),
        (86_399, "23 h 59 min"),
        (442_800, "5 d 3 h"),
    ],
)
def test_a_length_of_time_is_said_in_two_figures_at_most(seconds: float, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "any moment"), (0.4, "any moment"), (0.6, "1 s"), (27.4, "27 s"), (60, "1 min 00 s")]
)
def test_what_is_left_is_said_in_whole_seconds(seconds: float, said: str) -> None:
    assert left(seconds) == said


def test_times_are_said_to_the_millisecond() -> None:
    instant = datetime(2026, 1, 15, 9, 30, 0, 1999, tzinfo=UTC)
    assert (moment(instant), machine(instant)) == ("2026-01-15 09:30:00.001", "2026-01-15T09:30:00.001999Z")
    assert moment(machine(instant)) == moment(instant)


def test_what_can_be_seen_stays_as_it_was_typed() -> None:
    text = "Überweisung 価格 🙂 שלום <b>&amp;\n\tnext"
    assert typed(text) == text


@pytest.mark.parametrize(
    "code", [0, 7, 0x1B, 0x7F, 0x85, 0x200B, 0x200F, 0x2028, 0x202A, 0x202E, 0x2066, 0x2069, 0xFEFF]
)
def test_what_hides_or_turns_the_line_around_is_named(code: int) -> None:
    assert typed(f"a{chr(code)}b").isprintable()
    assert len(typed(f"a{chr(code)}b")) > 2
