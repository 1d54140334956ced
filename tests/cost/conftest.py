"""The API in this process, as its own tests have it; and the service in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.conftest import policy, service
from tests.service import Service

__all__ = ["policy", "process", "service"]


@pytest.fixture
def process(tmp_path: Path, migrated: str, vhost: str) -> Iterator[Service]:
    """The service, on a database without an order and an empty virtual host."""
    service = Service(tmp_path, {"DATABASE_URL": migrated, "RABBITMQ_URL": vhost})
    yield service
    service.stop()
