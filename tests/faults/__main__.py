"""What `make faults` calls: all that is searched at random for long, part by part, and a report of it."""

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.conftest import SEED
from tests.faults.parts import PARTS

console = Console(soft_wrap=True)


@dataclass(frozen=True)
class Ran:
    """What became of a part."""

    part: str
    tests: int
    failed: int
    seconds: float


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}; all where none is named.")] = None,
    seed: Annotated[str, typer.Option(help="A number, or `new` for one that is drawn.")] = str(SEED),
) -> None:
    """Run the parts one after the other; the exit code says whether all came right."""
    wanted = parts or list(PARTS)
    if unknown := set(wanted) - PARTS.keys():
        raise typer.BadParameter(f"no such part: {', '.join(sorted(unknown))}. There are: {', '.join(PARTS)}")
    if seed != "new" and not seed.isdecimal():
        raise typer.BadParameter(f"{seed!r} is no seed: give a number, or `new`")
    chosen = SystemRandom().randrange(1_000_000) if seed == "new" else int(seed)
    runs = []
    for part in wanted:
        console.rule(f"{part}, seed {chosen}")
        runs.append(_run(part, chosen))
    console.print(_report(runs, chosen))
    for run in runs:
        if run.failed:
            console.print(f'again: make faults PARTS="{run.part}" SEED={chosen}', style="red")
    raise typer.Exit(any(run.failed for run in runs))


def _run(part: str, seed: int) -> Ran:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        options = ["--long", f"--seed={seed}", "-n", "2", "--dist", "loadfile", "--color=yes", f"--junitxml={results}"]
        code = subprocess.run([sys.executable, "-m", "pytest", *options, *PARTS[part]], check=False).returncode
        tests, failed = _counted(results)
    # a run that broke off counts as a failure, whatever was counted before
    return Ran(part, tests, max(failed, int(code != 0)), time.monotonic() - began)


def _counted(results: Path) -> tuple[int, int]:
    """How many tests ran, and how many went wrong."""
    if not results.exists():
        return 0, 0
    (suite,) = ET.parse(results).getroot()
    return int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))


def _report(runs: list[Ran], seed: int) -> Table:
    table = Table("part", "tests", "failed", "seconds", title=f"Faults, seed {seed}")
    for run in runs:
        failed = f"[red]{run.failed}" if run.failed else "0"
        table.add_row(run.part, str(run.tests), failed, f"{run.seconds:.0f}")
    return table


if __name__ == "__main__":
    typer.run(main)
