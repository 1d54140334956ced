"""`dead-letters`: what could not be handled."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from handlers.cli.client import Client
from handlers.cli.outcome import Code, confirm, errors, output
from handlers.cli.showing import clean, print_json, print_letter, print_letters, print_table

app = typer.Typer(no_args_is_help=True, help="What could not be handled: look at it, publish it again, give it up.")

LetterId = Annotated[UUID, typer.Argument(help="The dead letter's id.", show_default=False)]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only this reason.")]
RoutingKey = Annotated[str | None, typer.Option(help="Only this routing key.")]
Order = Annotated[UUID | None, typer.Option(help="Only this order's.")]
After = Annotated[str | None, typer.Option(help="What the page before said.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class State(StrEnum):
    """Which of them."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    state: Annotated[State, typer.Option(help="What was done about them.")] = State.OPEN,
    reason: OfReason = None,
    routing_key: RoutingKey = None,
    order: Order = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    after: After = None,
) -> None:
    """Dead letters, the newest arrival first."""
    client: Client = context.obj
    query = _wanted(reason, routing_key, order) | {"state": state, "limit": limit, "after": after}
    page = client.ask("GET", "api", "dead-letters", query=query)
    (print_json if client.as_json else print_letters)(page)


@app.command()
def show(context: typer.Context, letter: LetterId) -> None:
    """One letter with all that it has, and what would come of publishing it again."""
    client: Client = context.obj
    (print_json if client.as_json else print_letter)(client.ask("GET", "api", "dead-letters", str(letter)))


@app.command()
def redrive(context: typer.Context, letter: LetterId, yes: Yes = False) -> None:  # noqa: FBT002 - a flag
    """Tell what would come of it, ask, and publish it again, unchanged."""
    client: Client = context.obj
    safety = client.ask("GET", "api", "dead-letters", str(letter))["safety"]
    (errors if client.as_json else output).print(clean(safety["detail"]))
    if safety["redrivable"]:
        confirm("Publish it again?", yes=yes)
    answer = client.ask("POST", "api", "dead-letters", str(letter), "redrive")
    if client.as_json:
        print_json(answer)
    else:
        output.print(answer["outcome"])


@app.command()
def redrive_many(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    reason: OfReason = None,
    routing_key: RoutingKey = None,
    order: Order = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 100,
    after: After = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,  # noqa: FBT002 - a flag
    yes: Yes = False,  # noqa: FBT002 - a flag
) -> None:
    """Tell what would become of many open letters, ask, and publish them again. It says where to go on."""
    client: Client = context.obj
    filters = _wanted(reason, routing_key, order) | {"limit": limit, "after": after}
    body = {name: value for name, value in filters.items() if value is not None}
    foreseen = client.ask("POST", "api", "dead-letters", "redrive", body=body | {"dryRun": True})
    count = sum(item["outcome"] == "would_redrive" for item in foreseen["items"])
    if dry_run or not count:
        (print_json if client.as_json else _print_redriven)(foreseen)
        return
    # what is printed as JSON has to stay one document
    _print_redriven(foreseen, errors if client.as_json else output)
    confirm(f"Publish {count} again?", yes=yes)
    answer = client.ask("POST", "api", "dead-letters", "redrive", body=body | {"dryRun": False})
    (print_json if client.as_json else _print_redriven)(answer)
    if answer["items"] and answer["items"][-1]["outcome"] in ("bus_away", "busy"):
        raise typer.Exit(Code.AWAY)


@app.command()
def discard(
    context: typer.Context,
    letter: LetterId,
    reason: Annotated[str, typer.Option(help="Why it is given up.", show_default=False)],
) -> None:
    """Give it up, with a reason. It is kept, and is open again should it arrive again."""
    client: Client = context.obj
    answer = client.ask("DELETE", "api", "dead-letters", str(letter), query={"reason": reason})
    if client.as_json:
        print_json(answer)
    else:
        output.print("discarded")


def _wanted(reason: str | None, routing_key: str | None, order: UUID | None) -> dict[str, Any]:
    return {"reason": reason, "routingKey": routing_key, "orderId": str(order) if order else None}


def _print_redriven(page: dict[str, Any], on: Console = output) -> None:
    lines = ((item["id"], item["outcome"], item["detail"]) for item in page["items"])
    print_table(("id", "outcome", ""), lines, page["next"], on)
