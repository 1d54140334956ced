"""The benchmark itself: it runs, its figures are sane, and it notices a loss."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import tracing
from benchmarks.cpu import cpu_seconds
from benchmarks.measuring import SIDES, Plan, VoidError, Watcher, measure
from benchmarks.verify import NotEmptyError, losses, require_empty
from local.__main__ import PROJECT

pytestmark = pytest.mark.long

QUIET = Watcher(phase=lambda _: None, saga_ended=lambda: None)


def bench(database: str, vhost: str, *options: str) -> subprocess.CompletedProcess[str]:
    addresses = {"BENCH_DATABASE_URL": database, "BENCH_RABBITMQ_URL": vhost}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *options],
        env=os.environ | addresses,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_a_small_run_reports_sane_figures(database: str, vhost: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    small = ("--sagas", "50", "--warm-up", "10", "--rounds", "1", "--in-flight", "25")
    done = bench(database, vhost, *small, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "sagas/s" in done.stdout
    report = json.loads(file.read_text())
    for side in ("floor", "system"):
        figures = report[side]
        assert 1 < figures["sagas_per_second"] < 10_000
        assert 0.2 < figures["worker_cpu_ms_per_saga"] < 200
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"] <= figures["latency_ms"]["p99"]
        assert figures["messages_per_second"] == pytest.approx(9 * figures["sagas_per_second"], rel=0.05)
    assert 0.2 < report["ratio"] < 20
    assert await losses(database, vhost, 60) == []
    # what was used once is not used again
    with pytest.raises(NotEmptyError):
        await require_empty(database, vhost)


def test_a_small_run_tells_what_traces_cost(migrated: str, vhost: str) -> None:
    plan = Plan(
        sagas=60, warm_up=0, rounds=1, in_flight=30, rate=None, workers=1, database_url=migrated, rabbitmq_url=vhost
    )
    found = tracing.report(*tracing.compare(plan, QUIET, {"off": 0, "all": 1}))
    assert (found["off"]["ratio"], found["off"]["spans_per_saga"]) == (1, 0)
    assert 0.2 < found["all"]["ratio"] < 5
    assert tracing.SPANS - 2 < found["all"]["spans_per_saga"] <= tracing.SPANS
    assert tracing.table(found).row_count == 2


def test_a_system_that_writes_nothing_is_void(migrated: str, vhost: str) -> None:
    plan = Plan(
        sagas=5, warm_up=0, rounds=1, in_flight=5, rate=None, workers=1, database_url=migrated, rabbitmq_url=vhost
    )
    with pytest.raises(VoidError, match="0 confirmed orders instead of 5"):
        measure(plan, QUIET, {"system": replace(SIDES["floor"], keeps=True)})


async def test_every_loss_is_named(migrated: str, vhost: str) -> None:
    found = await losses(migrated, vhost, 7)
    assert "0 confirmed orders instead of 7" in found
    assert any("order-service.dead-letters" in problem for problem in found)


def test_cpu_of_this_process_is_counted_and_of_no_process_is_none() -> None:
    assert cpu_seconds(os.getpid()) > 0
    assert cpu_seconds(2**22 + 1) == 0
