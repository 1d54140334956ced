"""What checks the files of `ops/` and `compose.yaml`: the programs themselves, without a server, without an engine."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from local import debian
from local.errors import LocalError

PROJECT = Path(__file__).resolve().parents[2]
OPS = PROJECT / "ops"


class RejectedError(AssertionError):
    """A program finds something wrong; the message has its words."""


def promtool(*arguments: str | Path) -> str:
    """What Prometheus's own checker says.

    Raises:
        RejectedError: something is wrong.
    """
    program = shutil.which("promtool") or unpacked("prometheus") / "usr/bin/promtool"
    return accepted([program, *arguments])


def compose_config(document: Mapping[str, Any]) -> dict[str, Any]:
    """What Docker Compose makes of a project in this repository; no engine is asked.

    Raises:
        RejectedError: it refuses it.
    """
    program: list[str | Path] = ["docker", "compose"]
    env = dict(os.environ)
    if not has_compose_plugin():
        root = unpacked("docker-compose", "python3-")
        program = [root / "usr/bin/docker-compose"]
        env["PYTHONPATH"] = str(root / "usr/lib/python3/dist-packages")
        # the release that Debian 12 has is older than this key, and all else is as it was
        document = {key: value for key, value in document.items() if key != "name"}
    told = [*program, "--project-directory", PROJECT, "--file", "-", "config"]
    config: dict[str, Any] = yaml.safe_load(accepted(told, yaml.safe_dump(document), env))
    return config


def has_compose_plugin() -> bool:
    """Whether Docker's command line has Compose; it may be there without an engine."""
    asked = ["docker", "compose", "version"]
    return shutil.which("docker") is not None and not subprocess.run(asked, capture_output=True, check=False).returncode


def unpacked(package: str, *beside: str) -> Path:
    """The root folder of one of Debian's packages."""
    if not debian.available():
        raise LocalError(f"{package} is neither installed nor, without apt-get, to be had: install it")
    return debian.unpacked(package, beside=beside, say=print)


def accepted(argv: list[str | Path], standard_input: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end, and return what it printed.

    Raises:
        RejectedError: it ended with another code than 0.
    """
    done = subprocess.run(argv, input=standard_input, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RejectedError(f"{Path(argv[0]).name} {argv[1]}:\n{done.stdout}{done.stderr}")
    return done.stdout
