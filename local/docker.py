"""RabbitMQ in Docker, for machines where no other way leads to one."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from local.broker import RabbitMQ, accepts
from local.errors import LocalError, NotReadyError
from local.host import LOOPBACK, kept_secret, prepare_home, require_free

IMAGE = "rabbitmq:4-management"
READY_SECONDS = 180.0


def answers() -> bool:
    """Whether there is a Docker that answers."""
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    )


class DockerRabbitMQ(RabbitMQ):
    """A container whose data live in a volume, both named after `home`.

    No leash reaches into Docker: what a killed run leaves behind is removed by the next start.
    """

    def __init__(self, home: Path, port: int = 0, *, say: Callable[[str], None]) -> None:
        super().__init__(port)
        self.home = home
        self.name = "order-service-" + hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:12]
        self._say = say

    @property
    def password(self) -> str:
        """Made up at the first start and kept in the home."""
        return kept_secret(self.home / "password")

    def start(self) -> None:
        """Start and wait until an AMQP connection can be opened; the image is downloaded at first use."""
        require_free(self.port, "RabbitMQ")
        prepare_home(self.home)
        self._say(f"starting {IMAGE} in Docker")
        self.kill()
        # The data belong to the node's name, which is made of the host's. The password is passed by name, so that `ps`
        # does not show it.
        docker(
            *(
                "run",
                "--detach",
                "--name",
                self.name,
                "--hostname",
                "orders",
                "--volume",
                f"{self.name}:/var/lib/rabbitmq",
            ),
            *("--publish", f"{LOOPBACK}:{self.port}:5672", "--publish", f"{LOOPBACK}:{self.management_port}:15672"),
            *("--env", f"RABBITMQ_DEFAULT_USER={self.user}", "--env", "RABBITMQ_DEFAULT_PASS", IMAGE),
            env={"RABBITMQ_DEFAULT_PASS": self.password},
        )
        deadline = time.monotonic() + READY_SECONDS
        while not (accepts(self.url()) and self.management.is_up()):
            if time.monotonic() > deadline:
                raise NotReadyError("RabbitMQ in Docker", READY_SECONDS, docker("logs", "--tail", "15", self.name))
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop in order and remove the container; the volume stays."""
        docker("stop", self.name, check=False)
        self.kill()

    def kill(self) -> None:
        """Kill and remove the container; the volume stays."""
        docker("rm", "--force", self.name, check=False)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` in the container and return what it printed."""
        return docker("exec", self.name, "rabbitmqctl", "--quiet", *arguments)


def docker(*arguments: str, env: dict[str, str] | None = None, check: bool = True) -> str:
    """Run docker and return what it printed.

    Raises:
        LocalError: it failed and `check` is set.

    """
    done = subprocess.run(
        ["docker", *arguments], env=os.environ | (env or {}), capture_output=True, text=True, check=False
    )
    if check and done.returncode != 0:
        raise LocalError(f"docker {arguments[0]} failed:\n{done.stderr.strip()}")
    return done.stdout
