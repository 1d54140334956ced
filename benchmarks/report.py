"""From rounds to figures: the medians, the table for people, the JSON for machines."""

import os
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from rich.table import Table

MESSAGES_PER_SAGA = 9
"""CreateOrder, OrderCreated, three commands, three replies, OrderCompleted."""
TARGET_RATIO = 1.4
"""What the whole service may cost, in worker CPU, for each part of the floor."""
REST = "rest of the machine"
"""Programs that have nothing to do with it (and servers that were given). CPU time is dearer beside busy neighbours:
they take the caches."""
_PERCENTILES = (50, 95, 99)
_PACKAGES = ("faststream", "aio-pika", "aiormq", "sqlalchemy", "asyncpg", "pydantic", "uvloop")


@dataclass(frozen=True, slots=True)
class Round:
    """One measured stretch of one side."""

    side: str
    sagas: int
    seconds: float
    cpu_seconds: dict[str, float]
    """By process: `worker` (all of them together), and whatever else of the machine could be seen."""
    latencies: list[float]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side did: medians over its rounds; latencies over all of its sagas."""

    sagas_per_second: float
    messages_per_second: float
    worker_cpu_ms_per_saga: float
    worker_cpu_ms_per_saga_best: float
    """Of the least disturbed round: neighbours can only add."""
    other_cpu_ms_per_saga: dict[str, float]
    latency_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found out."""

    floor: Figures
    system: Figures
    ratio: float
    """Worker CPU per saga: the system's over the floor's; the median of the rounds, each compared within itself."""
    rounds: list[dict[str, Any]]
    options: dict[str, Any]
    machine: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)


def report(rounds: list[Round], options: dict[str, Any], load_before: float) -> Report:
    """Sum up the rounds of both sides."""
    floor, system = ([one for one in rounds if one.side == side] for side in ("floor", "system"))
    return Report(
        floor=figures(floor),
        system=figures(system),
        ratio=round(
            statistics.median(
                (above.cpu_seconds["worker"] / above.sagas) / (below.cpu_seconds["worker"] / below.sagas)
                for below, above in zip(floor, system, strict=True)
            ),
            3,
        ),
        rounds=[
            {
                "side": one.side,
                "sagas_per_second": round(one.sagas / one.seconds, 1),
                "worker_cpu_ms_per_saga": round(1000 * one.cpu_seconds["worker"] / one.sagas, 3),
                "cores_taken_by_the_rest": round(one.cpu_seconds[REST] / one.seconds, 2),
            }
            for one in rounds
        ],
        options=options,
        machine={
            "cores": os.cpu_count(),
            "load_average_before": round(load_before, 2),
            "python": platform.python_version(),
            "system": platform.platform(),
            **{package: version(package) for package in _PACKAGES},
        },
    )


def figures(rounds: list[Round]) -> Figures:
    """The figures of one side."""
    rate = statistics.median(one.sagas / one.seconds for one in rounds)
    cpu = {
        process: statistics.median(1000 * one.cpu_seconds[process] / one.sagas for one in rounds)
        for process in rounds[0].cpu_seconds
    }
    cuts = statistics.quantiles((latency for one in rounds for latency in one.latencies), n=100, method="inclusive")
    return Figures(
        sagas_per_second=round(rate, 1),
        messages_per_second=round(rate * MESSAGES_PER_SAGA),
        worker_cpu_ms_per_saga=round(cpu.pop("worker"), 3),
        worker_cpu_ms_per_saga_best=round(min(1000 * one.cpu_seconds["worker"] / one.sagas for one in rounds), 3),
        other_cpu_ms_per_saga={process: round(ms, 3) for process, ms in cpu.items()},
        latency_ms={f"p{percent}": round(1000 * cuts[percent - 1], 1) for percent in _PERCENTILES},
    )


def table(report: Report) -> Table:
    """The report for people."""
    grid = Table(title="Whole system beside the transport floor", title_justify="left", caption_justify="left")
    grid.add_column("")
    for column in ("floor", "system", "system / floor"):
        grid.add_column(column, justify="right")

    def row(name: str, floor: float, system: float, decimals: int = 0) -> None:
        grid.add_row(
            name, f"{floor:,.{decimals}f}", f"{system:,.{decimals}f}", f"{system / floor:.2f}" if floor else "-"
        )

    floor, system = report.floor, report.system
    row("sagas/s", floor.sagas_per_second, system.sagas_per_second)
    row("messages/s", floor.messages_per_second, system.messages_per_second)
    row("worker CPU, ms/saga", floor.worker_cpu_ms_per_saga, system.worker_cpu_ms_per_saga, 2)
    row("  in its best round", floor.worker_cpu_ms_per_saga_best, system.worker_cpu_ms_per_saga_best, 2)
    for name in _PERCENTILES:
        row(f"latency p{name}, ms", floor.latency_ms[f"p{name}"], system.latency_ms[f"p{name}"])
    grid.add_section()
    for process in sorted(floor.other_cpu_ms_per_saga | system.other_cpu_ms_per_saga):
        row(
            f"{process} CPU, ms/saga",
            floor.other_cpu_ms_per_saga.get(process, 0),
            system.other_cpu_ms_per_saga.get(process, 0),
            2,
        )
    verdict = "met" if report.ratio <= TARGET_RATIO else "missed"
    rest = statistics.median(one["cores_taken_by_the_rest"] for one in report.rounds)
    grid.caption = (
        f"Target, worker CPU at most {TARGET_RATIO} times the floor: {verdict} "
        f"({report.ratio:.2f}, round by round).\n"
        f"{report.machine['cores']} cores for all of it, of which other programs took {rest:.2f}."
    )
    return grid
