"""How a command ends: in words, and with an exit code that a script can go by."""

from enum import IntEnum
from typing import NoReturn

import typer
from rich.console import Console

# as wide as its lines: to break them is the terminal's work, and ids are never cut
output = Console(highlight=False, markup=False, soft_wrap=True, width=10_000)
errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, width=10_000)


class Code(IntEnum):
    """The exit codes."""

    DONE = 0
    DIFFERENT = 1
    """`verify` found a saga that is not what its history says."""
    USAGE = 2
    """The command line is wrong."""
    REFUSED = 3
    """The service or the database was reached and says no; nothing was changed."""
    AWAY = 4
    """The service or the database cannot be reached, or not now; try again."""


def confirm(question: str, *, yes: bool) -> None:
    """Go on only where a person says so, or has said so with `yes`; nobody to ask is a no.

    Raises:
        Exit: with `REFUSED`.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        fail("Nothing was done. Say yes, or give --yes.", Code.REFUSED)


def fail(words: str, code: Code) -> NoReturn:
    """End the command with these words.

    Raises:
        Exit: always.
    """
    errors.print(words, style="red" if errors.is_terminal else None)
    raise typer.Exit(code)
