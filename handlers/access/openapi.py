"""How `/openapi.json` says what an operation needs: written from the table of rules."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from handlers.access.policy import RULES, operation
from handlers.http.problems import CONTENT

_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ok_<id>_<secret>",
        "description": "An API key of a service.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of a person; `orders:*` are about the orders of its `sub` alone.",
    },
}
_METHODS = {method.lower() for method in HTTPMethod}
_CHALLENGE = {"WWW-Authenticate": {"description": "`Bearer`, and what is wrong.", "schema": {"type": "string"}}}
_AGAIN = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_REFUSALS = {
    HTTPStatus.UNAUTHORIZED: ("Nobody is named by the credential, or there is none.", _CHALLENGE),
    HTTPStatus.FORBIDDEN: ("The credential does not have the scope; or a page from elsewhere asks.", _CHALLENGE),
    HTTPStatus.TOO_MANY_REQUESTS: ("The client asks too often, or has too much already.", _AGAIN),
}


def with_access(document: dict[str, Any]) -> dict[str, Any]:
    """Write into an OpenAPI document what each operation needs, and how it is refused."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            if method not in _METHODS:
                continue
            rule = RULES.get(operation(method.upper(), path))
            if rule is None or rule.scope is None:
                described["security"] = []
                continue
            described["security"] = [{scheme: [str(rule.scope)]} for scheme in _SCHEMES]
            for status, (words, headers) in _REFUSALS.items():
                described["responses"].setdefault(
                    str(status.value), {"description": words, "headers": headers, "content": CONTENT}
                )
    return document
