"""Debian's packages of RabbitMQ and Erlang, unpacked into a cache folder: no root, no service, nothing installed."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from local.errors import LocalError
from local.host import built_once, cache_dir

PACKAGE = "rabbitmq-server"
# The rest of what apt would install (logrotate, cron, socat) serves the system service that we do not make.
WANTED = (PACKAGE, "erlang-", "lib")
# Where Debian's start scripts believe Erlang to be.
ERLANG = "/usr/lib/erlang"


class AptError(LocalError):
    """apt-get refused; the message has its words."""


def available() -> bool:
    """Whether this machine has Debian's tools."""
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


def unpacked_rabbitmq(say: Callable[[str], None]) -> Path:
    """The root folder of RabbitMQ with all that it needs and this machine lacks; downloads about 34 MB at first use.

    Raises:
        AptError: no network, or no such package.

    """

    def build(draft: Path) -> None:
        with TemporaryDirectory() as work:
            for archive in download(Path(work), say):
                say(f"unpacking {archive.name.partition('_')[0]}")
                subprocess.run(["dpkg-deb", "-x", archive, draft], check=True, capture_output=True)
        relocate_erlang(draft, target)

    release = platform.freedesktop_os_release()
    target = cache_dir() / f"rabbitmq-{release['ID']}-{release.get('VERSION_ID', 'rolling')}-{platform.machine()}"
    return built_once(target, build)


def download(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Download the packages, with the machine's own package lists if they will do, else with fresh ones of our own."""
    # apt drops root before it downloads; it must be able to write here.
    folder.chmod(0o777)
    try:
        return fetch(folder, [], say)
    except AptError:
        say("fetching the package lists (apt-get update)")
        # In a folder of our own, so that it needs no root and changes nothing on this machine.
        lists, cache = folder / "lists", folder / "cache"
        for part in (lists / "partial", cache / "archives" / "partial"):
            part.mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        apt(folder, *own, "update")
        return fetch(folder, own, say)


def fetch(folder: Path, options: list[str], say: Callable[[str], None]) -> list[Path]:
    """Download what installing the package would install on this very machine."""
    plan = apt(folder, *options, "install", "--simulate", "--no-install-recommends", PACKAGE)
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    names = [name for name in names if name.startswith(WANTED)]
    say(f"downloading {len(names)} packages of RabbitMQ and Erlang (about 34 MB, once)")
    apt(folder, *options, "download", *names)
    return sorted(folder.glob("*.deb"))


def apt(folder: Path, *arguments: str) -> str:
    """Run apt-get and return what it printed.

    Raises:
        AptError: it failed.

    """
    # what a package would ask, nobody could see
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AptError(f"apt-get {arguments[-1]} failed:\n{done.stderr.strip()}")
    return done.stdout


def relocate_erlang(draft: Path, target: Path) -> None:
    """Tell the `erl` scripts where they will live: ROOTDIR is written into them."""
    for script in [*draft.glob("usr/lib/erlang/bin/erl"), *draft.glob("usr/lib/erlang/erts-*/bin/erl")]:
        script.write_text(script.read_text().replace(ERLANG, f"{target}{ERLANG}"))
