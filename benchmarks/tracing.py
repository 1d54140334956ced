"""What traces cost: the whole system without them, with those of every tenth saga, and with all of them.

They go to a collector in a process of its own; what arrives there is counted, since what is dropped costs less.
"""

import statistics
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any

from rich.table import Table

from benchmarks.measuring import Plan, Side, VoidError, Watcher, measure, private_home
from benchmarks.report import Round, figures
from local.__main__ import PROJECT, READY_SECONDS, STOP_SECONDS
from local.child import Child
from local.host import LOOPBACK, free_port

SHARES: Mapping[str, float] = MappingProxyType({"off": 0, "10 %": 0.1, "all": 1})
"""Of the sagas that are traced."""
TARGET = {"10 %": 1.15}
"""What may be taken of the worker's CPU, for each part without traces."""
SPANS = 13
"""The service's own of a saga that nothing befalls: root, request, two events; of three steps the step, the command's
publishing, the reply's handling."""


def compare(plan: Plan, watcher: Watcher, shares: Mapping[str, float] = SHARES) -> tuple[list[Round], dict[str, float]]:
    """Do all rounds; returns them, and how many spans arrived for each saga, traced or not, by side.

    Raises:
        VoidError: something was lost, or no traces came.
    """
    with ExitStack() as stack:
        home = stack.enter_context(private_home())
        collectors = {name: free_port() for name, share in shares.items() if share}
        sides = {name: Side("app:app") for name in shares}
        for name, port in collectors.items():
            collector = Child(
                f"collector {name}",
                [sys.executable, "-m", "tests.collector", str(port)],
                log=home / f"collector-{port}.log",
                cwd=PROJECT,
            )
            stack.callback(collector.stop, seconds=STOP_SECONDS)
            collector.wait_until(partial(_is_there, port), seconds=READY_SECONDS, poll=0.05)
            sides[name] = Side("app:app", _settings(port, shares[name]))
        rounds = measure(plan, watcher, sides)
        sagas = plan.rounds * (plan.warm_up + plan.sagas)
        arrived = {name: _taken(port) / sagas for name, port in collectors.items()}
    if not arrived["all"]:
        raise VoidError("Void: no traces arrived.")
    return rounds, arrived


def _settings(port: int, share: float) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{LOOPBACK}:{port}",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(share),
    }


def _taken(port: int) -> int:
    """How many spans the collector has taken."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}", timeout=5) as answer:
        return int(answer.read())


def _is_there(port: int) -> bool:
    try:
        return _taken(port) == 0
    except OSError:
        return False


def report(rounds: Sequence[Round], arrived: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """By side: CPU and rate, and the median of the ratios to the round without traces, each within its own turn."""
    by_side = {name: [one for one in rounds if one.side == name] for name in ("off", *arrived)}
    found: dict[str, dict[str, Any]] = {}
    for name, mine in by_side.items():
        ratios = [_worker(one) / _worker(without) for one, without in zip(mine, by_side["off"], strict=True)]
        summed = figures(mine)
        found[name] = {
            "sagas_per_second": summed.sagas_per_second,
            "worker_cpu_ms_per_saga": summed.worker_cpu_ms_per_saga,
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "spans_per_saga": round(arrived.get(name, 0), 1),
        }
    return found


def _worker(one: Round) -> float:
    return one.cpu_seconds["worker"] / one.sagas


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """The report for people."""
    grid = Table(title="What traces cost", title_justify="left", caption_justify="left")
    grid.add_column("traced")
    for column in ("sagas/s", "worker CPU, ms/saga", "to off", "round by round", "spans/saga"):
        grid.add_column(column, justify="right")
    for name, side in found.items():
        grid.add_row(
            name,
            f"{side['sagas_per_second']:,.0f}",
            f"{side['worker_cpu_ms_per_saga']:.2f}",
            f"{side['ratio']:.2f}",
            f"{min(side['ratios']):.2f} to {max(side['ratios']):.2f}",
            f"{side['spans_per_saga']:.1f}",
        )
    met = all(found[name]["ratio"] <= most for name, most in TARGET.items() if name in found)
    most = ", ".join(f"{name}: {most}" for name, most in TARGET.items())
    grid.caption = (
        f"Target, worker CPU to that without traces at most {most}: {'met' if met else 'missed'}.\n"
        f"A traced saga has {SPANS} spans of the service; of all of them fewer arrive where some found no room."
    )
    return grid
