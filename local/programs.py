"""Where the programs of RabbitMQ are: installed on this machine, or unpacked from Debian's packages."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local import debian

# Debian's own `rabbitmq-server` insists on the service's user; the script behind it does not.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
# Where Debian's start scripts believe Erlang to be.
ERLANG = "/usr/lib/erlang"


@dataclass(frozen=True)
class Programs:
    """Where RabbitMQ's scripts are, and what to put into the environment so that they find Erlang."""

    scripts: Path
    path: str
    libraries: str = ""


def find_programs(say: Callable[[str], None]) -> Programs | None:
    """The installed RabbitMQ, else Debian's packages, downloaded if need be; None where there is neither."""
    system_path = os.environ.get("PATH", os.defpath)
    installed = shutil.which("rabbitmq-server")
    if shutil.which("erl") and (installed or SCRIPTS.exists()):
        return Programs(SCRIPTS if SCRIPTS.exists() else Path(str(installed)).resolve().parent, system_path)
    if not debian.available():
        return None
    root = debian.unpacked("rabbitmq-server", beside=("erlang-", "lib"), adapt=relocate_erlang, say=say)
    libraries = ":".join(str(folder) for folder in root.glob("usr/lib/*-linux-gnu*"))
    return Programs(root / "usr/lib/rabbitmq/bin", f"{root}{ERLANG}/bin:{system_path}", libraries)


def relocate_erlang(draft: Path, target: Path) -> None:
    """Tell the `erl` scripts where they will live: ROOTDIR is written into them."""
    for script in [*draft.glob("usr/lib/erlang/bin/erl"), *draft.glob("usr/lib/erlang/erts-*/bin/erl")]:
        script.write_text(script.read_text().replace(ERLANG, f"{target}{ERLANG}"))
