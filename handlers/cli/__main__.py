"""`python -m handlers.cli`: for operators, and for whoever wants to know why nothing is happening.

Exit codes: 0 done; 1 `verify` found differences; 2 the command line or a setting is wrong; 3 refused, nothing was
changed; 4 the service or the database cannot be reached, or not now.
"""

import getpass
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from handlers.cli import database, keys, letters
from handlers.cli.client import Client
from handlers.cli.keys import own_key
from handlers.cli.outcome import Code, fail
from handlers.cli.showing import print_json, print_saga, print_sagas, print_table
from models.states import Command, CurrentStep, SagaStatus
from saga.transitions import REPLY_MODELS, Signal

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The order service's sagas, for operators. "
    "Exit codes: 0 done; 1 verify found differences; 2 wrong usage; 3 refused; 4 service or database away.",
)
app.add_typer(letters.app, name="dead-letters")
app.command("migrate")(database.migrate)
app.command("verify")(database.verify)
app.command("sessions")(database.logins)
app.command("key")(keys.key)

OrderId = Annotated[UUID, typer.Argument(help="The order's id.", show_default=False)]
Status = Annotated[SagaStatus | None, typer.Option(help="Only sagas of this status.")]
Step = Annotated[CurrentStep | None, typer.Option(help="Only sagas at this step.")]
Incident = Annotated[bool | None, typer.Option(help="Only those that a person should look at, or only the others.")]
User = Annotated[UUID | None, typer.Option(help="Only this customer's.")]
OlderThan = Annotated[float | None, typer.Option(min=0, help="Only those begun at least so many seconds ago.")]
After = Annotated[str | None, typer.Option(help="What the page before said.")]
Reason = Annotated[str, typer.Option(help="Why; it is written into the history.", show_default=False)]
MaybeReason = Annotated[str | None, typer.Option(help="Why; it is written into the history.")]


class Happened(StrEnum):
    """What a person found out."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@app.callback()
def service(
    context: typer.Context,
    url: Annotated[str, typer.Option(help="Where the service is.")] = "http://localhost:5002",
    operator: Annotated[str | None, typer.Option(help="Who is asking; the login name by itself.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print answers as they come, for scripts.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Remember whom to ask, and who asks."""
    name = operator or _login()
    if not name.isprintable():
        fail("--operator: must not contain control characters", Code.USAGE)
    context.obj = Client(url, name[:100], as_json, own_key())


@app.command()
def sagas(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    status: Status = None,
    step: Step = None,
    incident: Incident = None,
    user: User = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    after: After = None,
) -> None:
    """List sagas, newest first."""
    client: Client = context.obj
    query = _filters(status, step, incident, user, older_than) | {"limit": limit, "after": after}
    page = client.ask("GET", "api", "sagas", query=query)
    (print_json if client.as_json else print_sagas)(page)


@app.command()
def saga(context: typer.Context, order: OrderId) -> None:
    """Show how far an order has come, when what happened, and what it waits for."""
    _show(context.obj, context.obj.ask("GET", "api", "orders", str(order), "saga"))


@app.command()
def cancel(context: typer.Context, order: OrderId, reason: MaybeReason = None) -> None:
    """Cancel an order, as its client would."""
    _show(context.obj, context.obj.ask("POST", "api", "orders", str(order), "cancel", body=_because(reason)))


@app.command()
def retry(context: typer.Context, order: OrderId, reason: MaybeReason = None) -> None:
    """Ask the open command again, now."""
    _act(context.obj, order, "retry", _because(reason))


@app.command()
def resolve(
    context: typer.Context,
    order: OrderId,
    outcome: Annotated[Happened, typer.Argument(help="What really happened.", show_default=False)],
    reason: Reason,
    step: Annotated[Command | None, typer.Option(help="The command that is meant; no other is resolved then.")] = None,
) -> None:
    """Say what really happened to the open command."""
    if step is None:
        _require_step(context.obj, order)
    _act(context.obj, order, "resolve", {"outcome": outcome, "reason": reason, "step": step})


@app.command()
def compensate(context: typer.Context, order: OrderId, reason: Reason) -> None:
    """Give an order up and undo what was, or may have been, done for it."""
    _act(context.obj, order, "compensate", {"reason": reason})


@app.command()
def retry_many(  # noqa: PLR0913, PLR0917 - each is an option
    context: typer.Context,
    status: Status = None,
    step: Step = None,
    incident: Incident = None,
    user: User = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 100,
    after: After = None,
    reason: MaybeReason = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="How many a second.")] = 10,
    really: Annotated[bool, typer.Option("--really", help="Do it; else only tell what would be done.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Ask the open commands of many sagas again. One call takes 25 seconds at most; it says where to go on."""
    client: Client = context.obj
    filters = _filters(status, step, incident, user, older_than) | {"limit": limit, "after": after, "reason": reason}
    body = {name: value for name, value in filters.items() if value is not None}
    answer = client.ask("POST", "api", "sagas", "retry", body=body | {"dryRun": not really, "ratePerSecond": rate})
    if client.as_json:
        print_json(answer)
    else:
        lines = ((item["orderId"], item["outcome"], item["why"]) for item in answer["items"])
        print_table(("order", "outcome", ""), lines, answer["next"])


def _filters(
    status: SagaStatus | None,
    step: CurrentStep | None,
    incident: bool | None,  # noqa: FBT001 - a filter that may be left out
    user: UUID | None,
    older_than: float | None,
) -> dict[str, Any]:
    user_id = str(user) if user else None
    return {"status": status, "step": step, "incident": incident, "userId": user_id, "olderThan": older_than}


def _act(client: Client, order: UUID, action: str, body: Any) -> None:
    _show(client, client.ask("POST", "api", "sagas", str(order), action, body=body))


def _require_step(client: Client, order: UUID) -> None:
    """Let a verdict name its command where one is open: when the same line is entered again, another may be."""
    if waiting := client.ask("GET", "api", "orders", str(order), "saga")["waiting"]:
        open_ = REPLY_MODELS[Signal(waiting["for"][0])].answers
        fail(f"--step: name the command that is meant; {open_} is open now", Code.USAGE)


def _show(client: Client, saga: Any) -> None:
    (print_json if client.as_json else print_saga)(saga)


def _because(reason: str | None) -> dict[str, str] | None:
    return {"reason": reason} if reason else None


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


if __name__ == "__main__":
    app(prog_name="python -m handlers.cli")
