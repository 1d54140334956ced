"""How many connections the system lets this process have: a shell's usual 1024 files are few where clients stay."""

import resource

OTHERS = 500
"""Files beside the connections that stay: of database and bus, and of the requests that come and go."""


def room_for(connections: int) -> int:
    """Raise the process's limit of open files as far as so many connections need it, and the system lets it.

    Returns:
        for how many of them there is room now.
    """
    wanted = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(0, min(connections, soft - OTHERS))
