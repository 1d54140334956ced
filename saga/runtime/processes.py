"""What the workers of one service have in common here: a folder, named after the process that started them."""

import multiprocessing
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def is_worker() -> bool:
    """Whether this process is one of several that a supervisor started: `--workers N`."""
    return multiprocessing.parent_process() is not None


def common_folder() -> Path:
    """The folder of this worker's service; those of services that are gone are removed.

    Raises:
        PermissionError: somebody else laid a folder where ours has to be.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker has one"
    assert parent.pid is not None, "a process that runs has a number"
    root = Path(tempfile.gettempdir()) / f"order-service-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if found.st_uid != os.getuid() or root.is_symlink():
        raise PermissionError(f"{root} is not ours: remove it, or set TMPDIR")
    for other in root.iterdir():
        number, _, birth = other.name.partition("-")
        if not number.isdigit() or _born(int(number)) != birth:
            shutil.rmtree(other, ignore_errors=True)
    folder = root / f"{parent.pid}-{_born(parent.pid)}"
    folder.mkdir(exist_ok=True)
    return folder


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _born(pid: int) -> str:
    """When a process started, in the kernel's ticks: numbers are used again. Empty where the system does not tell.

    The name of a process that is gone is never ours.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "" if is_alive(pid) else "gone"
