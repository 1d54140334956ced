"""`python -m tests.faults.soak`, what `make soak` calls: the long version of `tests/faults/test_soak.py`."""

import shutil
import tempfile
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from local.host import temporary_home
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq as find_rabbitmq
from tests.faults.load import Load
from tests.faults.storm import Fired, Plan, Watcher, soak

LONGER = 1.4
"""The longest faults of the long version, in those of the short one."""


class _Screen(Watcher):
    """Shows it."""

    def __init__(self, progress: Progress, plan: Plan) -> None:
        self._progress = progress
        self._task = progress.add_task("sagas", total=plan.seconds)

    def fired(self, fault: Fired) -> None:
        self._progress.console.print(str(fault), markup=False, highlight=False)

    def goes_on(self, load: Load, seconds: float) -> None:
        says = f"{len(load.journeys)} sagas started, {load.ended} ended"
        self._progress.update(self._task, completed=seconds, description=says)


def main(
    minutes: Annotated[float, typer.Option(min=1, help="Of load and faults; the quiet comes on top.")] = 30,
    seed: Annotated[int | None, typer.Option(help="Draw the same faults and orders again.")] = None,
    concurrent: Annotated[int, typer.Option(min=1, help="Sagas under way at once.")] = 100,
) -> None:
    """Break everything under load; the exit code says whether all healed, and every law held."""
    plan = Plan(SystemRandom().randrange(1_000_000) if seed is None else seed, 60 * minutes, concurrent, LONGER)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    console = Console(soft_wrap=True)
    console.print(f"seed {plan.seed}, logs in {folder}", markup=False)
    with (
        Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as progress,
        temporary_home() as home,
        PrivatePostgres(home / "postgres") as postgres,
        find_rabbitmq(home / "rabbitmq") as rabbitmq,
    ):
        outcome = uvloop.run(soak(plan, postgres, rabbitmq, folder, _Screen(progress, plan)))
    console.print(str(outcome), markup=False)
    for line in outcome.failures:
        console.print(line, markup=False, style="red")
    if not outcome.failures:
        shutil.rmtree(folder)
    raise typer.Exit(bool(outcome.failures))


if __name__ == "__main__":
    typer.run(main)
