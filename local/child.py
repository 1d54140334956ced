"""Child processes that never outlive us, not even when we are killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from local.errors import LocalError, NotReadyError, ServerDiedError
from local.host import Account, server_account

# A shell that waits for its standard input to close, then kills the process group it was given.
LEASH = 'read -r _; kill -s KILL -- "-$0" 2>/dev/null'


class Child:
    """A process in a session of its own, on a leash, its output appended to a file.

    The session keeps Ctrl-C in the terminal away from it: it is stopped in our order. The leash is a pipe that the
    kernel closes when we are gone, however hard. PR_SET_PDEATHSIG would need no second process, but it fires when the
    *thread* that started the child ends, it is Linux only, and it needs a preexec_fn, which is not safe beside threads.

    `pidfile` remembers the process for the next run: what a killed run left in its last moments is buried before the
    new child starts, so that two servers never share their files.
    """

    def __init__(  # noqa: PLR0913 (a process has that many properties)
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        account: Account | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pidfile: Path | None = None,
    ) -> None:
        if pidfile is not None:
            bury(pidfile)
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._leash = subprocess.Popen(
            ["/bin/sh", "-c", LEASH, str(self.pid)], stdin=subprocess.PIPE, start_new_session=True
        )
        if pidfile is not None:
            pidfile.write_text(f"{self.pid} {born(self.pid)}")

    @property
    def returncode(self) -> int | None:
        """The exit code, None while the process runs, negative if a signal ended it."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float, poll: float = 0.01) -> None:
        """Wait until `ready()`, asked every `poll` seconds.

        Raises:
            ServerDiedError: the process ended first.
            NotReadyError: it did not come true within `seconds`.

        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.returncode is not None:
                raise ServerDiedError(self.name, self.returncode, self.last_lines())
            if time.monotonic() > deadline:
                raise NotReadyError(self.name, seconds, self.last_lines())
            time.sleep(poll)

    def stop(self, *, seconds: float, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to end; kill it if it has not ended after `seconds`."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(with_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the process and its whole group: no chance to write anything."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._leash.kill()
        self._leash.communicate()

    def last_lines(self, count: int = 15) -> str:
        """The last lines that this process wrote."""
        with self.log.open("rb") as output:
            output.seek(self._log_start)
            lines = output.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-count:])


def run(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program of the servers to its end, under their account, and return what it printed.

    Raises:
        LocalError: it failed; the message has its words.

    """
    account = server_account()
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=None if env is None else dict(env),
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LocalError(f"{Path(argv[0]).name} failed: {(done.stdout + done.stderr).strip()}")
    return done.stdout.strip()


def born(pid: int) -> str:
    """When the process started, in the kernel's ticks; empty if it is gone or the system has no /proc.

    Together with the number this names a process for good: numbers are used again.
    """
    state, *fields = _stat(pid) or ["Z"]
    return "" if state == "Z" else fields[18]


def freeze(pid: int) -> list[int]:
    """SIGSTOP for a process and all its descendants, as a fault: they do nothing, and keep all they hold.

    Returns:
        the processes that were stopped, for `thaw`.
    """
    frozen: list[int] = []
    # the parents first; a child that was born meanwhile is found when the list is read again
    while fresh := [one for one in _family(pid) if one not in frozen]:
        for one in fresh:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGSTOP)
        frozen += fresh
    return frozen


def thaw(frozen: Iterable[int]) -> None:
    """SIGCONT for the processes that `freeze` stopped.

    They are named and not looked for again: the kernel may leave children out of its list while one of them ends.
    """
    for one in frozen:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGCONT)


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped by a signal, and may go on."""
    return _stat(pid)[:1] == ["T"]


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; nothing if it is gone or the system has no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _family(pid: int) -> Iterator[int]:
    """A process and all its descendants, each after its parent."""
    yield pid
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def bury(pidfile: Path, *, seconds: float = 10) -> None:
    """Kill the process that a previous run left behind, if it is still that very process, and wait until it is gone."""
    with suppress(FileNotFoundError, ValueError):
        number, birth = pidfile.read_text().split(" ")
        deadline = time.monotonic() + seconds
        while birth and born(int(number)) == birth and time.monotonic() < deadline:
            with suppress(ProcessLookupError):
                os.killpg(int(number), signal.SIGKILL)
            time.sleep(0.01)
    pidfile.unlink(missing_ok=True)
