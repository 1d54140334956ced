"""A private RabbitMQ: of this machine if installed, else unpacked from Debian's packages, else in Docker."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from local.broker import ForeignRabbitMQ, RabbitMQ, accepts
from local.child import Child, run
from local.docker import DockerRabbitMQ, answers
from local.errors import LocalError, NoRabbitMQError
from local.host import LOOPBACK, free_port, give, kept_secret, lock_home, prepare_home, require_free, server_account
from local.programs import Programs, find_programs

READY_SECONDS = 90.0
# Within milliseconds every queue is closed and on disk; then the management plug-in lets the node wait 5 s for nothing.
STOP_SECONDS = 2.0
# The data belong to the node's name. Nobody else can meet it: every node has an epmd of its own.
NODE = "orders@localhost"
# How old the numbers of a quorum queue may be; 5 s by default.
QUORUM_TICK_MS = 500


def quiet(_: str) -> None:
    """Say nothing."""


def rabbitmq(home: Path, port: int = 0, *, say: Callable[[str], None] = quiet) -> RabbitMQ:
    """The best RabbitMQ to be had here, not yet started: RABBITMQ_URL, installed, Debian's packages, Docker.

    Raises:
        NoRabbitMQError: none of them is possible; the message says what to do.
        AptError: the packages could not be downloaded, and there is no Docker.

    """
    if url := os.environ.get("RABBITMQ_URL"):
        return ForeignRabbitMQ(url)
    programs, reason = None, "There is no rabbitmq-server, no apt-get and no Docker on this machine."
    try:
        programs = find_programs(say)
    except LocalError as error:
        reason = str(error)
    if programs is not None:
        return PrivateRabbitMQ(home, port, programs=programs, say=say)
    if answers():
        return DockerRabbitMQ(home, port, say=say)
    raise NoRabbitMQError(
        f"{reason}\nInstall rabbitmq-server, start Docker, or set RABBITMQ_URL to a RabbitMQ that runs somewhere."
    )


class PrivateRabbitMQ(RabbitMQ):
    """A RabbitMQ node of our own in the folder `home`, with its own epmd, everything on the loopback address only.

    `more` are further lines of its configuration.
    """

    def __init__(
        self,
        home: Path,
        port: int = 0,
        *,
        programs: Programs,
        say: Callable[[str], None] = quiet,
        more: Sequence[str] = (),
    ) -> None:
        super().__init__(port)
        self.home = home
        self._programs = programs
        self._say = say
        self._more = more
        self._child: Child | None = None
        self._epmd: Child | None = None
        self._lock: IO[bytes] | None = None
        self._epmd_port = free_port()
        self._dist_port = free_port()

    @property
    def child(self) -> Child | None:
        """The running node, None when stopped."""
        return self._child

    @property
    def password(self) -> str:
        """Made up at the first start and kept in the home."""
        return kept_secret(self.home / "password")

    def start(self) -> None:
        """Start and wait until an AMQP connection can be opened: 4 to 12 s.

        Raises:
            PortTakenError: somebody listens on the port.
            HomeInUseError: another process runs a node there.
            ServerDiedError, NotReadyError: with the node's last lines.

        """
        if self._child is not None:
            return
        require_free(self.port, "RabbitMQ")
        prepare_home(self.home)
        self._lock = self._lock or lock_home(self.home)
        self._configure()
        self._say("starting RabbitMQ")
        try:
            # Started by us and not by the node, because the node's epmd would outlive it.
            self._epmd = self._launch("epmd", ["epmd", "-port", str(self._epmd_port), "-address", LOOPBACK])
            self._child = self._launch("rabbitmq", [self._programs.scripts / "rabbitmq-server"])
            self._child.wait_until(
                lambda: accepts(self.url()) and self.management.is_up(), seconds=READY_SECONDS, poll=0.1
            )
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop in order, epmd last."""
        if self._child is not None:
            self._child.stop(seconds=STOP_SECONDS)
        self._release()

    def kill(self) -> None:
        """SIGKILL for the node and its epmd."""
        if self._child is not None:
            self._child.kill()
        self._release()

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` and return what it printed. Takes 1 to 2 s: a whole Erlang is started for it.

        Raises:
            LocalError: it failed; the message has its words.

        """
        return run(
            [self._programs.scripts / "rabbitmqctl", "--quiet", *arguments], cwd=self.home, env=self._environment()
        )

    def _launch(self, name: str, argv: list[str | Path]) -> Child:
        log = self.home / f"{name}.log"
        return Child(
            name,
            argv,
            log=log,
            account=server_account(),
            env=self._environment(),
            cwd=self.home,
            pidfile=self.home / f"{name}.pid",
        )

    def _configure(self) -> None:
        lines = [
            f"listeners.tcp.default = {LOOPBACK}:{self.port}",
            f"management.tcp.ip = {LOOPBACK}",
            f"management.tcp.port = {self.management_port}",
            f"default_user = {self.user}",
            f"default_pass = {self.password}",
            "default_user_tags.administrator = true",
            # Laptops are often fuller than a server may be; the alarm would block every publisher.
            "disk_free_limit.absolute = 100MB",
            # We ask for numbers of the moment, never for rates: no need to collect them beside a benchmark.
            "management_agent.disable_metrics_collector = true",
            "log.console = true",
            "log.console.level = info",
            "log.file = false",
            *self._more,
        ]
        secret = self.home / "rabbitmq.conf"
        secret.touch(mode=0o600)
        secret.write_text("\n".join(lines) + "\n")
        (self.home / "plugins").write_text("[rabbitmq_management].\n")
        (self.home / "env.conf").write_text("")
        kept_secret(self.home / ".erlang.cookie")
        (self.home / ".erlang.cookie").chmod(0o400)
        for name in ("rabbitmq.conf", "plugins", "env.conf"):
            give(self.home / name)

    def _environment(self) -> dict[str, str]:
        """Everything that two nodes on one machine must not share, named."""
        home, erlang = str(self.home), "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
        return {
            "PATH": self._programs.path,
            "LD_LIBRARY_PATH": self._programs.libraries,
            "LANG": "C.UTF-8",
            "HOME": home,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{erlang} -rabbit quorum_tick_interval {QUORUM_TICK_MS}",
            "RABBITMQ_CTL_ERL_ARGS": erlang,
            "RABBITMQ_CONF_ENV_FILE": f"{home}/env.conf",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_LOGS": "-",
            # The script then becomes the node, and a signal reaches it without a shell and a rabbitmqctl in between.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _release(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()
        self._child = self._epmd = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
