"""The service in a process of its own."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from local.child import Child
from local.host import LOOPBACK, free_port
from tests.forked import Forked
from tests.waiting import until

PROJECT = Path(__file__).parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 20.0
FAILPOINT = "failpoint "


def with_access(env: Mapping[str, str]) -> dict[str, str]:
    """This environment; whoever is on this machine may ask, where it does not say who may."""
    said = {"ACCESS", "API_KEYS", "API_KEYS_FILE", "JWT_ISSUER"} & env.keys()
    return dict(env) if said else {"ACCESS": "local", **env}


def told(log: Path) -> list[dict[str, Any]]:
    """What a service wrote, line by line; without the points that tests have it tell."""
    # the last line may be being written
    *lines, _ = log.read_text(errors="replace").split("\n")
    return [json.loads(line) for line in lines if not line.startswith(FAILPOINT)]


def complaints(log: Path) -> list[dict[str, Any]]:
    """What a service should not have to write: errors, exceptions, a 500."""
    grave = ("error", "critical")
    return [one for one in told(log) if one["level"] in grave or "exception" in one or one.get("http_status") == 500]


class Service:
    """The service as its users run it.

    With one worker its process is forked from one that has imported everything, which saves a second; with `typed` or
    with several workers it is started by the very command line that a person types.
    """

    def __init__(
        self, home: Path, env: dict[str, str], workers: int = 1, *, typed: bool = False, app: str = "app:app"
    ) -> None:
        self.port = free_port()
        self.log = home / f"service-{self.port}.log"
        self._env = os.environ | with_access(env)
        self._app = app
        self._workers = workers
        self._typed = typed or workers > 1
        self.child = self._launch()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _launch(self) -> Child | Forked:
        run = ["run", self._app, "--host", LOOPBACK, "--port", str(self.port)]
        if not self._typed:
            return Forked(run, log=self.log, env=self._env, cwd=PROJECT)
        typed = [sys.executable, "-m", "faststream", *run, "--workers", str(self._workers)]
        return Child("service", typed, log=self.log, env=self._env, cwd=PROJECT)

    async def ready(self) -> None:
        """Return when it says so."""

        async def says_so() -> bool:
            assert self.child.returncode is None, self.log.read_text()
            try:
                return (await client.get("/health/ready")).status_code == 200
            except httpx2.TransportError:
                return False

        async with httpx2.AsyncClient(base_url=self.url, verify=False) as client:
            await until(says_so, READY_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a fault."""
        self.child.kill()

    async def restart(self) -> None:
        self.child = self._launch()
        await self.ready()

    def stop(self) -> None:
        self.child.stop(seconds=STOP_SECONDS)
