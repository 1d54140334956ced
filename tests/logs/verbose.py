"""The service with every logger saying all that it can: `faststream run tests.logs.verbose:app`."""

import logging

from app import app

__all__ = ["app"]

for name in [*logging.root.manager.loggerDict]:
    logging.getLogger(name).setLevel(logging.DEBUG)
logging.root.setLevel(logging.DEBUG)
