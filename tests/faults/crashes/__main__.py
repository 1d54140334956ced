"""The whole matrix: `python -m tests.faults.crashes`; `--only relay.confirmed:3/declined` is one run of it."""

import asyncio
import logging
import time
from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local.host import temporary_home
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq as find_rabbitmq
from saga.runtime.database import connect, migrate
from tests.faults.crashes.matrix import Cell, cells
from tests.faults.crashes.running import AT_ONCE, Ran, Servers, run_all

console = Console()
_TEMPLATE = "template_orders"


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Only runs whose name begins so: point, point:step or point:step/scenario.")
    ] = None,
    at_once: Annotated[int, typer.Option(help="Runs at the same time.")] = AT_ONCE,
) -> None:
    """Kill the service at every point, in every scenario, at every step; the exit code says whether all came right."""
    logging.disable(logging.CRITICAL)
    wanted = [cell for cell in cells() if not only or str(cell).startswith(tuple(only))]
    if not wanted:
        console.print("[red]There is no such run: a name is point:step/scenario, as in relay.confirmed:3/declined")
        raise typer.Exit(2)
    began = time.monotonic()
    runs = _run(wanted, at_once)
    console.print(_summary(runs, time.monotonic() - began))
    raise typer.Exit(any(run.wrong for run in runs))


def _run(wanted: list[Cell], at_once: int) -> list[Ran]:
    with (
        temporary_home() as home,
        PrivatePostgres(home / "postgres", durable=False) as postgres,
        find_rabbitmq(home / "rabbitmq", say=console.print) as rabbitmq,
        Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        ) as progress,
    ):
        asyncio.run(_migrate(postgres.create_database(_TEMPLATE)))
        task = progress.add_task("crashes", total=len(wanted))

        def report(ran: Ran) -> None:
            progress.update(task, advance=1, description=str(ran.cell))
            for line in ran.wrong:
                progress.console.print(f"--only {ran.cell}: {line}", markup=False, highlight=False, style="red")

        return asyncio.run(run_all(wanted, Servers(postgres, rabbitmq, _TEMPLATE), report, at_once=at_once))


async def _migrate(url: str) -> None:
    engine = connect(url, connections=1, name="crashes")
    await migrate(engine)
    await engine.dispose()


def _summary(runs: list[Ran], seconds: float) -> Table:
    by_point: dict[str, list[Ran]] = defaultdict(list)
    for run in runs:
        by_point[run.cell.point].append(run)
    table = Table("killed at", "runs", "converged", "seconds a run", "at most", title="Crashes")
    for point, mine in by_point.items():
        table.add_row(point, *_figures(mine))
    table.add_section()
    table.add_row(f"all, in {seconds:.0f} s", *_figures(runs), style="bold")
    return table


def _figures(runs: list[Ran]) -> list[str]:
    took = [run.seconds for run in runs]
    converged = sum(not run.wrong for run in runs)
    return [str(len(runs)), str(converged), f"{sum(took) / len(took):.1f}", f"{max(took):.1f}"]


if __name__ == "__main__":
    typer.run(main)
