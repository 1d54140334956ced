"""`key`: make an API key, and the entry of `API_KEYS` that lets it in."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from handlers.access.api_keys import instant, make_key
from handlers.access.principal import Scope
from handlers.cli.outcome import Code, fail, output
from handlers.cli.showing import print_json

_VARIABLE = "ORDER_SERVICE_KEY"
"""The key that commands show to the service."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")

_Scopes = Annotated[list[Scope], typer.Option("--scope", help="What it is good for; several times for several.")]
_Expires = Annotated[str | None, typer.Option(help="When it ends: 2027-01-31T00:00:00Z. Without it, never.")]
_Into = Annotated[Path | None, typer.Option(help="Add its entry to this file, for API_KEYS_FILE.")]
_Keep = Annotated[
    Path | None, typer.Option(help="Keep the key in this file, too. One that is there already is shown, and none made.")
]


def key(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="What the service calls its holder: A-Z a-z 0-9 . _ -")],
    scopes: _Scopes,
    expires: _Expires = None,
    into: _Into = None,
    keep: _Keep = None,
) -> None:
    """Make an API key. It is shown this once; only its entry for API_KEYS need be kept, and that is no secret."""
    if keep and keep.exists():
        output.print(f"{id_}: {keep.read_text().strip()}")
        return
    try:
        made, entry = make_key(id_, scopes, _yet_to_come(expires) if expires else None)
        # in this order: an entry whose key nobody has does no harm
        if into:
            with into.open("a") as file:
                file.write(f"{entry}\n")
        if keep:
            keep.touch(0o600)
            keep.write_text(f"{made}\n")
    except ValueError as error:
        fail(f"this cannot be a key: {error}", Code.USAGE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", Code.USAGE)
    if context.obj.as_json:
        print_json({"key": made, "entry": entry})
    elif keep:
        output.print(f"{id_}: {made}")
    else:
        output.print(f"the key, shown this once:  {made}\nits entry for API_KEYS:    {entry}")


def _yet_to_come(expires: str) -> datetime:
    moment = instant(expires)
    if moment <= datetime.now(UTC):
        raise ValueError("it would have expired already")
    return moment


def own_key() -> str | None:
    """The key that this command line has been given: `ORDER_SERVICE_KEY`, or what `ORDER_SERVICE_KEY_FILE` names."""
    value, path = os.environ.get(_VARIABLE, "").strip(), os.environ.get(f"{_VARIABLE}_FILE")
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError):
            fail(f"{_VARIABLE}_FILE does not name a file that can be read", Code.USAGE)
    if value and not _VISIBLE.fullmatch(value):
        fail(f"{_VARIABLE} has characters that no key and no token has", Code.USAGE)
    return value or None
