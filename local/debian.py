"""Debian's packages, unpacked into a cache folder: no root, no service, nothing installed."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from local.errors import LocalError
from local.host import built_once, cache_dir

MEGABYTE = 1_000_000


class AptError(LocalError):
    """apt-get refused; the message has its words."""


def available() -> bool:
    """Whether this machine has Debian's tools."""
    return all(shutil.which(tool) for tool in ("apt-get", "dpkg-deb"))


def as_it_is(draft: Path, target: Path) -> None:
    """Leave what was unpacked alone."""


def unpacked(
    package: str,
    *,
    beside: tuple[str, ...] = (),
    adapt: Callable[[Path, Path], None] = as_it_is,
    say: Callable[[str], None],
) -> Path:
    """The root folder of a package, downloaded at first use.

    Args:
        package: its name.
        beside: what the names of those packages begin with that it needs, if this machine lacks them, to run like this.
            The rest of what apt would install serves the system service that we do not make.
        adapt: called with the folder that was unpacked into and the one that it becomes, for programs that know where
            they live.
        say: told what takes time.

    Raises:
        AptError: no network, or no such package.

    """

    def build(draft: Path) -> None:
        with TemporaryDirectory() as work:
            for archive in download(Path(work), package, beside, say):
                say(f"unpacking {archive.name.partition('_')[0]}")
                subprocess.run(["dpkg-deb", "-x", archive, draft], check=True, capture_output=True)
        adapt(draft, target)

    release = platform.freedesktop_os_release()
    target = cache_dir() / f"{package}-{release['ID']}-{release.get('VERSION_ID', 'rolling')}-{platform.machine()}"
    return built_once(target, build)


def download(folder: Path, package: str, beside: tuple[str, ...], say: Callable[[str], None]) -> list[Path]:
    """Download the packages, with the machine's own package lists if they will do, else with fresh ones of our own."""
    # apt drops root before it downloads; it must be able to write here.
    folder.chmod(0o777)
    try:
        return fetch(folder, [], package, beside, say)
    except AptError:
        say("fetching the package lists (apt-get update)")
        # In a folder of our own, so that it needs no root and changes nothing on this machine.
        lists, cache = folder / "lists", folder / "cache"
        for part in (lists / "partial", cache / "archives" / "partial"):
            part.mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="]
        apt(folder, *own, "update")
        return fetch(folder, own, package, beside, say)


def fetch(
    folder: Path, options: list[str], package: str, beside: tuple[str, ...], say: Callable[[str], None]
) -> list[Path]:
    """Download what installing the package would install on this very machine, as far as it is wanted."""
    plan = apt(folder, *options, "install", "--simulate", "--no-install-recommends", package)
    planned = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    names = [name for name in planned if name == package or name.startswith(beside)]
    # 'address' file size hash
    sizes = [int(line.split()[2]) for line in apt(folder, *options, "download", "--print-uris", *names).splitlines()]
    say(f"downloading {package} and what it needs (about {sum(sizes) // MEGABYTE + 1} MB, once)")
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
