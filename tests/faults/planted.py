"""The service with a mistake in it: `faststream run tests.faults.planted:app`, with TEST_MISTAKE naming it."""

import os

from tests.faults.mistakes import plant

plant(os.environ["TEST_MISTAKE"])

from app import app  # noqa: E402 - composed with the mistake in place

__all__ = ["app"]
