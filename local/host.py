"""This machine: who may run servers, where their files go, which ports are free."""

import fcntl
import os
import pwd
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local.errors import HomeInUseError, LocalError, PortTakenError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Account:
    """A user of this machine under whose name a server runs."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """`nobody` when we are root, because PostgreSQL refuses to run as root; None (ourselves) otherwise."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def cache_dir() -> Path:
    """Where unpacked programs are kept between runs; readable by the account that runs the servers.

    Root's own cache is closed to `nobody`, and a folder under /var/tmp could have been laid by anybody.
    """
    if os.geteuid() == 0:
        cache = Path("/var/cache/order-service")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "order-service"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def is_reachable(path: Path) -> bool:
    """Whether the account that runs the servers can walk down to `path`."""
    account = server_account()
    if account is None:
        return True
    folders = [parent.stat() for parent in path.absolute().parents if parent.exists()]
    return all(found.st_mode & (stat.S_IXUSR if found.st_uid == account.uid else stat.S_IXOTH) for found in folders)


def data_dir(project: Path) -> Path:
    """Where `make run` keeps its data: `.local` in the project, or under /var/lib if `nobody` cannot reach that."""
    wished = project / ".local"
    if is_reachable(wished):
        return wished
    return Path("/var/lib/order-service") / str(project.absolute()).strip("/").replace("/", "-")


def prepare_home(home: Path) -> None:
    """Make `home` a folder of the servers' account alone (mode 0700).

    Raises:
        LocalError: that account cannot walk down to it.

    """
    home.mkdir(parents=True, exist_ok=True)
    if not is_reachable(home):
        raise LocalError(
            f"{home} cannot be reached by the user nobody, who runs the servers for root. Choose another folder."
        )
    home.chmod(0o700)
    give(home)


def give(path: Path) -> None:
    """Hand `path` to the account that runs the servers."""
    account = server_account()
    if account is not None:
        os.chown(path, account.uid, account.gid)


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A home for servers that is gone afterwards. pytest's own folders are closed to `nobody`, this one is not."""
    home = Path(tempfile.mkdtemp(prefix="order-service-"))
    try:
        prepare_home(home)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def lock_home(home: Path) -> IO[bytes]:
    """Claim `home` for this process until the returned file is closed, or the process is gone.

    Raises:
        HomeInUseError: another process has claimed it.

    """
    file = (home / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise HomeInUseError(
            f"{home} is in use by another run. Stop that one first, or choose another folder."
        ) from None
    return file


def kept_secret(path: Path) -> str:
    """The password kept in `path`, made up at first use and readable by the servers' account alone."""
    if not path.exists():
        draft = path.with_name(path.name + ".new")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(24))
        give(draft)
        draft.rename(path)
    return path.read_text()


_given: set[int] = set()
"""Ports that this process has been told are free; whoever was told may not have opened it yet."""


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on at this moment.

    Below those that the kernel gives to whoever opens a connection: a server that is started again must find it free.
    Never the same twice, and from a thousand of this process's own: others look for theirs at the same time.
    """
    while True:
        port = 20_000 + os.getpid() % 12 * 1_000 + secrets.randbelow(1_000)
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            _given.add(port)
            return port


def require_free(port: int, what: str) -> None:
    """Check that a server could listen on `port`.

    Raises:
        PortTakenError: somebody listens there already.

    """
    with socket.socket() as probe:
        # As the servers do: a connection of the previous run in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise PortTakenError(port, what) from None


def built_once(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built at first use by `build(draft)`.

    One process builds while the others wait, and a half-built draft never gets the name, whatever interrupts it.
    """
    if target.exists():
        return target
    with target.with_name(target.name + ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=target.name + "."))
            try:
                draft.chmod(0o755)
                build(draft)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return target
