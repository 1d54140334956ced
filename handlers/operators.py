"""Who may operate: until access control is built, whoever is on this machine.

The address is the one that the server gives. uvicorn takes it from `X-Forwarded-For` where FORWARDED_ALLOW_IPS lets it,
so that anybody could be anywhere: a request that says it came through a proxy is refused, whoever sends it. A proxy on
this machine that says nothing of the kind makes everybody local: let it not pass on these paths.
"""

import re
from ipaddress import IPv6Address, ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Header, Request

from handlers.problems import FieldError, InvalidError, Problem, ProblemError

OperatorName = Annotated[
    str | None,
    Header(
        alias="X-Operator",
        description="Who is asking, 1 to 100 characters: written into the saga's history beside the address.",
        examples=["ann"],
    ),
]
_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
"""What proxies write, and clients can."""
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")

FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Only for operators, who are on the machine of the service."}
}
"""How an operator's operation says in `/openapi.json` that it is one."""


def operator(request: Request, x_operator: OperatorName = None) -> str:
    """The actor's name for the history: `operator@127.0.0.1`, or `operator@127.0.0.1 (ann)`.

    Raises:
        ProblemError: 403, the client is on another machine or behind a proxy, or a page from elsewhere asks through its
            browser.
        InvalidError: the name is none.
    """
    if told := [header for header in _OF_PROXIES if header in request.headers]:
        raise ProblemError(
            403,
            "forbidden",
            "Operator actions are only for clients on the service's own machine, and this request says that it came "
            f"through a proxy ({', '.join(told)}). Ask the service itself, without a proxy in between.",
        )
    host = request.client.host if request.client else ""
    if not _is_loopback(host):
        raise ProblemError(
            403,
            "forbidden",
            f"Operator actions are only for clients on the service's own machine, and this one is at {host or '?'}. "
            "Ask on that machine, over the loopback address: through ssh, or `kubectl exec`, say.",
        )
    if not _is_loopback(_host_of(f"//{request.headers.get('host', '')}")):
        # a name of somebody else's that leads here: a browser takes his page for one of ours
        raise ProblemError(403, "forbidden", "A page under another name may not operate: ask localhost, or 127.0.0.1.")
    origin = request.headers.get("origin")
    if origin is not None and not _is_loopback(_host_of(origin)):
        raise ProblemError(403, "forbidden", "A page from elsewhere may not operate. Use one of the service's own.")
    if x_operator is None:
        return f"operator@{host}"
    return f"operator@{host} ({_named(x_operator)})"


Actor = Annotated[str, Depends(operator)]


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine: 127.0.0.0/8, ::1, the former written as IPv6, or `localhost`."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _named(header: str) -> str:
    """The name in a header: UTF-8 where it is that, else Latin-1, as which servers read headers."""
    try:
        name = header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        name = header
    if not _NAME.fullmatch(name):
        detail = "must be 1 to 100 characters, none of them a control character"
        raise InvalidError([FieldError(field="X-Operator", location="header", detail=detail)])
    return name
