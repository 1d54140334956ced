"""Where no access is configured: whoever is on this machine may do all, and nobody else anything.

The address is the one that the server gives. uvicorn takes it from `X-Forwarded-For` where FORWARDED_ALLOW_IPS lets it,
so that anybody could be anywhere: a request that says it came through a proxy is refused, whoever sends it. A proxy on
this machine that says nothing of the kind makes everybody local: that is why ACCESS=local has to be asked for.
"""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from handlers.access.errors import forbidden, unauthorized
from handlers.access.principal import EVERY_SCOPE, Caller

_OF_PROXIES = re.compile(
    r"(x-)?forwarded(-.*)?|via|cdn-loop|(.+-)?(real|client|remote|connecting|external|original)-?(ip|addr|address|host)"
    r"|(cf|fly|fastly|akamai|tailscale|x-envoy|x-amzn?|x-azure|x-appengine|x-original|x-remote|x-arr|x-ssl)-.+"
)
"""Headers that proxies, balancers and tunnels write, and clients can."""
_ONLY_HERE = "No access is configured here (API_KEYS, JWT_ISSUER), so only clients on the service's own machine may ask"


def local_caller(connection: HTTPConnection) -> Caller:
    """Whoever is on this machine: `operator@127.0.0.1`.

    Raises:
        ProblemError: 401, the client is on another machine or behind a proxy; 403, a page from elsewhere asks through
            its browser.
    """
    headers = connection.headers
    told = [header for header in headers if _OF_PROXIES.fullmatch(header)]
    if connection.scope.get("http_version") == "1.0":
        # as nginx asks by itself, and no browser or `curl` does
        told.append("HTTP/1.0")
    if told:
        raise unauthorized(
            f"{_ONLY_HERE}, and this request says that it came through a proxy ({', '.join(told)}). Ask the service "
            "itself, without a proxy in between."
        )
    host = connection.client.host if connection.client else ""
    if not is_loopback(host):
        raise unauthorized(
            f"{_ONLY_HERE}, and this one is at {host or '?'}. Ask on that machine, over the loopback address: through "
            "ssh, or `kubectl exec`, say."
        )
    if not is_loopback(_host_of(f"//{headers.get('host', '')}")):
        # a name of somebody else's that leads here: a browser takes his page for one of ours
        raise forbidden("A page under another name may not ask: ask localhost, or 127.0.0.1.")
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise forbidden("A page from elsewhere may not ask. Use one of the service's own.")
    return Caller(f"operator@{host}", EVERY_SCOPE, local=True)


def is_loopback(host: str) -> bool:
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
