"""A program that says everything on every way that there is, with a word that must not come out. Then it dies of it."""

import logging
import os
import sys
import threading
import warnings

from saga.telemetry.log_setup import configure, get_logger

WORD = os.environ["CANARY"]
bare = logging.getLogger("with.handlers.of.its.own")
bare.propagate = False
bare.addHandler(logging.StreamHandler(sys.stdout))
configure()


class Unraisable:
    """One that fails where nobody can be told."""

    def __del__(self) -> None:
        raise ValueError(WORD)


def die() -> None:
    """Fail."""
    raise ValueError(WORD)


get_logger("ours").info("begun")
bare.warning("theirs: %s", WORD)
bare.warning("broken: %d", WORD)
warnings.warn(WORD, stacklevel=1)
Unraisable()
thread = threading.Thread(target=die)
thread.start()
thread.join()
die()
