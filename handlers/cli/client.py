"""Asking the service's HTTP API."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from handlers.cli.outcome import Code, fail

SECONDS = 60.0
"""How long an answer may take; asking many again takes 25."""


@dataclass(frozen=True, slots=True)
class Client:
    """The service at an address.

    Args:
        url: its address, without a path.
        operator: who is asking; the service writes it into the history.
        as_json: whether answers are to be printed as they are.
        key: an API key or a token; None: the service is on this machine and asks for none.
    """

    url: str
    operator: str
    as_json: bool = False
    key: str | None = field(default=None, repr=False)

    def ask(self, method: str, *path: str, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The answer's JSON. Whatever goes wrong is said in words, and ends the command.

        Args:
            method: GET, POST or DELETE.
            *path: its parts.
            query: what is None is left out.
            body: sent as JSON; None: without a body.

        Raises:
            Exit: with `REFUSED` or `AWAY`.
        """
        if urlsplit(self.url).scheme not in ("http", "https"):
            fail(f"--url {self.url}: must begin with http:// or https://", Code.USAGE)
        address = f"{self.url.rstrip('/')}/{'/'.join(quote(part, safe='') for part in path)}"
        wanted = {name: _word(value) for name, value in (query or {}).items() if value is not None}
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            f"{address}?{urlencode(wanted)}" if wanted else address,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            # headers are bytes; the service reads UTF-8
            headers={"X-Operator": self.operator.encode().decode("latin-1"), "Accept": "application/json"}
            | ({} if body is None else {"Content-Type": "application/json"}),
        )
        if self.key:
            # for the service alone: not for where it may send us
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        try:
            # the service is on this machine: through no proxy
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                fail(_said(error), Code.REFUSED if error.code < HTTPStatus.INTERNAL_SERVER_ERROR else Code.AWAY)
        except (OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error
            fail(
                f"{self.url} does not answer as the order service does: {why}. Is it running there? See --url.",
                Code.AWAY,
            )


def _said(error: urllib.error.HTTPError) -> str:
    """What the service says of it."""
    try:
        detail = json.load(error)["detail"]
    except (ValueError, LookupError, TypeError, OSError):
        detail = error.reason
    return f"{detail} ({error.code})"


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
