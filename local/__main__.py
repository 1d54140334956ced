"""`python -m local`, what `make run` calls: the whole system on one machine, until Ctrl-C."""

import os
import signal
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from dotenv import dotenv_values
from rich.console import Console

from local.child import Child
from local.errors import LocalError
from local.guide import guide
from local.host import LOOPBACK, data_dir, require_free
from local.postgres import PrivatePostgres
from local.rabbitmq import rabbitmq

PROJECT = Path(__file__).resolve().parent.parent
DATABASE = "orders"
READY_SECONDS = 60.0
# An open stream keeps uvicorn from ending by itself.
STOP_SECONDS = 5.0
IMPATIENT = {"SAGA_STEP_TIMEOUT_SECONDS": "3", "SAGA_RETRY_DELAY_SECONDS": "1", "SAGA_REASK_SECONDS": "60"}
console = Console(highlight=False)


class ChildEndedError(LocalError):
    """Something ended by itself while all of it should run."""

    def __init__(self, child: Child) -> None:
        what = f"{child.name} ended by itself with exit code {child.returncode}."
        super().__init__(f"{what} Its log: {child.log}\nThe last lines:\n{child.last_lines()}")


@dataclass(frozen=True)
class Program:
    """A FastStream application of ours: what to run, on which port, and where it says that it is ready."""

    name: str
    app: str
    port: int
    ready: str
    arguments: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self, home: Path, env: dict[str, str]) -> Child:
        """Start it, its log in `home`."""
        log = home / f"{self.name}.log"
        faststream = [sys.executable, "-m", "faststream", "run", self.app]
        where = ["--host", LOOPBACK, "--port", str(self.port), *self.arguments]
        return Child(
            self.name,
            [*faststream, *where],
            log=log,
            env={**env, **self.env},
            cwd=PROJECT,
            pidfile=log.with_suffix(".pid"),
        )

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{self.ready}", timeout=5):
                return True
        except OSError:
            return False


def run(  # noqa: PLR0913, PLR0917 (each is an option)
    port: Annotated[int, typer.Option(help="HTTP port of the service.")] = 5002,
    inventory_port: Annotated[int, typer.Option(help="Control port of the stand-in Inventory.")] = 5003,
    billing_port: Annotated[int, typer.Option(help="Control port of the stand-in Billing.")] = 5004,
    notifications_port: Annotated[int, typer.Option(help="Port of the stand-in listener to order events.")] = 5005,
    workers: Annotated[int, typer.Option(min=1, help="Processes of the service.")] = 1,
    home: Annotated[Path | None, typer.Option(help="Where data and logs are kept.")] = None,
    app: Annotated[str, typer.Option(hidden=True, help="Another application in the service's place.")] = "app:app",
) -> None:
    """Run everything on this machine, without Docker: PostgreSQL, RabbitMQ, Inventory, Billing and the service."""
    # Both ways of asking us to stop take the same road.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = ExitStack()
    code = 0
    try:
        for wanted, option in (
            (port, "--port"),
            (inventory_port, "--inventory-port"),
            (billing_port, "--billing-port"),
            (notifications_port, "--notifications-port"),
        ):
            require_free(wanted, f"the option {option}")
        folder = home or data_dir(PROJECT)
        more = ("--workers", str(workers)) if workers > 1 else ()
        stand_ins = f"inventory=http://{LOOPBACK}:{inventory_port} billing=http://{LOOPBACK}:{billing_port}"
        programs = [
            Program("inventory", "local.inventory:app", inventory_port, "/behaviour"),
            Program("billing", "local.billing:app", billing_port, "/behaviour"),
            Program("notifications", "local.notifications:app", notifications_port, "/health"),
            Program("service", app, port, "/health/ready", more, {"STAND_INS": stand_ins, **access(), **impatience()}),
        ]
        children = start_all(stack, folder, programs)
        traces = telemetry().get("OTEL_EXPORTER_OTLP_ENDPOINT")
        console.print(guide(folder, port, inventory_port, billing_port, traces), markup=False, soft_wrap=True)
        watch(children)
    except KeyboardInterrupt:
        console.print("\nStopping. The data stays for the next time.")
    except LocalError as error:
        console.print(str(error), markup=False, soft_wrap=True, style="red")
        code = 1
    finally:
        # A second Ctrl-C must not leave half of it running.
        for impatient in (signal.SIGINT, signal.SIGTERM):
            signal.signal(impatient, signal.SIG_IGN)
        stack.close()
    sys.exit(code)


def access() -> dict[str, str]:
    """Whoever is on this machine may do everything; unless keys or an issuer of tokens are set."""
    own = os.environ.keys() | dotenv_values(PROJECT / ".env").keys()
    named = {"API_KEYS", "API_KEYS_FILE", "JWT_ISSUER", "JWT_ISSUER_FILE"} & own
    return {} if named else {"ACCESS": "local"}


def impatience() -> dict[str, str]:
    """Shorter waits than the service's own, so that a saga is parked while somebody looks on; unless others are set."""
    own = os.environ.keys() | dotenv_values(PROJECT / ".env").keys()
    return {name: seconds for name, seconds in IMPATIENT.items() if name not in own}


def start_all(stack: ExitStack, home: Path, programs: list[Program]) -> list[Child]:
    """Start everything, and leave on `stack` how to stop it in the opposite order."""
    with console.status("checking this machine") as status:
        database = PrivatePostgres(home / "postgres")
        broker = rabbitmq(home / "rabbitmq", say=status.update)
        for name, server in (("PostgreSQL", database), ("RabbitMQ", broker)):
            status.update(f"starting {name}")
            began = time.monotonic()
            stack.callback(server.stop)
            server.start()
            console.print(f"[green]✓[/] {name} on port {server.port} ({time.monotonic() - began:.1f} s)")
        if not database.sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):  # noqa: S608 (our own word)
            database.create_database(DATABASE)
        env = {"DATABASE_URL": database.url(DATABASE), "RABBITMQ_URL": broker.url(), "LEDGER_DIR": str(home)}
        write_env(home / "env", env)
        env |= telemetry()
        children = []
        status.update("starting the service and its stand-in neighbours")
        for program in programs:
            # the name in the settings is the service's
            named = {} if program.name == "service" else {"OTEL_SERVICE_NAME": program.name}
            child = program.start(home, os.environ | env | named)
            stack.callback(child.stop, seconds=STOP_SECONDS)
            children.append(child)
        for program, child in zip(programs, children, strict=True):
            child.wait_until(program.answers, seconds=READY_SECONDS, poll=0.05)
            console.print(f"[green]✓[/] {program.name} on port {program.port}")
    return [*children, *(server.child for server in (database, broker) if server.child)]


def telemetry() -> dict[str, str]:
    """OpenTelemetry's settings, for all alike: from the environment, else from the `.env` that the service reads."""
    said = {**dotenv_values(PROJECT / ".env"), **os.environ}
    return {name: value for name, value in said.items() if name.startswith("OTEL_") and value}


def watch(children: list[Child]) -> None:
    """Return never.

    Raises:
        ChildEndedError: one of them ended.

    """
    while True:
        for child in children:
            if child.returncode is not None:
                raise ChildEndedError(child)
        time.sleep(0.2)


def write_env(path: Path, env: dict[str, str]) -> None:
    """Keep the addresses, passwords included, for other shells: `. .local/env`. Nobody else can read it."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}='{value}'\n" for name, value in env.items()))


if __name__ == "__main__":
    typer.run(run)
