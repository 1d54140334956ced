"""The whole system, as the tests of the system have it."""

from tests.system.conftest import environment, participant_urls, service, settings, system, typed, workers

__all__ = ["environment", "participant_urls", "service", "settings", "system", "typed", "workers"]
