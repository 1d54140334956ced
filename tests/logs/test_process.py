"""All that a process says leaves it in one form and once, on every way that there is."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saga.errors import ConfigurationError
from settings import load
from tests.service import PROJECT, Service, told
from tests.waiting import until

CANARY = "canary4711"
SAID = [
    ("info", "ours", "begun"),
    ("warning", "with.handlers.of.its.own", "theirs: …"),
    ("warning", "with.handlers.of.its.own", "broken: %d"),
    ("warning", "saga.telemetry.log_setup", "a warning"),
    ("error", "saga.telemetry.log_setup", "an error that nobody can handle"),
    ("error", "saga.telemetry.log_setup", "a thread died"),
    ("critical", "saga.telemetry.log_setup", "this process ends"),
]


def _speak(errors: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.logs.spoken"],
        cwd=PROJECT,
        env={**os.environ, "CANARY": CANARY, "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        timeout=30,
        check=False,
    )


def test_for_machines_it_is_an_object_a_line() -> None:
    done = _speak(subprocess.PIPE)
    assert done.stdout == ""
    assert CANARY not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"], line["event"]) for line in lines] == SAID
    assert re.fullmatch(r"UserWarning at tests/logs/spoken\.py:\d+", lines[3]["error"])
    assert [line["error"] for line in lines[4:]] == 3 * ["ValueError"]
    assert re.fullmatch(r"tests/logs/spoken.py:\d+ die", lines[-1]["exception"][0]["frames"][-1])


def test_on_a_terminal_it_is_coloured_text() -> None:
    ours, its = pty.openpty()
    done = _speak(its)
    os.close(its)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == ""
    assert CANARY not in text
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[\d*m", "", text)
    for level, logger, event in SAID:
        assert re.search(rf"Z \[{level} *\] {re.escape(event)} \[{logger}\]", plain), plain
    assert re.search(r"\r\nValueError\r\n(  .+\r\n)*  tests/logs/spoken\.py:\d+ die\r\n$", plain), plain


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Service]:
    """Two of them, without servers."""
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "RABBITMQ_URL": "amqp://user:password@127.0.0.1:9/"}
    service = Service(tmp_path, nowhere | {"FASTSTREAM_LOG_LEVEL": "debug"}, workers=2)
    yield service
    service.stop()


async def test_every_worker_speaks_so_and_the_level_of_the_command_line_is_everybodys(workers: Service) -> None:
    everybody = {
        ("uvicorn.error", "Application startup complete."): 2,
        ("root", "FastStream app starting..."): 2,
        ("saga.runtime.startup", "the database cannot be reached yet; trying again"): 2,
        ("saga.outbox.relay", "the outbox cannot be read for now"): 2,
        ("uvicorn.error", "Started parent process […"): 1,
    }

    async def all_have_spoken() -> bool:
        lines = [(line["logger"], line["event"]) for line in told(workers.log)]
        return all(lines.count(line) >= count for line, count in everybody.items())

    await until(all_have_spoken, 30)
    lines = [(line["logger"], line["event"]) for line in told(workers.log)]
    assert {line: lines.count(line) for line in list(everybody)[:3]} == dict(list(everybody.items())[:3])


@pytest.mark.parametrize(
    "wrong",
    [
        {"DATABASE_URL": f"mysql://user:{CANARY}@localhost/x"},
        {"DATABASE_URL": f"postgresql://user:{CANARY}@localhost:port/x"},
        {"RABBITMQ_URL": f"http://user:{CANARY}@localhost/"},
        {"RABBITMQ_URL": f"amqp://user:{CANARY}@:port/"},
        {"RABBITMQ_URL": f"amqp://user:{CANARY}@localhost/", "RABBITMQ_HOST": CANARY},
        {"RABBITMQ_PORT": CANARY},
        {"SAGA_TIMEOUT_SECONDS": CANARY},
        {"AUTO_MIGRATE": CANARY},
        {"DATABASE_URL_FILE": f"postgresql://user:{CANARY}@localhost/x"},
        {"DATABASE_URL_FILE": "/bin/sh"},
    ],
)
def test_what_a_refused_start_says_has_no_secret_in_it(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert next(iter(wrong)) in str(refused.value)
    assert CANARY not in str(refused.value)
