"""CPU time of a process tree, and of the machine, as the Linux kernel counts it."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """CPU time that all programs of this machine took, and what its host took away from it, since it was started."""
    user, nice, system, _idle, _waiting, irq, softirq, stolen, *_guests = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + stolen) / _TICKS_PER_SECOND


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its descendants, those that have ended and were waited for included.

    0 for a process that is gone. Counted in ticks, usually of 10 ms.
    """
    seconds = 0.0
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # utime, stime, cutime, cstime: proc(5)
        seconds = sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_SECOND
        for thread in Path(f"/proc/{pid}/task").iterdir():
            seconds += sum(cpu_seconds(int(child)) for child in (thread / "children").read_text().split())
    return seconds
