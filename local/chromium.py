"""A Chromium for the tests of the dashboard: the distribution's own."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from local.debian import AptError, apt
from local.errors import NoChromiumError
from local.host import cache_dir

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What distributions call it."""
PACKAGE = "chromium"


def chromium(say: Callable[[str], None]) -> Path:
    """The Chromium of this machine; root gets Debian's package installed where there is none, about 100 MB.

    Raises:
        NoChromiumError: there is none, and it cannot be installed; the message says what to do.

    """
    if found := _installed():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoChromiumError(
            "The dashboard is tested in a real browser, and this machine has none of "
            f"{', '.join(NAMES)} on its PATH. Install one; on Debian, as root: apt-get install {PACKAGE}"
        )
    # two runs at once must not be in each other's way
    with (cache_dir() / "chromium.lock").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not _installed():
            _install(say)
    if found := _installed():
        return found
    raise NoChromiumError(f"apt-get installed {PACKAGE}, and yet there is none of {', '.join(NAMES)} on the PATH.")


def _installed() -> Path | None:
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


def _install(say: Callable[[str], None]) -> None:
    install = ("install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", PACKAGE)
    say(f"installing {PACKAGE} for the tests of the dashboard (apt-get, about 100 MB, once)")
    try:
        apt(Path("/"), *install)
    except AptError:
        # no package lists, or lists so old that what they name is gone
        say("fetching the package lists (apt-get update)")
        try:
            apt(Path("/"), "update")
            apt(Path("/"), *install)
        except AptError as error:
            raise NoChromiumError(
                f"The dashboard is tested in a real browser, and Debian's could not be installed. {error}\n"
                f"Mend that, or install one of {', '.join(NAMES)} yourself."
            ) from error
