"""The image, as far as can be told without Docker: what is copied into it is enough, and has no tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.ops.programs import OPS, PROJECT

DOCKERFILE = (OPS / "Dockerfile").read_text()
FOR_DEVELOPMENT = {"tests", "benchmarks", "ops"}


def copied(stage: str) -> list[str]:
    """What a stage copies from the project, and the stages that it is built on do."""
    begin = re.search(rf"^FROM (\S+) AS {stage}$", DOCKERFILE, re.MULTILINE)
    assert begin, stage
    lines = DOCKERFILE[begin.end() :].partition("\nFROM ")[0]
    sources = [source for line in re.findall(r"^COPY (.+) \S+$", lines, re.MULTILINE) for source in line.split()]
    return (copied(begin[1]) if re.search(rf"^FROM \S+ AS {begin[1]}$", DOCKERFILE, re.MULTILINE) else []) + sources


def install(stage: str, folder: Path) -> Path:
    """The project's part of that image."""
    for source in copied(stage):
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / source, folder)
    return folder


def run(folder: Path, *python: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python there, with nothing of this environment but where its packages are."""
    argv = [sys.executable, *python]
    clean = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run(argv, cwd=folder, env=clean, capture_output=True, text=True, timeout=60, check=False)


def test_the_last_stage_which_is_built_by_default_is_the_service() -> None:
    assert re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "service"
    assert not {"local", *FOR_DEVELOPMENT} & {source.strip("/") for source in copied("service")}
    assert not FOR_DEVELOPMENT & {source.strip("/") for source in copied("simulators")}


def test_docker_is_given_what_is_copied_and_nothing_else() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    given = {rule.strip("!/") for rule in rules if rule.startswith("!")}
    assert given == {source.strip("/") for stage in ("service", "simulators") for source in copied(stage)}
    left_out = [rule for rule in rules[1:] if not rule.startswith("!")]
    assert any(fnmatch("handlers/dashboard/screenshots", rule) for rule in left_out)


def test_packages_are_installed_by_their_hashes_and_nothing_is_built() -> None:
    [line] = re.findall(r"^RUN pip install (.+)$", DOCKERFILE, re.MULTILINE)
    assert {"--only-binary=:all:", "--require-hashes"} <= set(line.split())


def test_whoever_runs_it_is_a_number_and_not_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"useradd .*--uid 10001\b", DOCKERFILE)


def test_the_service_needs_nothing_that_is_not_in_its_image(tmp_path: Path) -> None:
    folder = install("service", tmp_path)
    assert run(folder, "-c", "from app import app; app.http").returncode == 0
    assert "migrate" in run(folder, "-m", "handlers.cli", "--help").stdout


@pytest.mark.parametrize("module", ["inventory", "billing", "notifications"])
def test_the_simulators_need_nothing_that_is_not_in_their_image(tmp_path: Path, module: str) -> None:
    done = run(install("simulators", tmp_path), "-c", f"from local.{module} import app")
    assert done.returncode == 0, done.stderr


def test_a_failpoint_has_no_effect_in_the_image(tmp_path: Path) -> None:
    tell = "import app; from saga.runtime import failpoints; failpoints.reach('engine.locked'); print('alive')"
    armed = run(PROJECT, "-c", tell, TEST_FAILPOINT="engine.locked:1")
    assert armed.returncode == -9
    done = run(install("service", tmp_path), "-c", tell, TEST_FAILPOINT="engine.locked:1")
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "TEST_FAILPOINT ignored: the tests are not installed"
    ]
