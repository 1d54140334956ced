"""What is written, as it would leave the service."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saga.telemetry.log_lines import OneObject
from tests.collector import Collector

Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Takes the service's traces."""
    with Collector() as collector:
        yield collector


@pytest.fixture
def written() -> Iterator[Written]:
    """Gives the lines that any logger has written so far."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneObject())
    level, handlers = logging.root.level, logging.root.handlers
    logging.root.setLevel(logging.DEBUG)
    logging.root.handlers = [handler]
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.setLevel(level)
    logging.root.handlers = handlers
