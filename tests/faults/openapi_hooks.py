"""What schemathesis is told beyond the document: things that exist, so that it gets further than 404.

Loaded by schemathesis itself, in its own process; OPENAPI_IDS has the ids, as JSON by the name of the parameter.
"""

import json
import os
from random import Random
from typing import Any
from uuid import UUID

import schemathesis

_IDS: dict[str, list[str]] = json.loads(os.environ.get("OPENAPI_IDS", "{}"))
_RANDOM = Random(os.environ.get("OPENAPI_SEED", ""))
RECEIVER = "127.0.0.1:9"
"""Where webhooks may be sent: nobody is there. No URL that was made up is given: its name would be looked up."""
_SLOW = 100.0
"""Sagas a second: slower, a bulk retry may take as long as it is allowed to."""


@schemathesis.hook
def map_path_parameters(_: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Name one that exists, most of the time. What is no id stays: it is to be refused."""
    for name, value in (path_parameters or {}).items():
        if name in _IDS and _is_id(value) and _RANDOM.random() < 0.8:
            path_parameters[name] = _RANDOM.choice(_IDS[name])  # type: ignore[index]
    return path_parameters


@schemathesis.hook
def map_body(_: schemathesis.HookContext, body: Any) -> Any:
    """Do not wait on purpose, and name a receiver that is allowed."""
    url = body.get("url") if isinstance(body, dict) else None
    if isinstance(url, str) and (":" in url or _RANDOM.random() < 0.8):
        body["url"] = f"http://{RECEIVER}/"
    rate = body.get("ratePerSecond") if isinstance(body, dict) else None
    if type(rate) in {int, float} and 0.1 <= rate < _SLOW:  # type: ignore[operator]
        body["ratePerSecond"] = _SLOW
    return body


def _is_id(value: object) -> bool:
    try:
        return str(UUID(str(value))) == str(value).lower()
    except ValueError:
        return False
