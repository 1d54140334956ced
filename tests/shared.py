"""One RabbitMQ for all workers of a run: a node takes ten seconds of CPU to start, and more while nobody uses it."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.broker import ForeignRabbitMQ, RabbitMQ
from local.rabbitmq import rabbitmq as find_rabbitmq


@contextmanager
def shared_rabbitmq(run: Path, home: Path) -> Iterator[RabbitMQ]:
    """The node of this run.

    The first worker that asks starts it, and stops it when all others have let go of it; one that asks later still
    starts another.

    Args:
        run: a folder that all workers of the run share.
        home: where the node keeps its data, if this worker starts it.
    """
    address = run / "rabbitmq.json"
    with (run / "using").open("w") as using, (run / "starting").open("w") as starting:
        fcntl.flock(using, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_EX)
        if address.exists():
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield ForeignRabbitMQ(**json.loads(address.read_text()))
            return
        with find_rabbitmq(home, say=print) as server:
            address.write_text(json.dumps({"url": server.url(), "management_port": server.management_port}))
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield server
            # granted when the last of the others has closed its file
            fcntl.flock(using, fcntl.LOCK_EX)
            address.unlink()
