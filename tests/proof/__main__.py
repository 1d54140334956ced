"""The long version of the proof: `python -m tests.proof`; `--seed N` tells the story of one run of the simulation."""

import logging
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.proof.mistakes import MISTAKES
from tests.proof.search import LONG, Found, Search
from tests.proof.simulation import simulate

console = Console()


def main(
    seed: Annotated[int | None, typer.Option(help="Only this run of the simulation, with its story.")] = None,
    runs: Annotated[int, typer.Option(help="Runs of the simulation.")] = 3_000,
    states: Annotated[int, typer.Option(help="The most states of a world, about.")] = 1_500_000,
) -> None:
    """Search every world, run the simulation, find every planted mistake; the exit code says whether all is well."""
    logging.disable(logging.CRITICAL)
    if seed is not None:
        run = simulate(seed)
        console.print(*run.story, *(f"BROKEN  {law}" for law in run.broken), sep="\n", markup=False, highlight=False)
        raise typer.Exit(bool(run.broken))
    bad = 0
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    ) as progress:
        for world in LONG:
            bad += _searched(progress, Search(world), states).broken is not None
        bad += _simulated(progress, runs)
        bad += _mistakes_missed(progress, runs)
    console.print("[red]something is broken" if bad else "[green]nothing is broken, and every planted mistake is found")
    raise typer.Exit(bool(bad))


def _searched(progress: Progress, search: Search, states: int) -> Found:
    task = progress.add_task(search.world.name, total=None)

    def report(count: int, depth: int, seconds: float) -> None:
        progress.update(
            task, completed=count, description=f"{search.world.name}: depth {depth}, {seconds:.0f} s, states"
        )

    found = search.run(states, report)
    progress.remove_task(task)
    progress.console.print(str(found), markup=False)
    return found


def _simulated(progress: Progress, runs: int) -> int:
    task = progress.add_task("simulation: runs", total=runs)
    began, decisions, bad = time.perf_counter(), 0, 0
    for seed in range(runs):
        run = simulate(seed)
        decisions += run.decisions
        if run.broken:
            bad += 1
            progress.console.print(f"--seed {seed}: {run.broken}", markup=False)
        progress.advance(task)
    progress.remove_task(task)
    took = time.perf_counter() - began
    progress.console.print(
        f"simulation: {runs:,} runs, {decisions:,} decisions, {took:.1f} s: {bad} broken", markup=False
    )
    return bad


def _mistakes_missed(progress: Progress, runs: int) -> int:
    missed = 0
    for mistake in MISTAKES:
        with mistake.plant():
            if mistake.found_by:
                found = Search(mistake.found_by).run(100_000)
                law, where = found.broken, f"{found.world.name}, step {len(found.trace)}, {found.seconds:.1f} s"
            else:
                seed, law = next(((n, b[0]) for n in range(runs) if (b := simulate(n).broken)), (0, None))
                where = f"simulation, seed {seed}"
        missed += law is None
        progress.console.print(
            f"planted: {mistake.name}: {law or 'NOT FOUND'} ({where})", markup=False, highlight=False
        )
    return missed


if __name__ == "__main__":
    typer.run(main)
