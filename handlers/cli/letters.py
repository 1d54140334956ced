"""`dead-letters`: what could not be handled."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from handlers.cli.client import Client
from handlers.cli.outcome import output
from handlers.cli.showing import clean, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="What could not be handled: look at it, publish it again, give it up.")

LetterId = Annotated[UUID, typer.Argument(help="The dead letter's id.", show_default=False)]


class State(StrEnum):
    """Which of them."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    state: Annotated[State, typer.Option(help="What was done about them.")] = State.OPEN,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    routing_key: Annotated[str | None, typer.Option(help="Only this routing key.")] = None,
    order: Annotated[UUID | None, typer.Option(help="Only this order's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    after: Annotated[str | None, typer.Option(help="What the page before said.")] = None,
) -> None:
    """Dead letters, the newest arrival first."""
    client: Client = context.obj
    query = {"state": state, "reason": reason, "routingKey": routing_key, "orderId": order}
    page = client.ask("GET", "api", "dead-letters", query=query | {"limit": limit, "after": after})
    if client.as_json:
        print_json(page)
        return
    print_table(
        ("id", "arrived", "count", "reason", "routing key", "order", "if redriven"),
        (
            (
                letter["id"],
                letter["lastAt"],
                str(letter["count"]),
                letter["reason"],
                letter["routingKey"],
                letter["orderId"] or "",
                letter["safety"]["detail"],
            )
            for letter in page["items"]
        ),
        page["next"],
    )


@app.command()
def redrive(context: typer.Context, letter: LetterId) -> None:
    """Publish it again, unchanged."""
    client: Client = context.obj
    answer = client.ask("POST", "api", "dead-letters", str(letter), "redrive")
    if client.as_json:
        print_json(answer)
    else:
        output.print(clean(f"{answer['outcome']}: {answer['detail']}"))


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
