"""How many connections the system lets this process have: a shell's usual 1024 files are few where clients stay."""

import resource

OTHERS = 500
"""Files beside the connections that stay: of database and bus, and of the requests that come and go."""


def room_for(connections: int) -> int:
    """Raise the process's limit of open files as far as so many connections need it, and the system lets it.

    Returns:
        for how many of them there is room now.
    """
    soft, hard = (_number(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = connections + OTHERS
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return int(max(0, min(connections, soft - OTHERS)))


def _number(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit
