"""What leads to another host without TLS is said at every start, and what stays on this machine is not."""

import json
import os
import subprocess
import sys

import pytest

from tests.service import PROJECT

EXPOSED = {
    "DATABASE_URL": "postgresql://user:canary@db.invalid/orders",
    "RABBITMQ_URL": "amqp://user:canary@mq.invalid/",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.invalid:4318",
}
HERE = {
    "DATABASE_URL": "postgresql://user:canary@127.0.0.1/orders",
    "RABBITMQ_URL": "amqp://user:canary@localhost/",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:4318",
}


@pytest.mark.parametrize(("environment", "warned"), [(EXPOSED, list(EXPOSED)), (HERE, [])])
def test_a_start_warns_of_plain_text(environment: dict[str, str], warned: list[str]) -> None:
    # the start itself would look these hosts up
    start = "import app; app._warn_of_plain_text(app.app.settings)"
    done = subprocess.run(
        [sys.executable, "-c", start],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"].partition(" ")[0] for line in lines] == warned
    assert {line["level"] for line in lines} <= {"warning"}
    assert "canary" not in done.stderr
