"""`faststream run app:app …` in a process of its own that need not import everything again.

A server forks: it has imported what the service imports, nothing of which looks at the environment, and nothing else.
Only `settings` and `app` are new in every process, and there the environment is what a test says.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from local.child import LEASH

PRELOADED = [
    *("alembic.command", "alembic.autogenerate", "asyncpg", "fastapi", "uvicorn", "uvloop"),
    *("faststream.__main__", "faststream.asgi", "faststream.rabbit", "sqlalchemy.ext.asyncio"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "pydantic_settings"),
    *(
        "handlers.bus.asyncapi.document",
        "handlers.dashboard.routes",
        "handlers.dead_letters.routes",
        "handlers.dead_letters.consumer",
    ),
    *("handlers.access.jwks", "handlers.http.connections", "handlers.api.app", "handlers.live.routes"),
    *(
        "handlers.api.sagas",
        "handlers.bus.orders",
        "handlers.bus.replies",
        "handlers.bus.subscribe",
        "handlers.live.watcher",
    ),
    *(
        "handlers.bus.publisher",
        "saga.runtime.database",
        "saga.engine",
        "handlers.api.readiness",
        "saga.outbox.relay",
        "saga.runtime.tasks",
        "saga.timers",
    ),
    *("handlers.api.exposition", "saga.webhooks.dispatcher", "saga.webhooks.retention", "handlers.webhooks.routes"),
    "tests.forked",
]
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(PRELOADED)
START_SECONDS = 30.0


class Forked:
    """A process that runs this command line, with what tests need of `local.child.Child`.

    It is on the same leash: it waits to be put on it, so that not even an instant is left in which it could outlive us.
    """

    def __init__(self, arguments: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        ours, its = FORKING.Pipe()
        self._process = FORKING.Process(target=_run, args=(its, arguments, log, dict(env), cwd))
        self._process.start()
        its.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        with ours:
            # it is in a session of its own
            assert ours.poll(START_SECONDS), "the forking server does not answer"
            ours.recv()
            self._leash = subprocess.Popen(
                ["/bin/sh", "-c", LEASH, str(self.pid)], stdin=subprocess.PIPE, start_new_session=True
            )
            ours.send("go")

    @property
    def returncode(self) -> int | None:
        """The exit code, None while the process runs, negative if a signal ended it."""
        return self._process.exitcode

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended by itself; kill it if it has not after `seconds`."""
        self._process.join(seconds)
        self.kill()

    def stop(self, *, seconds: float, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end; kill it if it has not ended after `seconds`."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, with_signal)
            self._process.join(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the process and its whole group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.join()
        self._leash.kill()
        self._leash.communicate()

    def last_lines(self, count: int = 15) -> str:
        """The last lines that this process wrote."""
        with self.log.open("rb") as output:
            output.seek(self._log_start)
            lines = output.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-count:])


def _run(leash: Connection, arguments: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path) -> None:
    """What the new process does: become the command line."""
    os.setsid()
    leash.send("in a session of its own")
    leash.recv()
    leash.close()
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source.fileno(), target)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["faststream", *arguments]
    # it was imported before, which is what all this is for
    warnings.filterwarnings("ignore", message=".* found in sys.modules", category=RuntimeWarning)
    runpy.run_module("faststream", run_name="__main__", alter_sys=True)
