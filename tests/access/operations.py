"""All that the service can be asked, as its own application has it."""

import json
import os
import subprocess
import sys
from functools import cache

from fastapi import FastAPI

from handlers.access.middleware import operations
from tests.service import PROJECT

_TELL = """
import json
from app import app
from handlers.access.middleware import operations
print(json.dumps(operations(app.http._app._app._app._api)))
"""


@cache
def all_operations() -> list[str]:
    """Method and path, parameters without their names: `GET /api/orders/{}`, or `WS …` for a WebSocket."""
    env = os.environ | {"DATABASE_URL": "", "RABBITMQ_URL": "", "STAND_INS": "inventory=http://127.0.0.1:9"}
    told = subprocess.run([sys.executable, "-c", _TELL], cwd=PROJECT, env=env, capture_output=True, check=True)
    return sorted(set(json.loads(told.stdout)))


def over_http(api: FastAPI) -> list[str]:
    """What an API can be asked in a request, as `all_operations` names it."""
    asked = [one for one in operations(api) if not one.startswith("WS")]
    assert len(asked) > 60
    return asked
