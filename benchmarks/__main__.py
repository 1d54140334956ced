"""What `make bench` calls. `python -m benchmarks`: what a saga costs in the whole system, and its transport alone.

`python -m benchmarks recovery`: how soon all goes on after a fault. `python -m benchmarks tracing`: what traces cost.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import recovery, tracing
from benchmarks.measuring import SIDES, Plan, Watcher, measure, private_home
from benchmarks.report import report, table
from benchmarks.verify import NotEmptyError
from local.errors import LocalError
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq

_T = TypeVar("_T")
console = Console(stderr=True, highlight=False)

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def run(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    sagas: Annotated[int, typer.Option(min=2, help="Sagas per round and side.")] = 800,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each the floor, then the system.")] = 5,
    warm_up: Annotated[int, typer.Option(min=0, help="Sagas before each measurement that do not count.")] = 200,
    in_flight: Annotated[int, typer.Option(min=1, help="Sagas under way at once (closed loop).")] = 400,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Sagas started per second instead (open loop).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the service, and of the floor.")] = 1,
    database_url: Annotated[
        str | None,
        typer.Option(envvar="BENCH_DATABASE_URL", help="An empty database. Unset: a private PostgreSQL."),
    ] = None,
    rabbitmq_url: Annotated[
        str | None,
        typer.Option(envvar="BENCH_RABBITMQ_URL", help="An empty virtual host. Unset: a private RabbitMQ."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report there as well.")] = None,
    system: Annotated[str, typer.Option(hidden=True, help="Another application in the service's place.")] = "app:app",
) -> None:
    """Measure sagas per second, worker CPU per saga and latency of the whole system, beside the transport floor.

    Exit code 1: a server could not be started, or something was lost and the figures are void.
    """
    # both ways of asking us to stop take the same road
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if context.invoked_subcommand:
        return
    plan = Plan(sagas, warm_up, rounds, in_flight, rate, workers, database_url, rabbitmq_url)
    load_before = os.getloadavg()[0]
    sides = SIDES | {"system": replace(SIDES["system"], app=system)}
    measured = _shown(plan, len(sides), lambda watcher: measure(plan, watcher, sides))
    options = {name: value for name, value in asdict(plan).items() if not name.endswith("_url")}
    found = report(measured, options, load_before)
    Console(highlight=False).print(table(found))
    if json_file:
        json_file.write_text(json.dumps(found.document(), indent=2) + "\n", encoding="utf-8")


@app.command("tracing")
def trace(  # noqa: PLR0913, PLR0917 - each is an option
    sagas: Annotated[int, typer.Option(min=2, help="Sagas per round and side.")] = 800,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each without traces, with a tenth, with all.")] = 5,
    warm_up: Annotated[int, typer.Option(min=0, help="Sagas before each measurement that do not count.")] = 200,
    in_flight: Annotated[int, typer.Option(min=1, help="Sagas under way at once (closed loop).")] = 400,
    database_url: Annotated[str | None, typer.Option(envvar="BENCH_DATABASE_URL", hidden=True)] = None,
    rabbitmq_url: Annotated[str | None, typer.Option(envvar="BENCH_RABBITMQ_URL", hidden=True)] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report there as well.")] = None,
) -> None:
    """Measure what traces cost: worker CPU per saga with a tenth of the sagas traced, and with all, beside none.

    Exit code 1: a server could not be started, or something was lost and the figures are void.
    """
    plan = Plan(sagas, warm_up, rounds, in_flight, None, 1, database_url, rabbitmq_url)
    found = tracing.report(*_shown(plan, len(tracing.SHARES), lambda watcher: tracing.compare(plan, watcher)))
    Console(highlight=False).print(tracing.table(found))
    if json_file:
        json_file.write_text(json.dumps({"tracing": found}, indent=2) + "\n", encoding="utf-8")


def _shown(plan: Plan, sides: int, work: Callable[[Watcher], _T]) -> _T:
    """Do it, and show how it goes; what keeps it from its end is said, and ends the process."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        # the screen is drawn on the cores that are measured: seldom
        with Progress(*columns, console=console, refresh_per_second=2, transient=True) as progress:
            task = progress.add_task("starting", total=sides * plan.rounds * (plan.warm_up + plan.sagas))
            watcher = Watcher(
                phase=lambda name: progress.update(task, description=name), saga_ended=lambda: progress.advance(task)
            )
            return work(watcher)
    except (LocalError, NotEmptyError) as error:
        console.print(str(error), markup=False, soft_wrap=True, style="red")
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        sys.exit(130)


@app.command("recovery")
def recover(
    rounds: Annotated[int, typer.Option(min=1, help="How often each fault.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report there as well.")] = None,
) -> None:
    """Measure how soon all goes on after a worker, the broker or the database was killed, silent, or robbed of a queue.

    Exit code 1: something was lost, and the figures are void.
    """
    logging.disable(logging.CRITICAL)
    try:
        with (
            private_home() as home,
            PrivatePostgres(home / "postgres") as postgres,
            rabbitmq(home / "rabbitmq") as broker,
            console.status("starting") as status,
        ):
            found = uvloop.run(recovery.measure(postgres, broker, home, list(recovery.FAULTS), rounds, status.update))
    except LocalError as error:
        console.print(str(error), markup=False, soft_wrap=True, style="red")
        sys.exit(1)
    rows = recovery.report(found)
    Console(highlight=False).print(recovery.table(rows))
    if json_file:
        json_file.write_text(json.dumps({"recovery": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
